"""Hugging Face's GPT-2 format, both ways: config.json + model.safetensors with their names, matrices transposed (Conv1D)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from selftaught import storage
from selftaught.checkpoint.native import read_tensors
from selftaught.errors import InputError, MismatchError
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.alphabet import written
from selftaught.tokenizer.files import END_OF_TEXT
from selftaught.tokenizer.tokenizer import Tokenizer

CONFIG_FILE = "config.json"
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
    """Read a GPT-2 folder with safetensors weights. Raises InputError for another architecture or format."""
    config = storage.read_json(folder / CONFIG_FILE, dict[str, Any])
    model = Transformer(_shape(config, folder))
    path = folder / "model.safetensors"
    if not path.is_file():
        raise InputError(f"no weights in {folder}", expected="model.safetensors (pickled weights are never read)")
    found = {name.removeprefix("transformer."): tensor for name, tensor in read_tensors(path).items()}
    state = {}
    for ours, (theirs, turned) in _names(model.shape).items():
        tensor = found.get(theirs.removeprefix("transformer."))
        if tensor is None:
            raise InputError(f"{path} has no tensor {theirs}", got=f"{len(found)} others")
        state[ours] = (tensor.T if turned else tensor).to(torch.float32).contiguous()
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as problem:
        raise InputError(f"{path} does not fit {CONFIG_FILE}", got=str(problem)) from problem
    return model.requires_grad_(True).eval(), Tokenizer.load(folder)  # noqa: FBT003 - torch's own signature


def _shape(config: dict[str, Any], folder: Path) -> ModelShape:
    if config.get("model_type") != "gpt2" or config.get("activation_function", "gelu_new") not in ("gelu_new", "gelu_pytorch_tanh"):
        raise InputError(
            f"{folder} holds another kind of network",
            expected="model_type gpt2 with gelu_new",
            got=f"{config.get('model_type')} with {config.get('activation_function')}",
        )
    return ModelShape(
        layers=config["n_layer"],
        heads=config["n_head"],
        channels=config["n_embd"],
        context=config["n_positions"],
        vocabulary=config["vocab_size"],
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
    storage.write_bytes(folder / "model.safetensors", safetensors.torch.save(tensors, metadata={"format": "pt"}))
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
