"""`load(path)`: looks at the folder and calls the right reader."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selftaught import console
from selftaught.checkpoint import hub, huggingface, nanogpt, native, openai
from selftaught.errors import DamagedFileError, InputError, MismatchError
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network with its tokenizer, and what it is called."""

    model: Transformer
    tokenizer: Tokenizer
    name: str


def load(
    path: str | Path, device: str = "cpu", *, tokenizer: str | Path | None = None, as_stored: bool = False
) -> Loaded:
    """Read a model folder of ours, a training run (its newest whole checkpoint), or what another tool wrote.

    Others are: Hugging Face's GPT-2 and GPT-1 folders, `hf://OWNER/NAME` on its hub, OpenAI's releases of both, nanoGPT's .pt
    and llm.c's .bin; the last two hold no tokenizer, so that `tokenizer` names one (GPT-2's if it does not). Weights need not be
    ready to use, but may be left `as_stored` (see `matching.fit`).
    Raises InputError if it is none of these, DamagedFileError if it is damaged.
    """
    folder = hub.fetched(str(path)) or Path(path)
    if (reader := _file_reader(folder)) is not None:
        return _checked(reader(folder), Tokenizer.load(tokenizer or files.PUBLISHED), folder, device)
    if native.is_model(folder):
        model, own = native.load(folder)
    elif huggingface.is_model(folder):
        model, own = huggingface.load(folder, as_stored=as_stored)
    elif openai.is_gpt2(folder):
        model, own = openai.load_gpt2(folder)
    elif openai.is_gpt1(folder):
        model, own = openai.load_gpt1(folder)
    elif steps := checkpoints(folder):
        _, model, own = newest(steps)
    else:
        raise InputError(
            f"no model in {folder}",
            expected="a model folder (shape.json), a training run (step-...), a Hugging Face folder (config.json), a release of "
            "OpenAI (hparams.json, params_shapes.json), nanoGPT's .pt or llm.c's .bin",
            got="none of these" if folder.exists() else "no such file or folder",
        )
    return _checked(model, Tokenizer.load(tokenizer) if tokenizer else own, folder, device)


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model of ours or Hugging Face's, or is a training run with checkpoints."""
    return native.is_model(folder) or huggingface.is_model(folder) or bool(checkpoints(folder))


def _file_reader(path: Path) -> Callable[[Path], Transformer] | None:
    """The reader of a single file that holds weights alone."""
    return nanogpt.load_nanogpt if nanogpt.is_nanogpt(path) else nanogpt.load_llmc if nanogpt.is_llmc(path) else None


def described(path: Path) -> tuple[str, ModelShape] | None:
    """Whose model lies in a place and its shape, the weights unread; None for one of ours, Hugging Face's, or none at all."""
    readers: tuple[tuple[str, Callable[[Path], bool], Callable[[Path], ModelShape]], ...] = (
        ("OpenAI's GPT-2", openai.is_gpt2, openai.gpt2_shape),
        ("OpenAI's GPT-1", openai.is_gpt1, openai.gpt1_shape),
        ("nanoGPT's checkpoint", nanogpt.is_nanogpt, nanogpt.nanogpt_shape),
        ("llm.c's model", nanogpt.is_llmc, nanogpt.llmc_shape),
    )
    return next(((name, read(path)) for name, belongs, read in readers if belongs(path)), None)


def _checked(model: Transformer, tokenizer: Tokenizer, folder: Path, device: str) -> Loaded:
    if tokenizer.vocabulary_size > model.shape.vocabulary:
        raise MismatchError(
            f"tokenizer and network in {folder} do not belong together",
            expected=f"at most {model.shape.vocabulary} ids",
            got=str(tokenizer.vocabulary_size),
        )
    return Loaded(model=model.to(device), tokenizer=tokenizer, name=_name(folder))


def _name(folder: Path) -> str:
    resolved = folder.resolve()
    if resolved.is_file():
        return resolved.stem
    if resolved.parent.name == "snapshots":  # the hub's cache: models--OWNER--NAME/snapshots/REVISION
        return resolved.parent.parent.name.rpartition("--")[2]
    return resolved.parent.name if re.fullmatch(r"step-\d+", resolved.name) else resolved.name


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a training run, oldest first."""
    found = (path for path in run.glob("step-*") if re.fullmatch(r"step-\d+", path.name)) if run.is_dir() else ()
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def newest(steps: list[Path]) -> tuple[Path, Transformer, Tokenizer]:
    """The newest checkpoint that is whole; a warning for each damaged one. Raises DamagedFileError if none is."""
    folder = newest_whole(steps)
    return folder, *native.load(folder, verified=True)


def newest_whole(steps: list[Path]) -> Path:
    """Where the newest checkpoint is whose files are what was written; warns and raises as `newest` does."""
    problems = []
    for folder in reversed(steps):
        try:
            native.verify(folder)
        except DamagedFileError as problem:
            console.warn(problem.line())
            problems.append(problem)
        else:
            return folder
    raise DamagedFileError(
        f"none of the {len(steps)} checkpoints in {steps[0].parent} is whole",
        got=f"newest: {problems[0].message}",
        hint=f"Put one back from a copy, or begin anew: rm -r {steps[0].parent}, then the `selftaught train` that made it.",
    )
