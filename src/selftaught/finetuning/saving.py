"""Fine-tuned models on the disk: a model folder whose vocabulary has the three tokens, its output layer, and what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch

from selftaught import storage
from selftaught.checkpoint import native
from selftaught.errors import InputError
from selftaught.finetuning.heads import Classifier, HeadShape
from selftaught.finetuning.inputs import Specials
from selftaught.finetuning.lstm import Lstm, LstmShape
from selftaught.finetuning.networks import Network
from selftaught.model.initial import without_values
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tasks.labelled import Columns
from selftaught.tokenizer.tokenizer import Tokenizer

OUTPUT_FILE, DESCRIPTION_FILE = "output.safetensors", "finetuned.json"
BEST, LAST = "best", "last"
"""Folders of a run: the best epoch, and where it stands."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What finetuned.json holds."""

    task: str
    name: str
    """Of the pre-trained model."""
    network: Literal["transformer", "lstm"]
    head: HeadShape
    specials: Specials
    context: int
    """Longest input in tokens."""
    columns: Columns
    dev: float | None = None
    """Measure on the dev set, which chose the epoch."""


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """A fine-tuned model as read from the disk."""

    model: Classifier
    tokenizer: Tokenizer
    description: Description


def save(
    found: Finetuned,
    folder: Path,
    *,
    tensors: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
    documents: Mapping[str, object] | None = None,
) -> None:
    """Write a fine-tuned model, complete or not at all, in the place of one that is there."""
    native.save(
        cast("Transformer", found.model.network),  # an LSTM has what is asked of it: a shape and a state
        found.tokenizer,
        folder,
        tensors={OUTPUT_FILE: found.model.output.state_dict(), **(tensors or {})},
        documents={DESCRIPTION_FILE: found.description, **(documents or {})},
    )


def is_finetuned(folder: Path) -> bool:
    """Whether a folder holds a fine-tuned model."""
    return native.is_model(folder) and (folder / DESCRIPTION_FILE).is_file()


def load(folder: Path) -> Finetuned:
    """Read a fine-tuned model, every file checked against its hash. Raises DamagedFileError where one is damaged."""
    native.verify(folder)
    description = storage.read_json(folder / DESCRIPTION_FILE, Description)
    network: Network
    with without_values():
        if description.network == "lstm":
            network = Lstm(storage.read_json(folder / native.SHAPE_FILE, LstmShape))
        else:
            network = Transformer(storage.read_json(folder / native.SHAPE_FILE, ModelShape))
        model = Classifier(network, description.head)
    native.fill(network, native.read_weights(folder), folder)
    native.fill(model.output, native.read_tensors(folder / OUTPUT_FILE), folder)
    return Finetuned(model=model.requires_grad_().eval(), tokenizer=Tokenizer.load(folder), description=description)


def holds(folder: Path) -> bool:
    """Whether there is something in a folder for `find` to choose among."""
    return is_finetuned(folder) or bool(_below(folder))


def _below(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob(f"{BEST}/{DESCRIPTION_FILE}") if is_finetuned(path.parent))


def find(folder: Path) -> Path:
    """The fine-tuned model that a folder means: itself, or the best on its dev set of those below it.

    Raises InputError if there is none, or if those below are of several tasks or variants.
    """
    if is_finetuned(folder):
        return folder
    below = _below(folder)
    if not below:
        raise InputError(
            f"no fine-tuned model in {folder}", hint="Type: selftaught finetune MODEL TASK --data DATA --out DIR"
        )
    kinds = sorted({path.parent.parent.relative_to(folder).as_posix() for path in below})
    if len(kinds) > 1:
        raise InputError(
            f"{folder} holds fine-tuned models of several kinds",
            expected=f"one of {', '.join(str(folder / kind) for kind in kinds)}",
        )
    return max(below, key=lambda path: storage.read_json(path / DESCRIPTION_FILE, Description).dev or 0.0)
