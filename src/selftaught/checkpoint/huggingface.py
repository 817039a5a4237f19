"""Hugging Face's GPT-2 format, both ways: config.json + model.safetensors with their names, matrices transposed (Conv1D)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from selftaught import storage
from selftaught.checkpoint.native import read_tensors
from selftaught.errors import DamagedFileError, InputError, MismatchError
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.alphabet import written
from selftaught.tokenizer.files import END_OF_TEXT
from selftaught.tokenizer.tokenizer import Tokenizer

CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE = "config.json", "model.safetensors", "model.safetensors.index.json"
_OUTER = {"tokens": "wte", "positions": "wpe", "norm": "ln_f"}
_INNER = {
    "attention_norm": "ln_1",
    "attention.query_key_value": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed_norm": "ln_2",
    "feed.inner": "mlp.c_fc",
    "feed.outer": "mlp.c_proj",
}
_TRANSPOSED = frozenset(("attention.query_key_value", "attention.output", "feed.inner", "feed.outer"))


def _names(shape: ModelShape) -> dict[str, tuple[str, bool]]:
    """Our name of each tensor -> their name, and whether it is transposed."""
    names = {}
    for ours, theirs in _OUTER.items():
        for kind in ("weight", "bias") if ours == "norm" else ("weight",):
            names[f"{ours}.{kind}"] = (f"transformer.{theirs}.{kind}", False)
    for layer in range(shape.layers):
        for ours, theirs in _INNER.items():
            for kind in ("weight", "bias"):
                turned = kind == "weight" and ours in _TRANSPOSED
                names[f"blocks.{layer}.{ours}.{kind}"] = (f"transformer.h.{layer}.{theirs}.{kind}", turned)
    return names


def is_model(folder: Path) -> bool:
    """Whether a folder holds a Hugging Face model."""
    return (folder / CONFIG_FILE).is_file()


def load(folder: Path) -> tuple[Transformer, Tokenizer]:
    """Read a GPT-2 folder with safetensors weights, in one file or several.

    Raises InputError for another network, for pickled weights, and for tensors that are missing or have another shape.
    """
    with torch.device("meta"):
        model = Transformer(read_shape(folder))
    found = {name.removeprefix("transformer."): tensor for name, tensor in _tensors(folder).items()}
    state = {}
    for ours, (theirs, turned) in _names(model.shape).items():
        tensor = found.get(theirs.removeprefix("transformer."))
        if tensor is None:
            raise InputError(f"the weights in {folder} have no tensor {theirs}", got=f"{len(found)} others")
        state[ours] = (tensor.T if turned else tensor).to(torch.float32).contiguous()
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as problem:
        raise InputError(f"the weights in {folder} do not fit {CONFIG_FILE}", got=str(problem)) from problem
    return model.requires_grad_().eval(), Tokenizer.load(folder)


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    if not (folder / INDEX_FILE).is_file():
        if not (folder / WEIGHTS_FILE).is_file():
            raise InputError(
                f"no weights in {folder}",
                expected=f"{WEIGHTS_FILE}",
                hint="Pickled weights are never read: save them as safetensors with transformers.",
            )
        return read_tensors(folder / WEIGHTS_FILE)
    names = sorted(set(storage.read_json(folder / INDEX_FILE, _Index).weight_map.values()))
    for name in names:
        if Path(name).name != name:
            raise DamagedFileError(f"{folder / INDEX_FILE} points outside its folder", got=name)
    return {name: tensor for file in names for name, tensor in read_tensors(folder / file).items()}


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    """What of config.json fixes the network; names and defaults are Hugging Face's."""

    model_type: str = ""
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    n_positions: int = 1024
    n_inner: int | None = None
    vocab_size: int = 50257
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True


def read_shape(folder: Path) -> ModelShape:
    """The shape that config.json describes. Raises InputError, naming the entry, for a network that is not GPT-2's."""
    config = storage.read_json(folder / CONFIG_FILE, _Config)
    known: dict[str, tuple[object, ...]] = {
        "model_type": ("gpt2",),
        "activation_function": ("gelu_pytorch_tanh", "gelu_new"),
        "n_inner": (None, 4 * config.n_embd),
        "layer_norm_epsilon": (1e-5,),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "tie_word_embeddings": (True,),
    }
    for name, values in known.items():
        if getattr(config, name) not in values:
            raise InputError(
                f"{folder} holds another kind of network",
                expected=f"{name} {values[-1]}",
                got=f"{name} {getattr(config, name) or 'missing'}",
            )
    return ModelShape(
        layers=config.n_layer,
        heads=config.n_head,
        channels=config.n_embd,
        context=config.n_positions,
        vocabulary=config.vocab_size,
    )


def save(model: Transformer, tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write a folder that transformers' `from_pretrained` reads. Raises MismatchError for a GPT-1 (other norm) network."""
    import json

    import safetensors.torch

    shape, folder = model.shape, Path(folder)
    if shape.norm != "before":
        raise MismatchError("only GPT-2 networks can be written in this format", got="normalisation after each block")
    state = model.state_dict()
    tensors = {
        theirs: (state[ours].T if turned else state[ours]).cpu().contiguous()
        for ours, (theirs, turned) in _names(shape).items()
    }
    storage.write_bytes(folder / WEIGHTS_FILE, safetensors.torch.save(tensors, metadata={"format": "pt"}))
    vocabulary = tokenizer.vocabulary
    ids = {written(token): number for token, number in vocabulary.ids.items()} | {END_OF_TEXT: tokenizer.end_of_text}
    merges = "".join(f"{written(left)} {written(right)}\n" for left, right in vocabulary.merges)
    storage.write_text(folder / "vocab.json", json.dumps(ids))
    storage.write_text(folder / "merges.txt", f"#version: 0.2\n{merges}")
    storage.write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "GPT2Tokenizer", "model_max_length": shape.context}
        | dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT),
    )
    storage.write_json(folder / CONFIG_FILE, _config(shape, tokenizer.end_of_text))


def _config(shape: ModelShape, end_of_text: int) -> dict[str, Any]:
    dropouts = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), shape.dropout)
    return dropouts | {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "n_embd": shape.channels,
        "n_positions": shape.context,
        "vocab_size": shape.vocabulary,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "tie_word_embeddings": True,
    }
