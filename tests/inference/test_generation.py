from __future__ import annotations

import itertools
import math

import pytest
import torch

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.inference import generation
from selftaught.inference.decoding import Decoder
from selftaught.inference.generation import Request
from selftaught.inference.rules import SamplingSettings
from tests.reference import generator
from tests.reference.networks import network

GREEDY = SamplingSettings(temperature=0)
ANY = SamplingSettings(top_k=0, temperature=1.5)


@pytest.mark.parametrize("length", [1, 5, 31, 32, 33, 90])
@pytest.mark.parametrize("norm", ["before", "after"])
def test_greedy_generation_is_the_one_without_a_cache(length, norm):
    model = network(norm=norm)
    prompt = [(7 * number) % 50 for number in range(length)]
    drawn = generation.draw(model, prompt, GREEDY, compute.generator(1))
    assert [next(drawn).token for _ in range(60)] == generator.greedy(model, prompt, 60)


def test_probabilities_are_the_models_own():
    model = network()
    drawn = generation.draw(model, [3, 4], SamplingSettings(top_k=2, temperature=0.5), compute.generator(1), None, 3)
    one = next(drawn)
    expected = model.logits(model(torch.tensor([[3, 4]])))[0, -1].log_softmax(-1).detach()
    assert one.log_prob == pytest.approx(float(expected[one.token]), abs=1e-5)
    assert one.probability == pytest.approx(math.exp(one.log_prob))
    assert [token for token, _ in one.top] == expected.topk(3).indices.tolist()
    assert [value for _, value in one.top] == pytest.approx(expected.topk(3).values.tolist(), abs=1e-5)


def test_ids_that_no_text_has_are_never_drawn():
    rules = SamplingSettings(temperature=5.0, top_k=0)
    drawn = generation.draw(network(), [1], rules, compute.generator(1), 4, 9)
    found = [next(drawn) for _ in range(100)]
    assert {one.token for one in found} == {0, 1, 2, 3}
    assert all(len(one.top) == 4 for one in found)


@pytest.mark.parametrize("prompt", [[], [50], [-1]])
def test_impossible_prompts_are_refused(prompt):
    with pytest.raises(UsageError):
        next(generation.draw(network(), prompt, SamplingSettings(), compute.generator(1)))
    with pytest.raises(UsageError):
        next(generation.complete(Decoder(network()), [Request(prompt=[1]), Request(prompt=prompt)]))


def requests():
    prompts = [[number % 50 for number in range(length)] for length in (1, 9, 2, 40, 31, 5, 3)]
    rules = [GREEDY, ANY, SamplingSettings(top_k=5, repetition_penalty=1.5, frequency_penalty=0.5)]
    return [
        Request(prompt=prompt, rules=rules[number % 3], seed=number, most=(12, 50, 0)[number % 3], end=7, top=2)
        for number, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize("rows", [1, 2, 3, 20])
@pytest.mark.parametrize("norm", ["before", "after"])
def test_a_text_is_the_same_alone_and_in_a_batch_of_texts_of_other_lengths(rows, norm):
    decoder = Decoder(network(norm=norm))
    found = {number: [] for number in range(7)}
    lasts = []
    for number, drawn, last in generation.complete(decoder, requests(), rows=rows, vocabulary=45):
        found[number].append(drawn)
        lasts += [number] * last
    assert sorted(lasts) == [0, 1, 3, 4, 6]
    for number, request in enumerate(requests()):
        numbers = compute.generator("sampling", request.seed)
        alone = itertools.islice(
            generation.draw(decoder, request.prompt, request.rules, numbers, 45, 2), len(found[number])
        )
        for one, other in zip(found[number], alone, strict=True):
            assert one.token == other.token
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
        tokens = [drawn.token for drawn in found[number]]
        assert 7 not in tokens[:-1]
        assert len(tokens) == request.most or tokens[-1] == 7


def test_rows_see_only_themselves():
    decoder = Decoder(network())
    cache = decoder.cache(3)
    texts = [[1, 2, 3, 4, 5, 6], [9], [30, 8, 8]]
    for row, text in enumerate(texts):
        decoder.prefill(cache, row, text)
    for turn in range(6):
        rows = [row for row in (2, 0, 1) if (row + turn) % 3]
        new = [(row + turn) % 50 for row in rows]
        logits = decoder.step(cache, rows, new)
        for row, token in zip(rows, new, strict=True):
            texts[row].append(token)
        expected = [decoder.prefill(decoder.cache(), 0, texts[row]) for row in rows]
        assert torch.allclose(logits, torch.stack(expected), atol=1e-5)
    assert cache.lengths == [len(text) for text in texts]


def test_a_row_can_be_cut_exchanged_and_read_on():
    decoder = Decoder(network())
    cache = decoder.cache(2)
    decoder.prefill(cache, 0, [1, 2, 3, 4])
    decoder.prefill(cache, 1, [5, 6])
    cache.reorder([1, 0])
    cache.truncate(1, 3)
    every = decoder.prefill(cache, 1, [8, 9], every=True)
    assert torch.allclose(every[-1], decoder.prefill(decoder.cache(), 0, [1, 2, 3, 8, 9]), atol=1e-5)
    assert torch.allclose(every[0], decoder.prefill(decoder.cache(), 0, [1, 2, 3, 8]), atol=1e-5)
    assert torch.allclose(decoder.step(cache, [0], [7])[0], decoder.prefill(decoder.cache(), 0, [5, 6, 7]), atol=1e-5)


def test_what_does_not_fit_is_refused():
    decoder = Decoder(network())
    cache = decoder.cache(1, 4)
    decoder.prefill(cache, 0, [1, 2, 3, 4])
    with pytest.raises(UsageError, match="at most 4"):
        decoder.step(cache, [0], [1])
    with pytest.raises(UsageError, match="vocabulary"):
        decoder.step(decoder.cache(), [0], [50])


@pytest.mark.parametrize(("weights", "tolerance"), [("bfloat16", 0.02), ("int8", 0.03)])
def test_lighter_weights_are_near(weights, tolerance):
    model = network(channels=64, heads=4)
    exact, light = Decoder(model), Decoder(model, weights)
    text = [(11 * number) % 50 for number in range(20)]
    first, second = (one.prefill(one.cache(), 0, text, every=True) for one in (exact, light))
    assert 0 < float((first - second).norm() / first.norm()) < tolerance
    cache = light.cache()
    light.prefill(cache, 0, text[:-1])
    assert torch.allclose(light.step(cache, [0], text[-1:])[0], second[-1], atol=0.1)
    assert model.blocks[0].feed.inner.weight.dtype is torch.float32
