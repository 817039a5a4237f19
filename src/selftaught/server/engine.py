"""The thread that computes: texts wait for a slot of their model, go on together, and are handed out piece by piece.

Everything that touches a network runs on this one thread, so that models share the processors instead of fighting for them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selftaught.errors import UsageError
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.scheduling import Batch, Progress, Request
from selftaught.server.limits import Limits
from selftaught.server.metrics import Metrics
from selftaught.server.problems import ProblemError
from selftaught.server.texts import Assembly, Piece

_log = logging.getLogger("selftaught.server")


@dataclass(kw_only=True, eq=False)
class Job:
    """A text that somebody has asked for."""

    model: str
    request: Request
    assembly: Assembly
    deliver: Callable[[Piece | ProblemError], None]
    """Called on the engine's thread with each piece; the last one has a reason to finish, or is a problem instead."""
    left: bool = False
    """Set by whoever no longer wants it."""
    begun: float = field(default_factory=time.monotonic)
    joined: float = 0.0
    """When it was given a slot."""


@dataclass(kw_only=True)
class _Line:
    """One model: its batch, those who have a slot in it, and those who wait for one."""

    batch: Batch
    running: dict[int, Job] = field(default_factory=dict)
    waiting: deque[Job] = field(default_factory=deque)


class Engine:
    """Computes for all models of a server. `submit`, `call` and `stop` may be called from any thread."""

    def __init__(self, models: Mapping[str, LanguageModel], limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._lines = {
            name: _Line(batch=Batch(one.decoder, slots=limits.slots, vocabulary=one.tokenizer.vocabulary_size))
            for name, one in models.items()
        }
        for name in models:
            metrics.slots.labels(name).set(limits.slots)
            for one in (metrics.busy, metrics.waiting, metrics.read, metrics.drawn, metrics.first, metrics.whole):
                one.labels(name)  # 0 from the beginning, so that the first increase is one
        self._calls: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._typical = 1.0
        """Seconds that a text has a slot, on average of late."""
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to compute."""
        self._thread.start()

    def stop(self) -> None:
        """End all texts and the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it computes."""
        return self._thread.is_alive()

    @property
    def idle(self) -> bool:
        """Whether no text has or awaits a slot."""
        return not (self.busy or self.waiting)

    @property
    def busy(self) -> int:
        """Texts that have a slot."""
        return sum(len(line.running) for line in self._lines.values())

    @property
    def waiting(self) -> int:
        """Texts that wait for one."""
        return sum(len(line.waiting) for line in self._lines.values())

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take all texts of a request for one model, or none: raises ProblemError 429 when too many wait, 503 when stopping.

        Raises ProblemError 400 for a prompt that the model cannot read.
        """
        line = self._lines[jobs[0].model]
        try:
            for job in jobs:
                line.batch.check(job.request)
        except UsageError as problem:
            raise ProblemError(400, problem.line(), param="prompt", code="context_length_exceeded") from problem
        with self._changed:
            if self._stopping:
                raise ProblemError(503, "the server is stopping", wait=5)
            if len(line.waiting) + len(line.running) + len(jobs) > self._limits.capacity():
                raise ProblemError(
                    429,
                    f"too many texts are waiting; at most {self._limits.capacity()} are had or kept waiting at a time",
                    code="busy",
                    wait=self._patience(line),
                )
            line.waiting.extend(jobs)
            self._metrics.waiting.labels(jobs[0].model).set(len(line.waiting))
            self._changed.notify()

    def leave(self, job: Job) -> None:
        """Give up a text; it has no slot from the next step on."""
        with self._changed:
            job.left = True
            self._changed.notify()

    def call(self, function: Callable[[], Any], deliver: Callable[[Any], None]) -> None:
        """Run a function between steps and deliver what it returns or raises."""

        def run() -> None:
            try:
                deliver(function())
            except Exception as problem:  # noqa: BLE001 - whoever asked is told
                deliver(problem)

        with self._changed:
            if len(self._calls) >= self._limits.capacity():
                raise ProblemError(429, "too many questions are waiting", code="busy", wait=1)
            self._calls.append(run)
            self._changed.notify()

    def _patience(self, line: _Line) -> int:
        rounds = (len(line.waiting) + 1) / self._limits.slots
        return min(60, max(1, math.ceil(rounds * self._typical)))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._stopping or self._calls or not self.idle):
                    self._changed.wait()
                if self._stopping:
                    break
                calls = list(self._calls)
                self._calls.clear()
            for run in calls:
                run()
            for name, line in self._lines.items():
                self._advance(name, line)
        for line in self._lines.values():
            for job in (*line.running.values(), *line.waiting):
                job.deliver(ProblemError(503, "the server is stopping", wait=5))

    def _advance(self, name: str, line: _Line) -> None:
        """One step of a model."""
        try:
            self._part(name, line)
            for news in line.batch.step() if line.running else ():
                self._tell(line, line.running[news.slot], news)
        except Exception:  # noqa: BLE001 - a defect, or no memory: the texts of this step are lost, the server is not
            _log.exception("a step of %s failed", name)
            for slot, job in line.running.items():
                line.batch.leave(slot)
                job.deliver(ProblemError(500, "the text could not be computed"))
            line.running.clear()

    def _part(self, name: str, line: _Line) -> None:
        """Let those go who have left or whose time is up, and others take their slots."""
        now = time.monotonic()
        for slot, job in list(line.running.items()):
            late = now - job.begun > self._limits.seconds
            if late:
                job.deliver(job.assembly.end("length"))
            if late or job.left:
                self._close(line, slot)
        with self._changed:
            for job in [job for job in line.waiting if job.left or now - job.begun > self._limits.seconds]:
                line.waiting.remove(job)
                if not job.left:
                    job.deliver(
                        ProblemError(429, "no slot became free in time", code="busy", wait=self._patience(line))
                    )
            while line.waiting and line.batch.free:
                self._seat(line, line.waiting.popleft())
            self._metrics.waiting.labels(name).set(len(line.waiting))
        self._metrics.busy.labels(name).set(line.batch.texts)

    def _seat(self, line: _Line, job: Job) -> None:
        try:
            slot = line.batch.join(job.request)
        except Exception:  # noqa: BLE001 - a defect: this text is lost, the others are not
            _log.exception("a text of %s could not begin", job.model)
            job.deliver(ProblemError(500, "the text could not be computed"))
            return
        job.joined = time.monotonic()
        line.running[slot] = job
        self._metrics.read.labels(job.model).inc(len(job.request.prompt))

    def _tell(self, line: _Line, job: Job, news: Progress) -> None:
        if news.drawn is not None:
            self._metrics.drawn.labels(job.model).inc()
        if job.assembly.drawn == 0:
            self._metrics.first.labels(job.model).observe(time.monotonic() - job.begun)
        piece = job.assembly.add(news)
        if piece is None:
            return
        if piece.finish:
            self._metrics.whole.labels(job.model).observe(time.monotonic() - job.begun)
            self._close(line, news.slot)
        job.deliver(piece)

    def _close(self, line: _Line, slot: int) -> None:
        line.batch.leave(slot)
        job = line.running.pop(slot)
        self._typical += 0.1 * (time.monotonic() - job.joined - self._typical)
        self._metrics.busy.labels(job.model).set(line.batch.texts)
