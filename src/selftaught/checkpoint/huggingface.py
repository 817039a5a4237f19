"""Hugging Face's folders of GPT-2, both ways: config.json, model.safetensors, vocab.json and merges.txt.

Their linear layers hold the transpose of ours (inputs first); everything else is renamed only, so that a round trip
returns the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from selftaught import storage
from selftaught.checkpoint import native
from selftaught.errors import DamagedFileError, InputError
from selftaught.model.shape import ModelShape
from selftaught.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

    from selftaught.model.transformer import Transformer

CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE = "config.json", "model.safetensors", "model.safetensors.index.json"

_OUTSIDE = {"tokens": "wte", "positions": "wpe", "final_norm": "ln_f"}
_INSIDE = {
    "attention_norm": "ln_1",
    "attention.joined": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.wide": "mlp.c_fc",
    "feed_forward.narrow": "mlp.c_proj",
}
_TRANSPOSED = re.compile(r"\.(attention|feed_forward)\.\w+\.weight$")
_PREFIX = "transformer."
_NOT_WEIGHTS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)$|^lm_head\.weight$")
"""Causal masks that old files carry, and the tied head."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The part of config.json that fixes the network; names and defaults are Hugging Face's."""

    model_type: str = ""
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    n_positions: int = 1024
    n_inner: int | None = None
    vocab_size: int = 50257
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    resid_pdrop: float = 0.1
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True


def is_model(folder: Path) -> bool:
    """Whether a folder holds a config.json and weights as Hugging Face names them."""
    return (folder / CONFIG_FILE).is_file() and not (folder / native.SHAPE_FILE).exists()


def read_shape(folder: Path) -> ModelShape:
    """Return the shape that config.json describes. Raises InputError for a network that is not GPT-2's."""
    path = folder / CONFIG_FILE
    config = storage.read_json(path, Config)
    asked: dict[str, tuple[object, tuple[object, ...]]] = {
        "model_type": (config.model_type, ("gpt2",)),
        "activation_function": (config.activation_function, ("gelu_new", "gelu_pytorch_tanh")),
        "n_inner": (config.n_inner, (None, 4 * config.n_embd)),
        "layer_norm_epsilon": (config.layer_norm_epsilon, (1e-5,)),
        "scale_attn_weights": (config.scale_attn_weights, (True,)),
        "scale_attn_by_inverse_layer_idx": (config.scale_attn_by_inverse_layer_idx, (False,)),
        "tie_word_embeddings": (config.tie_word_embeddings, (True,)),
    }
    for name, (got, known) in asked.items():
        if got not in known:
            raise InputError(f"{path} describes another network", expected=f"{name} {known[-1]}", got=f"{name} {got}")
    return ModelShape(
        layers=config.n_layer,
        heads=config.n_head,
        channels=config.n_embd,
        context=config.n_positions,
        vocabulary=config.vocab_size,
        dropout=config.resid_pdrop,
    )


def load(folder: str | Path, device: str = "cpu") -> tuple[Transformer, Tokenizer]:
    """Read a Hugging Face folder and return the network, in evaluation mode, and its tokenizer.

    Only safetensors are read, in one file or several, never pickles.
    """
    folder = Path(folder)
    shape, tokenizer = read_shape(folder), Tokenizer.load(folder)
    native.require_vocabulary(shape, tokenizer)
    tensors: dict[str, torch.Tensor] = {}
    for path in _weight_files(folder):
        tensors.update(native.read_tensors(path, device))
    return native.assemble(shape, renamed_to_ours(tensors), folder / WEIGHTS_FILE), tokenizer


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX_FILE).is_file():
        names = sorted(set(storage.read_json(folder / INDEX_FILE, _Index).weight_map.values()))
        outside = [name for name in names if Path(name).name != name]
        if outside:
            raise DamagedFileError(f"{folder / INDEX_FILE} points outside its folder", got=outside[0])
        return [folder / name for name in names]
    if not (folder / WEIGHTS_FILE).is_file():
        raise InputError(
            f"no weights in {folder}",
            expected=f"{WEIGHTS_FILE} or {INDEX_FILE}",
            hint="Pickled weights (.bin) are not read: save them as safetensors with transformers first.",
        )
    return [folder / WEIGHTS_FILE]


def renamed_to_ours(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors under our names and in our layout; names that are not Hugging Face's stay as they are."""
    found = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix(_PREFIX)
        if _NOT_WEIGHTS.search(bare):
            continue
        ours = _our_name(bare)
        found[ours] = tensor.T.contiguous() if _TRANSPOSED.search(ours) else tensor
    return found


def renamed_to_theirs(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors under Hugging Face's names and in their layout."""
    return {
        _PREFIX + _their_name(name): tensor.T.contiguous() if _TRANSPOSED.search(name) else tensor
        for name, tensor in tensors.items()
    }


def _our_name(theirs: str) -> str:
    head, _, kind = theirs.rpartition(".")
    layer = re.fullmatch(r"h\.(\d+)\.(.+)", head)
    known = {their: ours for ours, their in (_INSIDE if layer else _OUTSIDE).items()}
    part = known.get(layer[2] if layer else head)
    if part is None:
        return theirs
    return f"blocks.{layer[1]}.{part}.{kind}" if layer else f"{part}.{kind}"


def _their_name(ours: str) -> str:
    head, _, kind = ours.rpartition(".")
    layer = re.fullmatch(r"blocks\.(\d+)\.(.+)", head)
    return f"h.{layer[1]}.{_INSIDE[layer[2]]}.{kind}" if layer else f"{_OUTSIDE[head]}.{kind}"


def save(folder: str | Path, model: Transformer, tokenizer: Tokenizer) -> None:
    """Write a folder that `transformers` loads as GPT2LMHeadModel with its tokenizer.

    Raises InputError for a network that normalises after its layers, which has no GPT-2 folder.
    """
    folder, shape = Path(folder), model.shape
    if shape.norm != "before":
        raise InputError("only GPT-2's network has this format", expected="norm before", got=f"norm {shape.norm}")
    tokenizer.save(folder)
    for ours, theirs in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        storage.write_bytes(folder / theirs, storage.read_bytes(folder / ours))
        (folder / ours).unlink()
    storage.write_json(folder / "tokenizer_config.json", _tokenizer_config(shape))
    storage.write_json(folder / "generation_config.json", _token_ids(tokenizer))
    with storage.writing(folder / WEIGHTS_FILE) as stream:
        native.write_tensors(stream, renamed_to_theirs(model.state_dict()), {"format": "pt"})
    storage.write_json(folder / CONFIG_FILE, _config(shape, tokenizer))


def _tokenizer_config(shape: ModelShape) -> dict[str, Any]:
    end = "<|endoftext|>"
    return {
        "tokenizer_class": "GPT2Tokenizer",
        "model_max_length": shape.context,
        "add_prefix_space": False,
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
    }


def _token_ids(tokenizer: Tokenizer) -> dict[str, Any]:
    return {"bos_token_id": tokenizer.end_of_text, "eos_token_id": tokenizer.end_of_text}


def _config(shape: ModelShape, tokenizer: Tokenizer) -> dict[str, Any]:
    config = Config(
        model_type="gpt2",
        n_layer=shape.layers,
        n_head=shape.heads,
        n_embd=shape.channels,
        n_positions=shape.context,
        vocab_size=shape.vocabulary,
        resid_pdrop=shape.dropout,
    )
    further = {"architectures": ["GPT2LMHeadModel"], "dtype": "float32", **_token_ids(tokenizer)}
    dropouts = {"embd_pdrop": shape.dropout, "attn_pdrop": shape.dropout}
    return {**msgspec.to_builtins(config), **dropouts, **further}
