"""A training run's log shown elsewhere: TensorBoard, Weights & Biases or trackio, each an extra that reads log.jsonl.

Training knows none of them: they read the record that it writes anyway, while it runs or afterwards.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import msgspec

from selftaught import storage
from selftaught.errors import InputError, MissingExtraError
from selftaught.report.records import LearningPoint

Name = Literal["tensorboard", "wandb", "trackio"]
WAIT_SECONDS = 2.0
"""Time between looks at a run that is still going."""


class Tracker(Protocol):
    """Where rows go."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Show the values of a step."""

    def close(self) -> None:
        """Write what is still held."""


class TensorBoard:
    """Event files in a folder, for `tensorboard --logdir FOLDER`."""

    def __init__(self, run: Path, out: Path) -> None:
        _imported("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(out / run.resolve().name))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Show the values of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still held."""
        self._writer.close()


class Experiment:
    """A run of Weights & Biases or of trackio, which have the same functions; their own settings say where it goes."""

    def __init__(self, run: Path, module: Literal["wandb", "trackio"]) -> None:
        self._module: Any = _imported(module)
        plan = storage.read_json(run / storage.PLAN_FILE, dict[str, Any]) if (run / storage.PLAN_FILE).is_file() else {}
        self._module.init(project="selftaught", name=run.resolve().name, config=plan)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Show the values of a step."""
        self._module.log(dict(values), step=step)

    def close(self) -> None:
        """Write what is still held."""
        self._module.finish()


def track(
    run: str | Path, to: Name, *, out: str | Path, follow: bool = False, wait: Callable[[float], None] = time.sleep
) -> int:
    """Show every row of a run's log; with `follow`, until the run ends. Returns how many rows.

    Rows that a resumed run writes again are not shown twice. Raises InputError for a folder without a log, MissingExtraError
    where the tracker is not installed.
    """
    run = Path(run)
    if not follow and not (run / storage.LOG_FILE).is_file():
        raise InputError(f"no training run in {run}", expected=storage.LOG_FILE)
    tracker: Tracker = TensorBoard(run, Path(out)) if to == "tensorboard" else Experiment(run, to)
    count = 0
    try:
        for row in _rows(run, follow=follow, wait=wait):
            tracker.log(row.step, _values(row))
            count += 1
    finally:
        tracker.close()
    return count


def _rows(run: Path, *, follow: bool, wait: Callable[[float], None]) -> Iterator[LearningPoint]:
    last = 0
    while True:
        # Asked first, so that rows written between the two questions are still seen.
        goes_on = follow and _is_running(run)
        path = run / storage.LOG_FILE
        rows = storage.read_lines(path, LearningPoint) if path.is_file() else []
        for row in rows:
            if row.step > last:
                last = row.step
                yield row
        if not goes_on:
            return
        wait(WAIT_SECONDS)


def _is_running(run: Path) -> bool:
    """Or is still to begin. A run that was killed says in its file that it runs."""
    return not (run / storage.RUN_FILE).is_file() or storage.read_record(run).status == "running"


def _values(row: LearningPoint) -> dict[str, float]:
    """All numbers of a row but the step, those that were not measured left out."""
    values: dict[str, float | None] = msgspec.to_builtins(row)
    return {name: value for name, value in values.items() if name != "step" and value is not None}


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        raise MissingExtraError(module, module) from problem
