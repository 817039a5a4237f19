"""`selftaught convert`: weights from one format to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from selftaught import console, settings
from selftaught.errors import OutputError


@dataclass(frozen=True, kw_only=True)
class Convert(settings.Verb):
    """Write a model in another format. Reading finds out by itself what lies in a folder."""

    source: Positional[Path]
    """A model folder, a training run or a Hugging Face GPT-2 folder."""
    out: Positional[Path]
    """Folder to make."""
    to: Literal["hf", "native"] = "hf"
    """hf: config.json and model.safetensors for transformers; native: our own folder."""


def run(argv: Sequence[str]) -> None:
    """Convert the model that `argv` names."""
    command = settings.resolve(Convert, argv, prog="selftaught convert").command
    if command.out.exists() and (not command.out.is_dir() or any(command.out.iterdir())):
        what = "a folder with something in it" if command.out.is_dir() else "a file"
        raise OutputError(f"cannot convert into {command.out}", expected="a new folder", got=what)
    from selftaught.checkpoint import huggingface, loading, native

    loaded = loading.load(command.source)
    writer = huggingface.save if command.to == "hf" else native.save
    writer(loaded.model, loaded.tokenizer, command.out)
    console.line(f"{loaded.name} -> {command.out}")
    if command.json:
        console.result({"source": str(command.source), "out": str(command.out), "format": command.to})
