"""Finds out what kind of model a folder holds and calls the right reader."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from selftaught import console
from selftaught.checkpoint import huggingface, native
from selftaught.errors import DamagedFileError, InputError
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.tokenizer import Tokenizer

_STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model as it came from the disk."""

    model: Transformer
    """In evaluation mode, float32."""
    tokenizer: Tokenizer
    name: str
    """The folder's name; for a checkpoint of a training run, the run's."""
    origin: str
    """Format and folder that the weights were read from, in words."""


def load(path: str | Path, device: str = "cpu") -> Loaded:
    """Read a model from our folder, a training run (its newest checkpoint that is whole) or a Hugging Face folder.

    Raises InputError if there is none, DamagedFileError if no checkpoint of it is whole.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(
            f"no model at {folder}",
            expected="a folder",
            got="a file" if folder.exists() else "no such folder",
            hint="selftaught train makes one.",
        )
    if native.is_model(folder):
        return _native(folder, device)
    if huggingface.is_model(folder):
        model, tokenizer = huggingface.load(folder, device)
        return Loaded(model=model, tokenizer=tokenizer, name=_name(folder), origin=f"Hugging Face, {folder}")
    if checkpoints(folder):
        return _newest(folder, device)
    raise InputError(
        f"no model in {folder}",
        expected="a model folder, a training run with a checkpoint, or a Hugging Face folder of gpt2",
        hint="selftaught train makes one.",
    )


def checkpoints(run: str | Path) -> list[Path]:
    """Return the step folders of a training run, newest first, whole or not."""
    found = ((_STEP.fullmatch(inner.name), inner) for inner in Path(run).iterdir() if inner.is_dir())
    return [inner for _, inner in sorted(((int(m[1]), inner) for m, inner in found if m), reverse=True)]


def find_shape(path: str | Path) -> ModelShape:
    """Return the shape of the model that `load` would read, without reading weights."""
    folder = Path(path)
    if native.is_model(folder):
        return native.read_shape(folder)
    if huggingface.is_model(folder):
        return huggingface.read_shape(folder)
    steps = [step for step in (checkpoints(folder) if folder.is_dir() else []) if native.is_model(step)]
    if not steps:
        raise InputError(f"no model in {folder}", hint="selftaught train makes one.")
    return native.read_shape(steps[0])


def _native(folder: Path, device: str) -> Loaded:
    model, tokenizer = native.load(folder, device)
    return Loaded(model=model, tokenizer=tokenizer, name=_name(folder), origin=f"selftaught, {folder}")


def _newest(run: Path, device: str) -> Loaded:
    problems = []
    for step in checkpoints(run):
        try:
            loaded = _native(step, device)
        except (DamagedFileError, InputError) as problem:
            problems.append(problem)
            continue
        if problems:
            console.warn(f"{problems[0].line()} Using {step.name} instead.")
        return loaded
    raise problems[0]


def _name(folder: Path) -> str:
    folder = folder.resolve()
    return folder.parent.name if _STEP.fullmatch(folder.name) else folder.name
