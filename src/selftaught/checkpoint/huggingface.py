"""Hugging Face's formats of GPT-2 and GPT-1, both ways: config.json and tensors with their names, matrices turned (Conv1D)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import torch

from selftaught import storage
from selftaught.checkpoint import matching
from selftaught.checkpoint.huggingface_config import CONFIG_FILE, as_config, ends, read_shape
from selftaught.checkpoint.mapped import MappedTensors
from selftaught.checkpoint.matching import Place
from selftaught.errors import DamagedFileError, InputError
from selftaught.model import cost
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer import files, formats
from selftaught.tokenizer.tokenizer import Tokenizer

WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
PICKLED_FILE, PICKLED_INDEX_FILE = "pytorch_model.bin", "pytorch_model.bin.index.json"
_OUTER = {
    "before": {"tokens": "wte", "positions": "wpe", "norm": "ln_f"},
    "after": {"tokens": "tokens_embed", "positions": "positions_embed"},
}


def places(shape: ModelShape) -> dict[str, Place]:
    """Our name of each tensor -> theirs."""
    found = {}
    for ours, theirs in _OUTER[shape.norm].items():
        for kind in ("weight", "bias") if ours == "norm" else ("weight",):
            found[f"{ours}.{kind}"] = Place(name=f"transformer.{theirs}.{kind}")
    for layer in range(shape.layers):
        for ours, theirs in (matching.NORMS | matching.MATRICES).items():
            for kind in ("weight", "bias"):
                found[f"blocks.{layer}.{ours}.{kind}"] = Place(
                    name=f"transformer.h.{layer}.{theirs}.{kind}", turned=kind == "weight" and ours in matching.MATRICES
                )
    if not shape.tied:
        found["head.weight"] = Place(name="lm_head.weight")
    return found


def is_model(folder: Path) -> bool:
    """Whether a folder holds a Hugging Face model."""
    return (folder / CONFIG_FILE).is_file()


def load(folder: Path, *, as_stored: bool = False) -> tuple[Transformer, Tokenizer]:
    """Read a GPT-2 or GPT-1 folder, its weights in one file or several, `as_stored` or ready to use (see `matching.fit`).

    Pickled weights (pytorch_model.bin) are read by torch's loader that builds tensors and nothing else. Raises InputError for
    another network, and for tensors that are missing or have another shape.
    """
    shape = read_shape(folder / CONFIG_FILE)
    tensors = _Prefixed(_tensors(folder))
    model = matching.fit(shape, places(shape), tensors, origin=folder, spare=_spare, as_stored=as_stored)
    return model, Tokenizer.load(folder)


def _spare(name: str) -> bool:
    """Buffers of old versions, and the copy of a tied head that some files hold."""
    return name.endswith((".attn.bias", ".attn.masked_bias")) or name == "lm_head.weight"


class _Prefixed(Mapping[str, torch.Tensor]):
    """The same tensors by full name: the bare network's files leave `transformer.` out."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._tensors = tensors
        heads = ("transformer.", "lm_head.")
        self._names = {name if name.startswith(heads) else f"transformer.{name}": name for name in tensors}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensors[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


def _tensors(folder: Path) -> Mapping[str, torch.Tensor]:
    for single, index in ((WEIGHTS_FILE, INDEX_FILE), (PICKLED_FILE, PICKLED_INDEX_FILE)):
        names = _names(folder / index) if (folder / index).is_file() else [single]
        paths = [folder / name for name in names]
        if all(path.is_file() for path in paths):
            return MappedTensors(paths) if single == WEIGHTS_FILE else _unpickled(paths)
    raise InputError(f"no weights in {folder}", expected=f"{WEIGHTS_FILE} or {PICKLED_FILE}")


def _names(index: Path) -> list[str]:
    names = sorted(set(storage.read_json(index, _Index).weight_map.values()))
    for name in names:
        if Path(name).name != name:
            raise DamagedFileError(f"{index} points outside its folder", got=name)
    return names


def _unpickled(paths: list[Path]) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for path in paths:
        found = matching.read_pickled(path)
        tensors |= {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    return tensors


def save(model: Transformer, tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write a folder that transformers' `from_pretrained` reads.

    Raises InputError for a GPT-1 network with something that Hugging Face's class for it lacks.
    """
    import safetensors.torch

    shape, folder = model.shape, Path(folder)
    config = as_config(shape, tokenizer)
    state = model.state_dict()
    tensors = {
        place.name: (state[ours].T if place.turned else state[ours]).cpu().contiguous()
        for ours, place in places(shape).items()
    }
    storage.require_space(folder.parent, sum(tensor.nbytes for tensor in tensors.values()))
    with storage.writing(folder / WEIGHTS_FILE) as stream:
        safetensors.torch.save_file(tensors, stream.name, metadata={"format": "pt"})
    _write_tokenizer(tokenizer, shape, folder)
    storage.write_json(folder / "generation_config.json", ends(tokenizer))
    storage.write_text(folder / "README.md", _card(shape, tokenizer))
    storage.write_json(folder / CONFIG_FILE, config)


def _write_tokenizer(tokenizer: Tokenizer, shape: ModelShape, folder: Path) -> None:
    """Write the tokenizer's files as transformers reads them."""
    formats.write_huggingface(folder, tokenizer.vocabulary)
    kind = {"tokenizer_class": "GPT2Tokenizer"} | dict.fromkeys(
        ("bos_token", "eos_token", "unk_token"), files.END_OF_TEXT
    )
    if tokenizer.vocabulary.kind == "gpt1":
        kind = {"tokenizer_class": "OpenAIGPTTokenizer", "unk_token": files.UNKNOWN}
    storage.write_json(folder / "tokenizer_config.json", {"model_max_length": shape.context} | kind)


_CARD = """---
library_name: transformers
pipeline_tag: text-generation
---
# A language model with the network of {paper}

{parameters:,} parameters: {shape.layers} layers, {shape.heads} heads, {shape.channels} channels, a context of {shape.context}
tokens, {ids:,} ids. Written by selftaught.

It continues text in the manner of what it was trained on. What that was, its licence and its biases are not in these files:
say so here before you share them.
"""


def _card(shape: ModelShape, tokenizer: Tokenizer) -> str:
    paper = "GPT-2" if shape.norm == "before" else "GPT-1"
    return _CARD.format(paper=paper, parameters=cost.parameters(shape), shape=shape, ids=tokenizer.vocabulary_size)
