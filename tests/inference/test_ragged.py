from __future__ import annotations

import pytest
import torch

from selftaught.inference import compiled, generation, scheduling
from selftaught.inference.decoding import Decoder
from selftaught.inference.generation import Request
from selftaught.inference.rules import SamplingSettings
from tests.reference.networks import network

PROMPT = [(5 * place + 2) % 50 for place in range(20)]


class Counting(Decoder):
    """Counts the tokens of prompts that it reads."""

    tokens_read = 0

    def prefill(self, cache, row, tokens, *, every=False):
        self.tokens_read += len(tokens)
        return super().prefill(cache, row, tokens, every=every)


def test_a_row_recalls_what_any_row_has_read():
    decoder = compiled.decoder(network())
    cache, alone = decoder.cache(3), decoder.cache()
    decoder.prefill(cache, 1, PROMPT)
    assert cache.recall(2, [*PROMPT[:12], 49, 48]) == 12
    assert cache.recall(0, [1, 2, 3]) == 0
    found = decoder.prefill(cache, 2, [49, 48])
    expected = decoder.prefill(alone, 0, [*PROMPT[:12], 49, 48])
    assert torch.allclose(found, expected, atol=1e-5)
    assert cache.lengths == [0, 20, 14]


def test_what_is_written_over_is_not_recalled():
    decoder = Decoder(network())
    cache = decoder.cache(2)
    decoder.prefill(cache, 0, PROMPT)
    cache.truncate(0, 5)
    assert cache.recall(1, PROMPT) == 20  # still there
    cache.truncate(1)
    cache.truncate(0, 5)
    decoder.prefill(cache, 0, [9])
    decoder.prefill(cache, 1, [8])
    assert cache.recall(1, PROMPT) == 5
    cache.reorder([1, 1])
    assert cache.recall(0, PROMPT) == 5
    decoder.step(cache, [0], [PROMPT[5]])
    assert cache.recall(1, PROMPT) == 6


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_samples_of_one_prompt_read_it_once(rows):
    decoder = Counting(network())
    rules = SamplingSettings(top_k=0)
    requests = [Request(prompt=PROMPT, rules=rules, seed=seed, most=6) for seed in range(4)]
    found = [(number, drawn.token) for number, drawn, _ in generation.complete(decoder, requests, rows=rows)]
    assert decoder.tokens_read == len(PROMPT) + 3
    plain = [
        (number, drawn.token)
        for number, request in enumerate(requests)
        for _, drawn, _ in generation.complete(Decoder(network()), [request])
    ]
    assert sorted(found, key=lambda one: one[0]) == plain


def test_texts_of_a_batch_share_what_they_begin_with():
    decoder = Counting(network())
    batch = scheduling.Batch(decoder, slots=3)
    for seed in range(3):
        batch.join(scheduling.Request(prompt=PROMPT, tokens=5, seed=seed))
    while batch.texts:
        batch.step()
    assert decoder.tokens_read == len(PROMPT) + 2
    batch.join(scheduling.Request(prompt=[*PROMPT[:9], 0, 1], tokens=1))  # after all have left
    batch.step()
    assert decoder.tokens_read == len(PROMPT) + 2 + 2
    batch.join(scheduling.Request(prompt=PROMPT, tokens=1, echo=True))  # which needs the logits of the prompt
    batch.step()
    assert decoder.tokens_read == 2 * len(PROMPT) + 2 + 2
