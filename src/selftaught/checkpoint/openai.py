"""What OpenAI released: GPT-2's TensorFlow checkpoints (models/124M and so on) and GPT-1's numbers (model/params_0.npy ...)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from selftaught import storage
from selftaught.checkpoint import matching
from selftaught.checkpoint.matching import Place
from selftaught.checkpoint.tensor_bundle import TensorBundle
from selftaught.errors import DamagedFileError, InputError
from selftaught.model.shape import GPT1, ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.tokenizer import Tokenizer

HPARAMS_FILE, STATE_FILE, SHAPES_FILE = "hparams.json", "checkpoint", "params_shapes.json"
_HEAD_SIZE = 64
"""Channels of a head in all that OpenAI released: GPT-1's numbers do not say how many heads there are."""
_GPT1_BLOCK = ("attn.c_attn", "attn.c_proj", "ln_1", "mlp.c_fc", "mlp.c_proj", "ln_2")
"""The order in a block of GPT-1's numbers, each with its weights and then its biases."""


class _Hparams(msgspec.Struct, frozen=True):
    n_vocab: int
    n_ctx: int
    n_embd: int
    n_head: int
    n_layer: int


def is_gpt2(folder: Path) -> bool:
    """Whether a folder holds a GPT-2 checkpoint as OpenAI released it."""
    return (folder / HPARAMS_FILE).is_file() and (folder / STATE_FILE).is_file()


def is_gpt1(folder: Path) -> bool:
    """Whether a folder holds GPT-1's numbers as OpenAI released them."""
    return (folder / SHAPES_FILE).is_file()


def load_gpt2(folder: Path) -> tuple[Transformer, Tokenizer]:
    """Read hparams.json, the newest checkpoint that `checkpoint` names, encoder.json and vocab.bpe."""
    shape = gpt2_shape(folder)
    bundle = _Tensors(TensorBundle(_newest(folder)))
    return matching.fit(shape, _gpt2_places(shape), bundle, origin=folder, spare=_spare), Tokenizer.load(folder)


def gpt2_shape(folder: Path) -> ModelShape:
    """What hparams.json says."""
    numbers = storage.read_json(folder / HPARAMS_FILE, _Hparams)
    return ModelShape(
        layers=numbers.n_layer,
        heads=numbers.n_head,
        channels=numbers.n_embd,
        context=numbers.n_ctx,
        vocabulary=numbers.n_vocab,
        dropout=0.1,
    )


def _newest(folder: Path) -> Path:
    for line in storage.read_bytes(folder / STATE_FILE).decode("utf-8", "replace").splitlines():
        if line.startswith("model_checkpoint_path:"):
            name = line.partition(":")[2].strip().strip('"')
            # The path may be that of the machine which wrote it.
            return folder / Path(name).name
    raise DamagedFileError(f"{folder / STATE_FILE} is damaged", expected='model_checkpoint_path: "model.ckpt"')


def _spare(name: str) -> bool:
    """What training leaves beside the weights."""
    return not name.startswith("model/") or name.rpartition("/")[2] in ("Adam", "Adam_1", "Adafactor")


def _gpt2_places(shape: ModelShape) -> dict[str, Place]:
    found = {
        "tokens.weight": Place(name="model/wte"),
        "positions.weight": Place(name="model/wpe"),
        "norm.weight": Place(name="model/ln_f/g"),
        "norm.bias": Place(name="model/ln_f/b"),
    }
    for layer in range(shape.layers):
        for ours, theirs in (matching.NORMS | matching.MATRICES).items():
            before = f"model/h{layer}/{theirs.replace('.', '/')}"
            matrix = ours in matching.MATRICES
            found[f"blocks.{layer}.{ours}.weight"] = Place(name=f"{before}/{'w' if matrix else 'g'}", turned=matrix)
            found[f"blocks.{layer}.{ours}.bias"] = Place(name=f"{before}/b")
    return found


class _Tensors(Mapping[str, torch.Tensor]):
    """Arrays as tensors; a matrix that OpenAI stored as a convolution of width 1 loses that side."""

    def __init__(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> torch.Tensor:
        found = torch.from_numpy(self._arrays[name])
        return found[0] if found.dim() == 3 and found.shape[0] == 1 else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def load_gpt1(folder: Path) -> tuple[Transformer, Tokenizer]:
    """Read params_shapes.json, params_0.npy to params_9.npy (or as many as there are), and the vocabulary's two files."""
    shape, arrays = gpt1_shape(folder), _gpt1_arrays(folder)
    places = {"tokens.weight": Place(name="tokens"), "positions.weight": Place(name="positions")}
    places |= {ours: place for ours, place in _gpt2_places(shape).items() if ours.startswith("blocks.")}
    return matching.fit(shape, places, _Tensors(arrays), origin=folder), Tokenizer.load(folder)


def gpt1_shape(folder: Path) -> ModelShape:
    """What the sides of the first two tensors, and the number of all, say."""
    sides = _sides(folder)
    (context, channels), (vocabulary, _) = sides[:2]
    return ModelShape(
        layers=(len(sides) - 2) // (2 * len(_GPT1_BLOCK)),
        heads=max(channels // _HEAD_SIZE, 1),
        channels=channels,
        context=context,
        vocabulary=vocabulary,
        norm="after",
        dropout=GPT1.dropout,
    )


def _sides(folder: Path) -> list[list[int]]:
    sides = storage.read_json(folder / SHAPES_FILE, list[list[int]])
    block = 2 * len(_GPT1_BLOCK)
    if len(sides) < 2 + block or (len(sides) - 2) % block or {len(size) for size in sides[:2]} != {2}:
        raise DamagedFileError(
            f"{folder / SHAPES_FILE} is not GPT-1's", expected=f"2 + {block} shapes a layer", got=str(len(sides))
        )
    return sides


def _gpt1_arrays(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The one long row of numbers cut as params_shapes.json says: positions, tokens, then block after block."""
    sides = _sides(folder)
    names = ["positions", "tokens"] + [
        f"model/h{layer}/{part.replace('.', '/')}/{kind}"
        for layer in range((len(sides) - 2) // (2 * len(_GPT1_BLOCK)))
        for part in _GPT1_BLOCK
        for kind in ("g" if part.startswith("ln") else "w", "b")
    ]
    flat = np.concatenate([_numbers(path) for path in _gpt1_files(folder)])
    ends = np.cumsum([int(np.prod(size)) for size in sides])
    if ends[-1] != len(flat):
        raise DamagedFileError(
            f"the numbers in {folder} do not fit {SHAPES_FILE}", expected=f"{ends[-1]} numbers", got=str(len(flat))
        )
    return {name: part.reshape(size) for name, part, size in zip(names, np.split(flat, ends[:-1]), sides, strict=True)}


def _gpt1_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    while (path := folder / f"params_{len(found)}.npy").is_file():
        found.append(path)
    if not found:
        raise InputError(f"no weights in {folder}", expected="params_0.npy, params_1.npy, ...")
    return found


def _numbers(path: Path) -> np.ndarray[Any, Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as problem:
        raise DamagedFileError(f"{path} is damaged", expected="an array of numbers", got=str(problem)) from problem
    return np.asarray(found, dtype=np.float32).ravel()
