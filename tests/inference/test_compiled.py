from __future__ import annotations

import copy
import platform

import pytest
import torch

from selftaught.inference import compiled, generation, recasting
from selftaught.inference.compiled import CompiledDecoder
from selftaught.inference.decoding import Decoder
from selftaught.inference.generation import Request
from selftaught.inference.ragged import RaggedCache
from selftaught.inference.sampling import SamplingSettings
from tests.reference.networks import network

NETWORKS = {
    "gpt2": {},
    "gpt1": {"norm": "after"},
    "one wide head": {"heads": 1, "channels": 96, "vocabulary": 200},
    "others": {
        "channels": 60,
        "heads": 5,
        "activation": "gelu",
        "tied": False,
        "scale_by_layer": True,
        "inner": 100,
        "norm_epsilon": 1e-3,
    },
}
LONG = [number % 50 for number in range(25)]
TEXTS = ([3, 1, 4, 1, 5, 9, 2, 6], [7], LONG[:12])


@pytest.fixture(autouse=True)
def compiler():
    if compiled.library() is None:
        pytest.skip("needs a C compiler")


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A cache folder of its own, and no library loaded before or after."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiled.library.cache_clear()
    yield tmp_path / "cache" / "selftaught"
    compiled.library.cache_clear()


def rounded(model, weights):
    """The network with its matrices as a format holds them, in float32."""
    changed = copy.deepcopy(model)
    matrices = [module for module in changed.blocks.modules() if isinstance(module, torch.nn.Linear)]
    for matrix in [*matrices, *([changed.head] if changed.head is not None else [])]:
        if weights == "int8":
            integers, scale = recasting.quantised(matrix.weight)
            matrix.weight.data = integers * scale[:, None]
        else:
            matrix.weight.data = matrix.weight.to(getattr(torch, weights)).float()
    return changed


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


@pytest.mark.parametrize("name", NETWORKS)
def test_the_compiled_pass_is_the_plain_one(name):
    model = network(**NETWORKS[name])
    found = compiled.decoder(model)
    assert type(found) is CompiledDecoder
    assert torch.allclose(logits_of(found), logits_of(Decoder(model)), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["gpt1", "others"])
@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_with_lighter_weights_it_is_the_plain_one_of_rounded_weights(name, weights):
    model = network(**NETWORKS[name])
    if model.head is None:  # so that embeddings, which stay as they are, and head can be told apart
        model = network(**NETWORKS[name], tied=False)
    found, expected = logits_of(compiled.decoder(model, weights)), logits_of(Decoder(rounded(model, weights)))
    other = logits_of(Decoder(model))
    assert relative_error(found, expected) < 1e-5
    assert relative_error(other, expected) > 1e-3


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
def test_long_prompts_are_read_by_pytorch(weights, monkeypatch):
    monkeypatch.setitem(compiled.SHORT, weights, 12)
    model = network(channels=64, heads=2)
    found, plain = compiled.decoder(model, weights), Decoder(model, weights)
    caches = found.cache(), plain.cache()
    read = [one.prefill(cache, 0, LONG) for one, cache in zip((found, plain), caches, strict=True)]
    assert torch.equal(*read)
    steps = [one.step(cache, [0], [3]) for one, cache in zip((found, plain), caches, strict=True)]
    assert relative_error(*steps) < (1e-5 if weights == "float32" else 1e-2)


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
    compiled.library.cache_clear()
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("compiled again"))
    assert compiled.library() is not None


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false", "sh -c"])
def test_without_a_compiler_pytorch_does_it(fresh, monkeypatch, compiler):
    monkeypatch.setenv("CC", compiler)
    assert compiled.library() is None
    assert type(compiled.decoder(network())) is Decoder


def test_a_cache_folder_that_cannot_be_written_is_no_error(fresh):
    fresh.parent.write_text("a file where the folder should be")
    assert type(compiled.decoder(network())) is CompiledDecoder


def test_a_processor_without_wide_vectors_gets_the_same(fresh, monkeypatch):
    if platform.machine() != "x86_64":
        pytest.skip("switches x86 instructions off")
    monkeypatch.setenv("CC", "cc -mno-avx512f")
    for weights in ("float32", "bfloat16", "int8"):
        model = network(**NETWORKS["others"])
        found = logits_of(compiled.decoder(model, weights))
        assert relative_error(found, logits_of(Decoder(rounded(model, weights)))) < 1e-5
