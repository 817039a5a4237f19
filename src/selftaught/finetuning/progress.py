"""Where a fine-tuning run stands, what it logs, and what it ends with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selftaught import settings
from selftaught.errors import MismatchError
from selftaught.finetuning.plan import FinetuningPlan

RESULT_FILE, PROGRESS_FILE = "result.json", "progress.json"


@dataclass(frozen=True, kw_only=True)
class Marked:
    """One number on one set."""

    split: str
    metric: str
    value: float
    error: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """What result.json holds."""

    plan: FinetuningPlan
    seed: int
    best_epoch: int
    """Counted from 1."""
    dev_by_epoch: tuple[float, ...]
    """The measure that chose it."""
    marks: tuple[Marked, ...]
    """Of the best epoch's weights."""
    parameters: int
    steps: int
    seconds: float
    precision: str
    notes: tuple[str, ...]
    source: str = ""
    """Hash of the pre-trained model and the examples, where it was kept."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands."""

    plan: FinetuningPlan
    step: int = 0
    seconds: float = 0.0
    dev_by_epoch: tuple[float, ...] = ()
    precision: Literal["float32", "bfloat16"] = "float32"
    """The format that the run began with."""
    source: str = ""
    """As the result's."""
    losses: tuple[tuple[float, float], ...] = ()
    """Of the task and the language model, of the steps since the last row of the log."""

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch so far (the first of equals), from 0."""
        return max(range(len(self.dev_by_epoch)), key=self.dev_by_epoch.__getitem__)


@dataclass(frozen=True, kw_only=True)
class LogRow:
    """One row of log.jsonl: means since the row before."""

    step: int
    epoch: float
    task_loss: float
    language_loss: float
    rate: float
    gradient_norm: float
    seconds: float


def require_same(begun: Progress | Result, plan: FinetuningPlan, source: str, folder: Path) -> None:
    """Raise MismatchError, with the difference, if what lies in a folder was begun with another plan, model or examples."""
    free = settings.changeable(FinetuningPlan)
    changed = [
        words
        for words in settings.difference(settings.as_document(begun.plan), settings.as_document(plan))
        if words.split(":", 1)[0] not in free
    ]
    if changed:
        raise MismatchError(
            f"{folder} was begun with another plan",
            got=", ".join(changed),
            hint="Give the old values, or another --out.",
        )
    if begun.source not in ("", source):
        raise MismatchError(f"{folder} was begun with another model or other examples", hint="Choose another --out.")
