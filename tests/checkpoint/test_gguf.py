"""GGUF as llama.cpp's own reader and transformers' see it: the same tensors, the same text, the same logits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from selftaught.checkpoint import gguf, native
from selftaught.cli.main import main
from selftaught.errors import InputError, MissingExtraError, UsageError
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference.networks import network

theirs = pytest.importorskip("gguf")
TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h"), (b"th", b"e"), (b" ", b"the")]))
SIZE = TOKENIZER.vocabulary_size


def field(reader, name):
    return reader.fields[name].contents()


@pytest.mark.parametrize("options", [{}, {"tied": False, "inner": 24, "norm_epsilon": 1e-3}])
def test_llama_cpps_reader_finds_every_tensor_and_number(tmp_path, options):
    made = network(vocabulary=SIZE + 4, **options)
    gguf.save(made, TOKENIZER, tmp_path / "model.gguf")
    reader = theirs.GGUFReader(tmp_path / "model.gguf")
    assert field(reader, "general.architecture") == "gpt2"
    assert field(reader, "general.name") == "model"
    assert field(reader, "gpt2.block_count") == field(reader, "gpt2.attention.head_count") == 2
    assert field(reader, "gpt2.context_length") == 32
    assert field(reader, "gpt2.feed_forward_length") == made.shape.feed
    assert field(reader, "gpt2.attention.layer_norm_epsilon") == pytest.approx(made.shape.norm_epsilon)
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    known = theirs.MODEL_TENSORS[theirs.MODEL_ARCH.GPT2]
    assert len(tensors) == len(list(made.parameters()))
    assert np.array_equal(tensors["token_embd.weight"], made.tokens.weight.detach().numpy())
    assert np.array_equal(tensors["blk.1.ffn_up.weight"], made.blocks[1].feed.inner.weight.detach().numpy())
    assert {theirs.TENSOR_NAMES[kind].format(bid=layer) for kind in known for layer in range(2)} >= {
        name.rpartition(".")[0] for name in tensors
    }
    tokens = field(reader, "tokenizer.ggml.tokens")
    assert len(tokens) == SIZE + 4
    assert tokens[TOKENIZER.end_of_text] == "<|endoftext|>"
    assert field(reader, "tokenizer.ggml.merges") == ["t h", "th e", "Ġ the"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("weights", "kind"), [("bfloat16", "BF16"), ("int8", "Q8_0")])
def test_matrices_may_be_lighter(tmp_path, weights, kind):
    made = network(vocabulary=SIZE, channels=32, heads=2, inner=48)
    gguf.save(made, TOKENIZER, tmp_path / "model.gguf", weights)
    reader = theirs.GGUFReader(tmp_path / "model.gguf")
    assert theirs.LlamaFileType(field(reader, "general.file_type")).name == f"MOSTLY_{kind}"
    found = {tensor.name: tensor for tensor in reader.tensors}
    for name, weight in (
        ("token_embd.weight", made.tokens.weight),
        ("blk.0.attn_qkv.weight", made.blocks[0].attention.query_key_value.weight),
    ):
        assert found[name].tensor_type.name == kind
        values = theirs.quants.dequantize(found[name].data, found[name].tensor_type)
        # Half a step of 127 to the largest of a block, or half of bfloat16's last bit.
        error = weight.abs().max().item() / 127 if kind == "Q8_0" else weight.abs().max().item() / 256
        assert 0 < np.abs(values - weight.detach().numpy()).max() <= error
    for name in ("position_embd.weight", "output_norm.weight", "blk.0.attn_qkv.bias", "blk.0.ffn_down.weight"):
        assert found[name].tensor_type.name == "F32"  # the last has rows of 48, no whole blocks


@torch.no_grad()
def test_transformers_computes_the_same_from_it(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")  # transformers wants it for this
    made = network(vocabulary=SIZE)
    gguf.save(made, TOKENIZER, tmp_path / "model.gguf")
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf").eval()
    ids = torch.tensor([TOKENIZER.encode("the thing, then: 42")])
    torch.testing.assert_close(other(ids).logits.float(), made.logits(made(ids)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("options", [{"norm": "after"}, {"activation": "gelu"}, {"scale_by_layer": True}])
def test_networks_that_llama_cpp_does_not_know_are_refused(tmp_path, options):
    with pytest.raises(InputError, match=next(iter(options))):
        gguf.save(network(vocabulary=SIZE, **options), TOKENIZER, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_lighter_matrices_are_for_gguf_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    native.save(network(vocabulary=SIZE, channels=32), TOKENIZER, tmp_path / "made")
    words = ["convert", str(tmp_path / "made"), str(tmp_path / "made.gguf"), "--weights", "int8"]
    assert main(words) == UsageError.exit_code
    assert "--to gguf" in capsys.readouterr().err
    assert main([*words, "--to", "gguf"]) == 0
    assert field(theirs.GGUFReader(tmp_path / "made.gguf"), "general.name") == "made"


def test_without_its_writer_the_install_line_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"selftaught\[gguf\]"):
        gguf.save(network(vocabulary=SIZE), TOKENIZER, tmp_path / "model.gguf")


def test_llama_cpp_continues_with_the_same_text_and_probabilities(tmp_path):
    llama_cpp = pytest.importorskip("llama_cpp")
    made = network(vocabulary=SIZE, channels=64, heads=2, context=64)
    gguf.save(made, TOKENIZER, tmp_path / "model.gguf")
    other = llama_cpp.Llama(str(tmp_path / "model.gguf"), n_ctx=64, logits_all=True, verbose=False)
    prompt = "the thing, then: 42"
    assert other.tokenize(prompt.encode(), add_bos=False) == TOKENIZER.encode(prompt)
    ids = TOKENIZER.encode(prompt)
    other.eval(ids)
    with torch.no_grad():
        expected = made.logits(made(torch.tensor([ids])))[0]
    got = torch.tensor(np.array(other.scores[: len(ids)]))
    torch.testing.assert_close(got.log_softmax(-1), expected.log_softmax(-1), atol=1e-2, rtol=0)
