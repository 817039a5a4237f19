from __future__ import annotations

import gc
import random
import weakref

import pytest
import torch

from selftaught.inference import capturing, compiled, generation
from selftaught.inference.capturing import CapturingDecoder
from selftaught.inference.decoding import Decoder
from selftaught.inference.generation import Request
from selftaught.inference.rules import SamplingSettings
from tests.reference.networks import network


class Repeated:
    """What `Captured` is but for the GPU: the same step with the same tensors, whatever is copied into them."""

    made: list[tuple[int, ...]]

    def __init__(self, step, given_3R, pool):
        self.step, self.given_3R = step, given_3R.clone()
        self.logits_RV = step(self.given_3R)
        self.made.append(tuple(self.logits_RV.shape))

    def __call__(self, given_3R):
        self.given_3R.copy_(given_3R)
        self.logits_RV.copy_(self.step(self.given_3R))
        return self.logits_RV


class Once:
    """A step that was done, and nothing of how."""

    def __init__(self, step, given_3R, pool):
        self.logits_RV = step(given_3R)

    def __call__(self, given_3R):
        return self.logits_RV


@pytest.fixture
def made(monkeypatch):
    Repeated.made = []
    monkeypatch.setattr(capturing, "Captured", Repeated)
    monkeypatch.setattr(capturing, "LEAST_REACH", 8)
    return Repeated.made


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_any_rows_of_any_length_get_what_the_plain_decoder_gives(made, weights):
    draw, model, tolerance = random.Random(1), network(), 1e-5 if weights == "float32" else 2e-2
    decoders = Decoder(model, weights), CapturingDecoder(model, weights)
    caches = [decoder.cache(5, length=30) for decoder in decoders]
    for row in range(5):
        prompt = draw.choices(range(50), k=draw.randint(1, 9))
        for decoder, cache in zip(decoders, caches, strict=True):
            decoder.prefill(cache, row, prompt)
    for _ in range(40):
        rows = draw.sample([row for row in range(5) if caches[0].lengths[row] < 30], k=draw.randint(1, 4))
        tokens = draw.choices(range(50), k=len(rows))
        expected, found = (decoder.step(cache, rows, tokens) for decoder, cache in zip(decoders, caches, strict=True))
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    assert caches[0].lengths == caches[1].lengths
    torch.testing.assert_close(caches[1].room, caches[0].room, rtol=0, atol=tolerance)
    assert {rows for rows, _ in made} <= {1, 2, 4}
    assert len(made) <= 9, "three numbers of rows, reaches of 8, 16 and 30"


def test_a_text_is_the_same(made):
    request = Request(prompt=[3, 1, 4], rules=SamplingSettings(temperature=0), seed=1, most=20)
    model = network()
    found = [
        [drawn.token for _, drawn, _ in generation.complete(decoder, [request], rows=1)]
        for decoder in (Decoder(model), CapturingDecoder(model))
    ]
    assert found[0] == found[1]
    assert made


def test_graphs_go_with_their_cache(monkeypatch):
    monkeypatch.setattr(capturing, "Captured", Once)
    decoder = CapturingDecoder(network())
    cache = decoder.cache()
    decoder.step(cache, [0], [1])
    seen = weakref.ref(cache)
    del cache
    gc.collect()
    assert seen() is None


def test_where_nothing_can_be_captured_the_plain_step_does_it(monkeypatch, capsys):
    def refuse(*_):
        raise RuntimeError("no graphs here")

    monkeypatch.setattr(capturing, "Captured", refuse)
    model = network()
    decoders = Decoder(model), CapturingDecoder(model)
    caches = [decoder.cache(3) for decoder in decoders]
    for row in ([0, 1, 2], [2], [1, 0]):
        expected, found = (decoder.step(cache, row, row) for decoder, cache in zip(decoders, caches, strict=True))
        torch.testing.assert_close(found, expected)
    said = capsys.readouterr()
    assert (said.out + said.err).count("no graphs here") == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_graphs_of_a_gpu_are_the_plain_steps(weights):
    model = network().to("cuda")
    found = compiled.decoder(model, weights)
    assert type(found) is CapturingDecoder
    decoders = Decoder(model, weights), found
    caches = [decoder.cache(3) for decoder in decoders]
    for step in range(20):
        rows = [[0, 1, 2], [2, 0], [1]][step % 3]
        logits = [
            decoder.step(cache, rows, [step] * len(rows)) for decoder, cache in zip(decoders, caches, strict=True)
        ]
        torch.testing.assert_close(logits[1], logits[0], rtol=1e-3, atol=5e-2)
    assert found._able
