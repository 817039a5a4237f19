"""`selftaught convert`: weights from one format to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from selftaught import compute, console, settings, storage
from selftaught.errors import OutputError, UsageError


@dataclass(frozen=True, kw_only=True)
class Convert(settings.Verb):
    """Write a model in another format. Reading finds out by itself what lies in a place."""

    source: Positional[str]
    """A model folder, a run of train or finetune, a Hugging Face folder of GPT-2 or GPT-1 or hf://OWNER/NAME, OpenAI's release of
    either, nanoGPT's .pt, llm.c's .bin."""
    out: Positional[Path]
    """Folder to make; for gguf, file."""
    to: Literal["hf", "native", "gguf"] = "hf"
    """hf: config.json and model.safetensors for transformers; native: our own folder; gguf: one file for llama.cpp."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """For gguf: format of the matrices; int8 is llama.cpp's Q8_0, a quarter of the bytes."""
    vocabulary: int = 0
    """Rows of the token embedding in what is written, such as 50304, which accelerators like; new ones are drawn, and no text
    comes to them. 0: as many as there are."""
    tokenizer: Path | None = None
    """Tokenizer folder or file, for weights that come without one (nanoGPT, llm.c); GPT-2's if an installed package has it."""


def run(argv: Sequence[str]) -> None:
    """Convert the model that `argv` names."""
    command = settings.resolve(Convert, argv, prog="selftaught convert").command
    if command.weights != "float32" and command.to != "gguf":
        raise UsageError("--weights would change nothing here", expected="it with --to gguf", got=f"--to {command.to}")
    _require_new(command.out, is_file=command.to == "gguf")
    console.line(f"{_write(command)} -> {command.out}")
    if command.json:
        console.result({"source": command.source, "out": str(command.out), "format": command.to})


def _write(command: Convert) -> str:
    """Write the model and return its name."""
    from selftaught.checkpoint import gguf, huggingface, loading, native
    from selftaught.finetuning import exporting, saving
    from selftaught.model import initial

    if command.to == "hf" and saving.holds(Path(command.source)):
        if command.vocabulary:
            raise UsageError(
                "a fine-tuned model keeps its ids", expected="no --vocabulary", got=f"{command.vocabulary}"
            )
        found = saving.load(saving.find(Path(command.source)))
        with storage.writing_folder(command.out) as place:
            exporting.export(found, place)
        return f"{found.description.name}, fine-tuned on {found.description.task},"
    loaded = loading.load(command.source, tokenizer=command.tokenizer)
    model = loaded.model
    if command.vocabulary:
        if command.vocabulary < loaded.tokenizer.vocabulary_size:
            least = f"at least the tokenizer's {loaded.tokenizer.vocabulary_size}"
            raise UsageError("too few ids", expected=least, got=str(command.vocabulary))
        model = initial.resized(model, command.vocabulary, compute.generator("new ids"))
    if command.to == "hf":
        with storage.writing_folder(command.out) as place:
            huggingface.save(model, loaded.tokenizer, place)
    elif command.to == "native":
        native.save(model, loaded.tokenizer, command.out)
    else:
        gguf.save(model, loaded.tokenizer, command.out, command.weights)
    return loaded.name


def _require_new(out: Path, *, is_file: bool) -> None:
    if is_file and out.suffix != ".gguf":
        raise UsageError("gguf is one file", expected="a name that ends in .gguf", got=str(out))
    if out.exists() and (not out.is_dir() or is_file or any(out.iterdir())):
        what = "a folder with something in it" if out.is_dir() else "a file"
        raise OutputError(f"cannot convert into {out}", expected="a new file" if is_file else "a new folder", got=what)
