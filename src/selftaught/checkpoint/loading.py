"""`load(path)`: looks at the folder and calls the right reader."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from selftaught import console
from selftaught.checkpoint import huggingface, native
from selftaught.errors import DamagedFileError, InputError, MismatchError
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network with its tokenizer and where they came from."""

    model: Transformer
    tokenizer: Tokenizer
    name: str
    origin: str


def load(path: str | Path, device: str = "cpu") -> Loaded:
    """Read a model folder of ours, a training run (its newest whole checkpoint) or a Hugging Face GPT-2 folder.

    Raises InputError if it is none of these, DamagedFileError if it is damaged.
    """
    folder = Path(path)
    if native.is_model(folder):
        model, tokenizer = native.load(folder)
    elif huggingface.is_model(folder):
        model, tokenizer = huggingface.load(folder)
    elif steps := checkpoints(folder):
        _, model, tokenizer = newest(steps)
    else:
        raise InputError(
            f"no model in {folder}",
            expected="a model folder (shape.json), a training run (step-...), or a Hugging Face folder (config.json)",
            got="no such folder" if not folder.exists() else "none of these files",
        )
    if tokenizer.vocabulary_size > model.shape.vocabulary:
        raise MismatchError(
            f"tokenizer and network in {folder} do not belong together",
            expected=f"at most {model.shape.vocabulary} ids",
            got=str(tokenizer.vocabulary_size),
        )
    return Loaded(model=model.to(device), tokenizer=tokenizer, name=_name(folder), origin=str(folder))


def _name(folder: Path) -> str:
    resolved = folder.resolve()
    return resolved.parent.name if re.fullmatch(r"step-\d+", resolved.name) else resolved.name


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a training run, oldest first."""
    found = (path for path in run.glob("step-*") if re.fullmatch(r"step-\d+", path.name)) if run.is_dir() else ()
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def newest(steps: list[Path]) -> tuple[Path, Transformer, Tokenizer]:
    """The newest checkpoint that is whole; a warning for each damaged one. Raises DamagedFileError if none is."""
    problems = []
    for folder in reversed(steps):
        try:
            return folder, *native.load(folder)
        except DamagedFileError as problem:
            console.warn(problem.line())
            problems.append(problem)
    raise problems[0]
