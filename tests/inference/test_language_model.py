from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from selftaught.checkpoint import huggingface, native
from selftaught.errors import UsageError
from selftaught.inference import compiled
from selftaught.inference.language_model import LanguageModel, load
from selftaught.inference.rules import SamplingSettings
from selftaught.inference.textstream import TextStream
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference import scoring
from tests.reference.networks import network

TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h"), (b"th", b"e"), (b" ", b"the"), (b"o", b"o"), (b"f", b"oo")]))
SIZE = TOKENIZER.vocabulary_size
MODEL = network(vocabulary=SIZE)
LM = LanguageModel(MODEL, TOKENIZER, name="tiny")
TEXT = st.text(st.sampled_from("thefo \n.é🙂1"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(context=TEXT, continuation=TEXT)
def test_ids_of_a_pair_are_those_of_the_text(context, continuation):
    before, after = LM.encode_pair(context, continuation)
    before = [] if before == [TOKENIZER.end_of_text] and not context.rstrip() else before
    assert TOKENIZER.decode([*before, *after]) == context + continuation
    whole = TOKENIZER.encode(context + continuation)
    spanned = TOKENIZER.encode(context.rstrip()) != whole[: len(before)]
    assert [*before, *after] == whole or spanned


@settings(max_examples=20, deadline=None)
@given(context=TEXT, continuation=TEXT)
def test_log_prob_is_the_slow_one(context, continuation):
    before, after = LM.encode_pair(context, continuation)
    if len(before) + len(after) <= 33:
        found, expected = LM.log_prob(context, continuation), scoring.score(MODEL, before, after)
        assert found.by_token == pytest.approx([value for value, _ in expected], abs=1e-4)
        assert found.total == pytest.approx(sum(found.by_token))


def test_no_context_means_the_beginning_of_a_document():
    ids = [TOKENIZER.end_of_text, *TOKENIZER.encode("the")]
    expected = torch.log_softmax(MODEL.logits(MODEL(torch.tensor([ids[:1]])))[0, 0], dim=-1)[ids[1]]
    assert LM.log_prob("", "the").by_token[0] == pytest.approx(float(expected.detach()), abs=1e-5)
    assert LM.document_log_probs(["the foo"])[0].total == pytest.approx(LM.log_prob("", "the foo").total, abs=1e-5)


def test_nothing_has_probability_one():
    assert LM.log_prob("the", "").total == 0.0
    assert LM.document_log_probs(["", "the"])[0].by_token == ()
    assert LM.log_probs([]) == []


def test_a_continuation_longer_than_the_context_is_read_in_windows():
    ids, found = TOKENIZER.encode("z" * 80), LM.log_prob("foo", "z" * 80)
    assert len(found.by_token) == len(ids)
    assert found.by_token[:32] == LM.log_prob("foo", "z" * 32).by_token


@pytest.mark.parametrize("stride", [None, 8, 32])
def test_every_token_of_a_document_counts_once(stride):
    texts = ["the foo " * 30, "", "the", "x" * 33]
    told: list[int] = []
    found = LM.document_log_probs(texts, stride=stride, advance=told.append)
    assert [len(one.by_token) for one in found] == [len(TOKENIZER.encode(text)) for text in texts]
    assert sum(told) == len(texts)
    assert found[0].total == pytest.approx(LM.document_log_probs([texts[0]], stride=stride)[0].total, abs=1e-3)


def test_a_stride_must_leave_no_token_out():
    with pytest.raises(UsageError, match="1 to 32"):
        LM.document_log_probs(["the"], stride=33)


def test_half_precision_is_near():
    half = LanguageModel(MODEL, TOKENIZER, precision="bfloat16")
    pairs = [("the foo", " the"), ("foo " * 5, "foo"), ("foo " * 5, "the")]
    for one, two in zip(half.log_probs(pairs), LM.log_probs(pairs), strict=True):
        assert one.total == pytest.approx(two.total, rel=0.1)
        assert one.total != two.total
    assert isinstance(half.generate("the", max_new_tokens=40), str)


def test_equal_seeds_give_equal_text():
    texts = [LM.generate("the", max_new_tokens=30, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert "".join(LM.stream("the", max_new_tokens=30, seed=1)) == texts[0]


def test_generate_knows_all_ways_to_draw_by_their_names():
    asked = {"top_k": 0, "top_p": 0.9, "min_p": 0.01, "temperature": 2.0}
    asked |= {"repetition_penalty": 1.5, "frequency_penalty": 0.5, "presence_penalty": 0.5}
    for seed in range(3):
        expected = "".join(LM.stream("the", max_new_tokens=30, seed=seed, sampling=SamplingSettings(**asked)))
        assert LM.generate("the", max_new_tokens=30, seed=seed, **asked) == expected
    named = set(inspect.signature(LM.generate).parameters)
    assert {one.name for one in fields(SamplingSettings)} <= named | {"logit_bias"}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_sample_is_its_pieces(seed):
    sample = LM.sample("the", max_new_tokens=40, sampling=SamplingSettings(top_k=0, temperature=2.0), seed=seed)
    assert "".join(piece.text for piece in sample.pieces) == sample.text
    assert all(0 <= piece.probability <= 1 and piece.text for piece in sample.pieces)
    assert sample.model == "tiny"
    assert f"seed {seed}" in sample.settings


def scripted(monkeypatch, text):
    """Make the model say a text, whatever the prompt."""
    from selftaught.inference.generation import Drawn

    ids = [*TOKENIZER.encode(text), TOKENIZER.end_of_text, 0]
    monkeypatch.setattr("selftaught.inference.generation.draw", lambda *_: iter([Drawn(token, 0.5) for token in ids]))


def test_a_stream_never_ends_within_a_character(monkeypatch):
    scripted(monkeypatch, "été 🙂 foo")
    pieces = list(LM.stream("the"))
    assert "".join(pieces) == "été 🙂 foo"
    assert not any("\ufffd" in piece for piece in pieces)
    assert len(pieces) > 5


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (["the"], "foo "),
        (["foo"], ""),
        (["o t", "oo"], "f"),
        (["zzz"], "foo the foo"),
        (["foo the foo!"], "foo the foo"),
    ],
)
def test_text_ends_before_a_stop_string(monkeypatch, stop, expected):
    scripted(monkeypatch, "foo the foo")
    assert LM.generate("", stop=stop) == expected


def test_no_tokens_no_text():
    assert LM.generate("the", max_new_tokens=0) == ""
    with pytest.raises(UsageError, match="-1"):
        LM.generate("the", max_new_tokens=-1)


@given(text=st.text(), cuts=st.data())
def test_bytes_in_any_portions_make_the_text(text, cuts):
    data = text.encode("utf-8", errors="replace")
    places = sorted(cuts.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    stream = TextStream()
    parts = [stream.add(data[a:b]) for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    assert "".join(parts) + stream.end() == data.decode()


def test_loading_from_a_folder(tmp_path):
    native.save(MODEL, TOKENIZER, tmp_path / "4x16")
    loaded = load(tmp_path / "4x16", device="cpu")
    assert (loaded.name, loaded.context, loaded.parameters) == ("4x16", 32, sum(p.numel() for p in MODEL.parameters()))
    assert loaded.log_prob("the", " foo") == LM.log_prob("the", " foo")


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("compiles", [True, False])
@pytest.mark.parametrize("writer", [native, huggingface])
def test_a_model_that_only_generates_writes_the_same_and_scores_nothing(
    tmp_path, monkeypatch, writer, compiles, weights
):
    if not compiles:
        monkeypatch.setattr(compiled, "library", lambda: None)
    writer.save(MODEL, TOKENIZER, tmp_path / "model")
    whole = LanguageModel.load(tmp_path / "model", weights=weights)
    light = LanguageModel.load(tmp_path / "model", weights=weights, only_generates=True)
    assert light.generate("the", max_new_tokens=40) == whole.generate("the", max_new_tokens=40)
    assert (light.context, light.parameters) == (whole.context, whole.parameters)
    with pytest.raises(UsageError, match="generate only"):
        light.log_prob("the", " the")


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_embeddings_in_a_mapped_file_and_halved_ones_are_read_alike(tmp_path, stored):
    large = network(vocabulary=20_000, channels=32, heads=2)  # its embeddings are large enough to be left in their file
    huggingface.save(large, TOKENIZER, tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({name: value.to(stored) for name, value in load_file(path).items()}, path)
    whole, light = (LanguageModel.load(tmp_path, weights="int8", only_generates=one) for one in (False, True))
    path.unlink()  # as when another is put in its place: what is mapped stays
    rules = SamplingSettings(top_k=0)
    assert light.sample("the", max_new_tokens=20, sampling=rules) == whole.sample(
        "the", max_new_tokens=20, sampling=rules
    )


def test_neither_writing_nor_scoring_imports_the_compiler_of_torch(tmp_path):
    native.save(MODEL, TOKENIZER, tmp_path / "model")
    code = "import sys; from selftaught.inference.language_model import load; lm = load(sys.argv[1]);"
    code += "lm.generate('the', max_new_tokens=2); lm.log_prob('the', 'foo');"
    code += "assert not {'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], check=True)
