"""Weights of nanoGPT (a .pt of torch.save) and llm.c (a .bin of its own). Neither carries a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from selftaught import storage
from selftaught.checkpoint import huggingface, matching
from selftaught.checkpoint.matching import Place
from selftaught.errors import DamagedFileError, InputError
from selftaught.model.initial import without_values
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer

_COMPILED = "_orig_mod."
"""What torch.compile puts before every name."""
_MAGIC, _HEADER = 20240326, 256
_VERSIONS = {3: "<f4", 5: "<u2"}
"""llm.c: float32, and bfloat16 as its upper half; both with the vocabulary padded."""


class _Arguments(msgspec.Struct, frozen=True):
    """nanoGPT's `model_args`."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int
    bias: bool = True
    dropout: float = 0.0


def is_nanogpt(path: Path) -> bool:
    """Whether a path may be a checkpoint of nanoGPT."""
    return path.is_file() and path.suffix in (".pt", ".pth")


def is_llmc(path: Path) -> bool:
    """Whether a file begins as llm.c's do."""
    if not path.is_file() or path.suffix != ".bin":
        return False
    with storage.reading(path) as stream:
        return stream.read(4) == np.array([_MAGIC], "<i4").tobytes()


def _places(shape: ModelShape) -> dict[str, Place]:
    """Both have the names that Hugging Face took over, but torch's layout."""
    return {ours: replace(place, turned=False) for ours, place in huggingface.places(shape).items()}


def load_nanogpt(path: Path) -> Transformer:
    """Read nanoGPT's ckpt.pt; nothing in it is run. Its GELU is the exact one; biases that it has not are zero here."""
    saved = _saved(path)
    arguments = _arguments(saved, path)
    shape = _shape_of(arguments)
    tensors: dict[str, torch.Tensor] = {
        str(name).removeprefix(_COMPILED): tensor
        for name, tensor in saved["model"].items()
        if isinstance(tensor, torch.Tensor)
    }
    if not arguments.bias:
        tensors = {**_zero_biases(shape), **tensors}
    return matching.fit(shape, _places(shape), tensors, origin=path, spare=_spare)


def nanogpt_shape(path: Path) -> ModelShape:
    """What the model_args of a checkpoint say."""
    return _shape_of(_arguments(_saved(path), path))


def _shape_of(arguments: _Arguments) -> ModelShape:
    return ModelShape(
        layers=arguments.n_layer,
        heads=arguments.n_head,
        channels=arguments.n_embd,
        context=arguments.block_size,
        vocabulary=arguments.vocab_size,
        dropout=arguments.dropout,
        activation="gelu",
    )


def _saved(path: Path) -> dict[Any, Any]:
    saved = matching.read_pickled(path)
    if not isinstance(saved.get("model"), dict) or not isinstance(saved.get("model_args"), dict):
        names = ", ".join(map(str, saved))
        raise InputError(f"{path} is no checkpoint of nanoGPT", expected="model and model_args", got=names)
    return saved


def _arguments(saved: dict[Any, Any], path: Path) -> _Arguments:
    try:
        return msgspec.convert(saved["model_args"], _Arguments)
    except msgspec.ValidationError as problem:
        raise InputError(f"the model_args in {path} are not nanoGPT's", got=str(problem)) from problem


def _zero_biases(shape: ModelShape) -> dict[str, torch.Tensor]:
    with without_values():
        like = Transformer(shape).state_dict()
    return {
        place.name: torch.zeros(like[ours].shape) for ours, place in _places(shape).items() if ours.endswith(".bias")
    }


def _spare(name: str) -> bool:
    """The tied head's second name, and masks that old versions kept."""
    return name == "lm_head.weight" or name.endswith(".attn.bias")


def load_llmc(path: Path) -> Transformer:
    """Read a model file of llm.c. Raises DamagedFileError if it is cut short, InputError for another version."""
    version, shape, padded = _llmc_header(path)
    sizes = dict(_llmc_sizes(shape, padded))
    needed = 4 * _HEADER + sum(int(np.prod(size)) for size in sizes.values()) * np.dtype(_VERSIONS[version]).itemsize
    if path.stat().st_size != needed:
        raise DamagedFileError(f"{path} has another length", expected=f"{needed} bytes", got=str(path.stat().st_size))
    flat = np.memmap(path, dtype=_VERSIONS[version], mode="r", offset=4 * _HEADER)
    return matching.fit(shape, _places(shape), _Llmc(flat, sizes, shape), origin=path)


def llmc_shape(path: Path) -> ModelShape:
    """What the header of a file says."""
    return _llmc_header(path)[1]


def _llmc_header(path: Path) -> tuple[int, ModelShape, int]:
    """Version, shape and the number of rows that the token embedding is padded to."""
    header = np.fromfile(path, dtype="<i4", count=_HEADER)
    if len(header) < _HEADER:
        raise DamagedFileError(f"{path} is cut short", expected=f"a header of {_HEADER} numbers", got=str(len(header)))
    version, context, vocabulary, layers, heads, channels, padded = header[1:8].tolist()
    if version not in _VERSIONS:
        raise InputError(f"{path} is another version of llm.c's file", expected="3 or 5", got=str(version))
    shape = ModelShape(layers=layers, heads=heads, channels=channels, context=context, vocabulary=vocabulary)
    return version, shape, padded


def _llmc_sizes(shape: ModelShape, padded: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """llm.c's order: each kind of tensor for all layers together."""
    layers, channels = shape.layers, shape.channels
    yield "wte.weight", (padded, channels)
    yield "wpe.weight", (shape.context, channels)
    for name, sides in (
        ("ln_1", (channels,)),
        ("attn.c_attn", (3 * channels, channels)),
        ("attn.c_proj", (channels, channels)),
        ("ln_2", (channels,)),
        ("mlp.c_fc", (4 * channels, channels)),
        ("mlp.c_proj", (channels, 4 * channels)),
    ):
        yield f"{name}.weight", (layers, *sides)
        yield f"{name}.bias", (layers, sides[0])
    yield "ln_f.weight", (channels,)
    yield "ln_f.bias", (channels,)


class _Llmc(Mapping[str, torch.Tensor]):
    """The file's tensors by GPT-2's names, read when asked for."""

    def __init__(self, flat: np.ndarray[Any, Any], sizes: dict[str, tuple[int, ...]], shape: ModelShape) -> None:
        self._flat, self._sizes, self._vocabulary = flat, sizes, shape.vocabulary
        ends = np.cumsum([int(np.prod(size)) for size in sizes.values()]).tolist()
        self._starts = dict(zip(sizes, [0, *ends], strict=False))
        self._parts: dict[str, tuple[str, int | None]] = {}
        for name, size in sizes.items():
            outer = name.startswith(("wte", "wpe", "ln_f"))
            for layer in [None] if outer else range(size[0]):
                self._parts[f"transformer.{name}" if outer else f"transformer.h.{layer}.{name}"] = (name, layer)

    def __getitem__(self, full: str) -> torch.Tensor:
        name, layer = self._parts[full]
        size = self._sizes[name] if layer is None else self._sizes[name][1:]
        count = int(np.prod(size))
        start = self._starts[name] + (layer or 0) * count
        raw = np.array(self._flat[start : start + count]).reshape(size)
        tensor = (
            torch.from_numpy(raw.view(np.int16)).view(torch.bfloat16)
            if raw.dtype == np.uint16
            else torch.from_numpy(raw)
        )
        return tensor[: self._vocabulary] if name == "wte.weight" else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)
