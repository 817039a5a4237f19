from __future__ import annotations

import copy
import platform
import shutil
import subprocess

import pytest
import torch

from selftaught import compilation
from selftaught.errors import UsageError
from selftaught.inference import compiled, generation, recasting
from selftaught.inference.compiled import CompiledDecoder
from selftaught.inference.decoding import Decoder
from selftaught.inference.generation import Request
from selftaught.inference.ragged import RaggedCache
from selftaught.inference.rules import SamplingSettings
from tests.reference.networks import KINDS, network

LONG = [number % 50 for number in range(25)]
TEXTS = ([3, 1, 4, 1, 5, 9, 2, 6], [7], LONG[:12])


@pytest.fixture(autouse=True)
def compiler():
    if compiled.library() is None:
        pytest.skip("needs a C compiler")


def rounded(model, weights):
    """Reads with the network's matrices, and what they are multiplied with, as a format holds them, in float32."""
    changed = copy.deepcopy(model)
    matrices = [module for module in changed.blocks.modules() if isinstance(module, torch.nn.Linear)]
    for matrix in [*matrices, *([changed.head] if changed.head is not None else [])]:
        if weights == "int8":
            integers, scale = recasting.quantised(matrix.weight)
            matrix.weight.data = integers * scale[:, None]
        else:
            matrix.weight.data = matrix.weight.to(getattr(torch, weights)).float()
        matrix.register_forward_pre_hook(lambda _, given: (narrowed(given[0], weights),))
    decoder = Decoder(changed)
    if changed.head is not None:
        decoder.__dict__["_head"] = changed.head  # which is not called otherwise: only its matrix is used
    return decoder


def narrowed(inputs, weights):
    """bfloat16, or for int8 multiples of a 127th of the largest of each 64 numbers of a token."""
    if weights != "int8":
        return inputs.to(getattr(torch, weights)).float()
    size = inputs.shape[-1]
    parts = torch.nn.functional.pad(inputs, (0, -size % 64)).unflatten(-1, (-1, 64))
    scale = parts.abs().amax(-1, keepdim=True) / 127
    return ((parts / scale).round() * scale).flatten(-2)[..., :size]


def logits_of(decoder):
    """Logits of three texts of other lengths: after their beginnings, then token by token side by side.

    Keys and values are remembered in float32, else the formats of weights could be compared only roughly.
    """
    cache = RaggedCache(decoder.shape, rows=4, length=32)
    found = [decoder.prefill(cache, row, text, every=True) for row, text in enumerate(TEXTS)]
    for turn in range(6):
        rows = [row for row in (2, 0, 1) if (row + turn) % 4]
        found.append(decoder.step(cache, rows, [(5 * row + turn) % 50 for row in rows]))
    return torch.cat(found)


def relative_error(found, expected):
    return float((found - expected).norm() / expected.norm())


def usual_error(found, expected):
    """Of a token's logits, the median: numbers near the middle of two are rounded either way, which moves those of a few."""
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).median())


@pytest.mark.parametrize("name", KINDS)
def test_the_compiled_pass_is_the_plain_one(name):
    model = network(**KINDS[name])
    found = compiled.decoder(model)
    assert type(found) is CompiledDecoder
    assert torch.allclose(logits_of(found), logits_of(Decoder(model)), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["gpt1", "others"])
@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_with_lighter_weights_it_is_the_plain_one_of_rounded_numbers(name, weights):
    model = network(**KINDS[name])
    if model.head is None:  # so that embeddings, which stay as they are, and head can be told apart
        model = network(**KINDS[name], tied=False)
    found, expected = logits_of(compiled.decoder(model, weights)), logits_of(rounded(model, weights))
    assert usual_error(found, expected) < 1e-6
    assert usual_error(logits_of(Decoder(model)), expected) > 1e-3


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("layer", [0, 1])
def test_attention_is_the_plain_one(name, layer):
    model = network(**KINDS[name])
    for text in ([7], LONG):
        found, expected = (one.attention(text, layer) for one in (compiled.decoder(model), Decoder(model)))
        assert found.shape == (model.shape.heads, len(text))
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_a_network_that_is_given_up_is_read_the_same(weights):
    model = network(**KINDS["others"], seed=3, layers=3)
    expected = logits_of(compiled.decoder(model, weights))
    found = compiled.only_decoder(model, weights)
    assert all(parameter.is_meta for parameter in model.blocks.parameters())
    assert torch.equal(logits_of(found), expected)


def test_large_matrices_are_packed_in_parts_as_they_are_whole(monkeypatch):
    model = network(vocabulary=200)
    expected = [logits_of(compiled.decoder(model, weights)) for weights in ("bfloat16", "int8")]
    monkeypatch.setattr(compiled, "ROWS", compiled.BLOCK)
    found = [logits_of(compiled.decoder(model, weights)) for weights in ("bfloat16", "int8")]
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_neither_company_nor_portions_nor_threads_change_a_bit(weights):
    decoder = compiled.decoder(network(channels=48, heads=3), weights)
    text, others = LONG, [[9], [8, 7], [1] * 12, [2] * 5, [5] * 3, [6] * 30]
    alone = decoder.cache()
    expected = [decoder.step(alone, [0], [token])[0] for token in text]
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            cache = decoder.cache(7)
            for row, other in enumerate(others):
                decoder.prefill(cache, row, other[:10])
            found = [*decoder.prefill(cache, 6, text[:7], every=True), decoder.prefill(cache, 6, text[7:12])]
            assert torch.equal(torch.stack(found), torch.stack([*expected[:7], expected[11]]))
            for turn, token in enumerate(text[12:]):
                rows = [6, *range(turn % 6)]
                assert torch.equal(decoder.step(cache, rows, [token] * len(rows))[0], expected[12 + turn])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("piece", [5, 20, 64])
def test_a_long_prompt_may_be_read_in_pieces(weights, piece, monkeypatch):
    decoder = compiled.decoder(network(channels=64, heads=2), weights)
    whole, cut = decoder.cache(), decoder.cache()
    expected = torch.stack([decoder.step(whole, [0], [token])[0] for token in LONG])
    monkeypatch.setattr(compiled, "PIECE", piece)
    assert torch.equal(decoder.prefill(cut, 0, LONG, every=True), expected)
    cut.truncate(0)
    assert torch.equal(decoder.prefill(cut, 0, LONG), expected[-1])
    assert cut.lengths == whole.lengths
    assert torch.equal(cut.room, whole.room)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 33])
def test_a_cache_may_have_room_for_the_text_alone(length, weights):
    decoder = compiled.decoder(network(channels=80, heads=2, context=64), weights)
    large, small = decoder.cache(2), decoder.cache(2, length)
    assert (large.length, small.length) == (64, length)
    text = [(7 * place + 3) % 50 for place in range(length)]
    for row in range(2):
        for cache in (large, small):
            decoder.prefill(cache, row, text[: length // 2 + 1])
    for token in text[length // 2 + 1 :]:
        assert torch.equal(*(decoder.step(cache, (0, 1), (token, token)) for cache in (large, small)))
    for row in range(2):
        assert torch.equal(small.room[:, :, row], large.room[:, :, row, :, :length])
    with pytest.raises(UsageError, match="too many"):
        decoder.step(small, (0,), (1,))


@pytest.mark.parametrize("size", [8, 32, 40, 64, 80])
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_heads_of_any_size_attend_as_pytorch_does(size, weights):
    """Head sizes that have code of their own and others; texts that end within and at the end of sixteen positions."""
    model = network(channels=2 * size, heads=2, context=48)
    found, expected = compiled.decoder(model, weights), rounded(model, weights)
    caches = found.cache(), expected.cache()
    text = [(7 * place + 3) % 50 for place in range(40)]
    logits = [one.prefill(cache, 0, text, every=True) for one, cache in zip((found, expected), caches, strict=True)]
    assert relative_error(*logits) < {"float32": 1e-5, "bfloat16": 1e-2, "int8": 3e-2}[weights]
    alone, short = found.cache(), found.cache()
    assert torch.equal(logits[0], torch.stack([found.step(alone, [0], [token])[0] for token in text]))
    found.prefill(short, 0, text[:3])
    assert torch.equal(logits[0][-1], found.prefill(short, 0, text[3:]))


@pytest.mark.usefixtures("fresh")
@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
def test_another_compiler_computes_tokens_alike_too(monkeypatch):
    """Clang would fuse a sum's multiplications otherwise where several are computed side by side."""
    monkeypatch.setenv("CC", "clang")
    assert compiled.library() is not None
    for size in (32, 40, 64):
        test_heads_of_any_size_attend_as_pytorch_does(size, "float32")


@pytest.mark.parametrize("size", [8, 40, 64])
def test_int8_keys_and_values_are_multiples_of_a_127th_of_their_largest_number(size):
    decoder = compiled.decoder(network(channels=2 * size, heads=2, context=48), "int8")
    exact, cache = RaggedCache(decoder.shape, rows=1, length=48), decoder.cache()
    text = [(7 * place + 3) % 50 for place in range(40)]
    logits = [decoder.prefill(one, 0, text, every=True) for one in (exact, cache)]
    assert relative_error(logits[1], logits[0]) < 3e-2
    expected = exact.room[0, :, 0, :, :40]  # of the first layer, since later ones see the rounding of it
    numbers, scale = cache.room[0, :, 0, :, :40].split((size, 4), dim=-1)
    scale = scale.contiguous().view(torch.float32)
    torch.testing.assert_close(scale[..., 0], expected.abs().amax(-1) / 127)
    assert ((numbers * scale - expected).abs() <= 0.5001 * scale).all()


def test_a_text_is_the_same_to_the_last_bit_alone_and_in_a_batch():
    decoder = compiled.decoder(network(), "int8")
    rules = SamplingSettings(top_k=0, temperature=1.3)
    requests = [
        Request(prompt=[number] * (1 + 5 * number), rules=rules, seed=number, most=30 + number) for number in range(6)
    ]

    def texts(rows):
        found = {number: [] for number in range(6)}
        for number, drawn, _ in generation.complete(decoder, requests, rows=rows):
            found[number].append((drawn.token, drawn.log_prob))
        return found

    assert texts(1) == texts(4) == texts(6)


def test_it_is_compiled_once(fresh, monkeypatch):
    assert compiled.library() is not None
    made = list(fresh.iterdir())
    assert [path.suffix for path in made] == [".so"]
    compilation.library.cache_clear()
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("compiled again"))
    assert compiled.library() is not None


def test_another_header_is_another_library(fresh, tmp_path):
    source, header = tmp_path / "one.c", tmp_path / "one.h"
    source.write_text('#include "one.h"\nint one(void) { return ONE; }')
    for expected in (1, 2):
        header.write_text(f"#define ONE {expected}")
        compilation.library.cache_clear()
        found = compilation.library(source)
        assert found is not None
        assert found.one() == expected
    assert len(list(fresh.iterdir())) == 2


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false", "sh -c"])
def test_without_a_compiler_pytorch_does_it(fresh, monkeypatch, compiler):
    monkeypatch.setenv("CC", compiler)
    assert compiled.library() is None
    assert type(compiled.decoder(network())) is Decoder


def test_a_compiler_that_takes_for_ever_is_waited_for_once(fresh, monkeypatch):
    asked = []

    def run(command, *, timeout, **_):
        asked.append(command)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    assert compiled.library() is None
    assert len(asked) == 1


def test_a_cache_folder_that_cannot_be_written_is_no_error(fresh):
    fresh.parent.write_text("a file where the folder should be")
    assert type(compiled.decoder(network())) is CompiledDecoder


@pytest.mark.parametrize("without", ["-mno-avx512bf16 -mno-avx512vnni", "-mno-avx512f", "-mno-avx512f -mno-avxvnni"])
def test_a_processor_without_wide_vectors_gets_the_same(fresh, monkeypatch, without):
    if platform.machine() != "x86_64":
        pytest.skip("switches x86 instructions off")
    monkeypatch.setenv("CC", f"cc {without}")
    assert compiled.library() is not None
    for weights in ("float32", "bfloat16", "int8"):
        model = network(**KINDS["others"])
        found = logits_of(compiled.decoder(model, weights))
        assert usual_error(found, logits_of(rounded(model, weights))) < 1e-6
