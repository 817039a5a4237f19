"""Where a run stands, what it has logged, and how it is stopped without losing a step."""

from __future__ import annotations

import math
import signal
import threading
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal, Self

import msgspec

from selftaught import compute, errors, settings, storage
from selftaught.compute import Machine
from selftaught.errors import DamagedFileError, MismatchError
from selftaught.model import cost
from selftaught.model.shape import ModelShape
from selftaught.report.records import LearningPoint
from selftaught.training.arithmetic import Arithmetic
from selftaught.training.plan import TrainingPlan
from selftaught.training.spikes import WINDOW
from selftaught.training.step import StepResult


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands: with weights and the optimizer's state, all that a checkpoint needs to continue to the bit."""

    plan: TrainingPlan
    precision: Literal["float32", "bfloat16"]
    """The format that the run began with; it keeps it, whatever `auto` would choose on the machine that continues."""
    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    """What the last digits depend on besides, in this part of the run."""
    threads: int = 0
    """Of the process, where there is one; it goes on with as many."""
    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Time spent in them, over all starts."""
    losses: tuple[float, ...] = ()
    """Of the steps since the last row of the log."""
    recent: tuple[float, ...] = ()
    """Of the last steps that were no spikes; spikes are seen against them."""
    spikes: int = 0
    """Steps since the last row of the log whose loss leapt or was no number."""
    best: float | None = None
    """Lowest held-out loss so far, nats per token."""
    best_step: int = 0
    """The step after which it was measured."""
    left_out: int = 0
    """Steps just before that changed nothing, one after another."""

    def after(self, result: StepResult, seconds: float, *, spike: bool = False) -> Progress:
        """Where the run stands one step later."""
        seen = (float(result.loss),) if result.done else ()
        return replace(
            self,
            step=self.step + 1,
            seconds=self.seconds + seconds,
            losses=(*self.losses, *seen),
            recent=self.recent if spike else (*self.recent, *seen)[-WINDOW:],
            spikes=self.spikes + spike,
            left_out=0 if result.done else self.left_out + 1,
        )

    def measured(self, heldout_loss: float) -> Progress:
        """Where the run stands after a measurement on held-out text."""
        if not math.isfinite(heldout_loss) or (self.best is not None and self.best <= heldout_loss):
            return self
        return replace(self, best=heldout_loss, best_step=self.step)

    @property
    def is_kept(self) -> bool:
        """Whether a checkpoint of this step is wanted for good."""
        plan = self.plan
        return bool(plan.keep_every and self.step % plan.keep_every == 0) or (
            plan.keep_best and self.step == self.best_step
        )


def require_same_plan(begun: TrainingPlan, plan: TrainingPlan) -> None:
    """Raise MismatchError, with the difference, if a run that was begun with one plan cannot be continued with another."""
    old, new = settings.as_document(begun), settings.as_document(plan)
    free = settings.changeable(TrainingPlan)
    changed = [words for words in settings.difference(old, new) if words.split(":", 1)[0] not in free]
    if changed:
        raise MismatchError(
            "the run was begun with another plan",
            got=", ".join(changed),
            hint="Give the old values, or another --out.",
        )


@cache
def _measured_peak(machine: Machine) -> float:
    """Measured once a process: short runs one after another, such as those of --tune-rate, need not wait for it again."""
    return compute.measured_flops_per_second(machine)


class Pace:
    """The words beside the progress bar: losses, how much of the machine's measured peak is used, memory."""

    def __init__(self, shape: ModelShape, machine: Machine) -> None:
        self._flops_per_token, self._machine = cost.training_flops_per_token(shape), machine
        self._peak = _measured_peak(machine) * machine.world_size
        self._tokens, self._seconds = 0, 0.0
        self.heldout: float | None = None
        """Bits per byte, when last measured."""

    def add(self, tokens: int, seconds: float) -> None:
        """Count a step."""
        self._tokens, self._seconds = self._tokens + tokens, self._seconds + seconds

    @property
    def utilisation(self) -> float:
        """Model FLOPs utilisation (MFU) since the start of this process."""
        return self._tokens * self._flops_per_token / max(self._seconds, 1e-9) / self._peak

    def words(self, result: StepResult) -> str:
        """After a step."""
        heldout = f", held-out {self.heldout:.3f}" if self.heldout is not None else ""
        memory = compute.device_memory_bytes(self._machine) / 1e9
        of = f"{100 * self.utilisation:.0f} % of {self._peak / 1e9:,.0f} GFLOP/s"
        return f"loss {result.loss:.3f}{heldout}, {of}, {memory:.1f} GB"


class Log:
    """The run's log.jsonl: a row every few steps, the same rows however often the run was stopped."""

    def __init__(self, folder: Path, *, after: int, writes: bool = True) -> None:
        """Continue the log after a step; rows of later ones are dropped, since they are done again.

        Of several processes only one `writes`.
        """
        self._path, self._writes = folder / storage.LOG_FILE, writes
        if writes:
            rows = _readable(self._path) if self._path.is_file() else []
            storage.write_jsonl(self._path, [row for row in rows if row.step <= after])

    def add(
        self,
        progress: Progress,
        *,
        rate: float,
        gradient_norm: float,
        heldout_loss: float | None = None,
        heldout_bits_per_byte: float | None = None,
    ) -> Progress:
        """Write a row about the last step and the losses since the row before; they are then forgotten.

        Where no step since was done, the row has the last loss that was; where none ever was, there is no row.
        """
        losses = progress.losses or progress.recent[-1:]
        if not losses:
            return progress
        tokens = progress.step * progress.plan.step_tokens
        point = LearningPoint(
            step=progress.step,
            tokens=tokens,
            loss=sum(losses) / len(losses),
            rate=rate,
            gradient_norm=gradient_norm if math.isfinite(gradient_norm) else None,
            tokens_per_second=tokens / max(progress.seconds, 1e-9),
            seconds=progress.seconds,
            heldout_bits_per_byte=heldout_bits_per_byte,
            heldout_loss=heldout_loss,
            spikes=progress.spikes,
        )
        if self._writes:
            storage.append_line(self._path, msgspec.json.encode(point))
        return replace(progress, losses=(), spikes=0)


def _readable(path: Path) -> list[LearningPoint]:
    try:
        return storage.read_lines(path, LearningPoint)
    except DamagedFileError:
        return []


class StopRequested(Exception):  # noqa: N818  # not an error
    """Raised by `Stop.check`, between two pieces of work, when somebody asked to stop."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def ending(self) -> BaseException:
        """The exception that ends the program with the right status."""
        return KeyboardInterrupt() if self.number == signal.SIGINT else SystemExit(errors.TERMINATED)


class Stop:
    """While it is entered, Ctrl-C and SIGTERM wait for the next `check`, so that no step is torn; a second one does not."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """The signal that came."""
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.asked is not None:
            raise StopRequested(number).ending()
        self.asked = number

    def check(self) -> None:
        """Raise StopRequested if somebody asked to stop."""
        if self.asked is not None:
            raise StopRequested(self.asked)
