"""Processes that work on pages or texts, each within limits of time and memory, so that no item can stop or slow its neighbours.

Each process has a pipe of its own and says when an item is done, so it is always known which item one is at. A process that is
too long at an item is killed, whatever it does there; that item alone is lost, and what else it was given goes to another.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any, Self, TypeVar

from selftaught import compute
from selftaught.errors import SelftaughtError

SECONDS = 4.0
"""The slowest of 377 real pages takes a tenth of a second; a new process is at work in less than another."""
MEMORY_BYTES = 2 << 30
"""What a process may hold; only Linux knows such a limit."""
_CHUNK, _CHUNK_BYTES = 32, 1 << 20
"""Items that a process is given at a time: as many as make waiting for the next ones cheap."""
_AHEAD, _AHEAD_BYTES = 256, 1 << 25
"""What may be held for each process: items done before the first one is, so that one that hangs stops nobody else."""
_SECONDS_TO_START, _STARTS = 120.0, 3
_PATIENCE, _LEAST_MISSING = 10, 0.05
"""On a machine that others use, an item may have up to ten times its time by the clock to get the processor time it has."""
_LATE = 0.25
"""Of its time: who looks so much later than was meant was stopped (Ctrl-Z, a machine that sleeps), and the item too."""
_OBJECTS = 100_000
"""New objects after which Python looks for unreachable ones: nearly every page has fewer, and does not wait for it."""
Arguments = tuple[bytes | str, ...]
Given = tuple[int, Arguments]
"""The number of an item, and what a process needs of it."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Processes that work on one item after another. One that dies takes only the item with it that it was at."""

    def __init__(
        self,
        count: int,
        seconds: float = SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        begin: Callable[[], object] | None = None,
    ) -> None:
        """`begin` is done in each process before it has any item, so that what it loads is no item's fault."""
        self._workers = [_Worker(begin, seconds, memory_bytes) for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def results(
        self, work: Callable[..., Result], items: Iterable[Item], arguments: Callable[[Item], Arguments]
    ) -> Iterator[tuple[Item, Result | None, str]]:
        """What `work` returns for the `arguments` of each item, in the order of the items; read it to its end.

        Where a process did not return from an item, its result is None, and the reason `error`, `timeout`, `memory` or `crash`.
        """
        coming = enumerate(items)
        again: deque[Given] = deque()
        ready: deque[Given] = deque()
        waiting: dict[int, tuple[Item, int]] = {}
        found: dict[int, tuple[Any, str]] = {}
        first = held = 0
        while True:
            while self._wants_more(len(ready), len(waiting), held) and (one := next(coming, None)):
                number, item = one
                ready.append((number, arguments(item)))
                waiting[number] = item, _size(ready[-1])
                held += waiting[number][1]
                self._give(work, again, ready)
            self._give(work, again, ready)
            if not waiting:
                return
            for worker in _heard(self._workers):
                found.update(worker.results())
                again.extend(worker.left_over())
            self._give(work, again, ready)
            while first in found:
                item, size = waiting.pop(first)
                held -= size
                yield item, *found.pop(first)
                first += 1

    def _wants_more(self, ready: int, waiting: int, held_bytes: int) -> bool:
        """Whether to read another item: what all processes can be given next, within what may be held."""
        count = len(self._workers)
        return ready < _CHUNK * count and waiting < _AHEAD * count and held_bytes < _AHEAD_BYTES * count

    def _give(self, work: Callable[..., object], again: deque[Given], ready: deque[Given]) -> None:
        """Give items to every worker that has none: first those that a worker left behind when it was killed."""
        for worker in self._workers:
            if worker.idle and (items := again or ready):
                worker.begin(work, _chunk(items))


def _size(given: Given) -> int:
    return sum(map(len, given[1]))


def _chunk(items: deque[Given]) -> list[Given]:
    """Take the next items away that are given together."""
    chunk: list[Given] = []
    room = _CHUNK_BYTES
    while items and len(chunk) < _CHUNK and room > 0:
        chunk.append(items.popleft())
        room -= _size(chunk[-1])
    return chunk


def outcome(work: Callable[..., Result], *arguments: object) -> tuple[Result | None, str]:
    """What work returns, and why it returns nothing ("" if it does)."""
    try:
        return work(*arguments), ""
    except MemoryError:
        return None, "memory"
    except Exception:  # noqa: BLE001 - whatever an item does to a library, it is one item
        return None, "error"


def _heard(workers: list[_Worker]) -> list[_Worker]:
    """Wait until a worker has something to say or has had its time, and return those of which that is so."""
    now = time.monotonic()
    soonest = max(0.0, min(worker.deadline for worker in workers) - now)
    said = connection.wait([worker.pipe for worker in workers], min(soonest, _SECONDS_TO_START))
    now = time.monotonic()
    return [worker for worker in workers if worker.pipe in said or worker.deadline <= now]


class _Worker:
    """One process after another, and the items that the present one was given."""

    def __init__(self, first: Callable[[], object] | None, seconds: float, memory_bytes: int) -> None:
        self._first, self._seconds, self._memory_bytes = first, seconds, memory_bytes
        self._given: deque[Given] = deque()
        self._left: list[Given] = []
        self._starts = 0
        self._used = self._last = 0.0
        self._start()

    @property
    def idle(self) -> bool:
        """Whether it is ready and has no items."""
        return self._ready and not self._given

    def _start(self) -> None:
        self._starts += 1
        if self._starts > _STARTS:
            raise SelftaughtError(
                "the processes that work on pages do not start",
                got=f"{_STARTS} ended before they were ready",
                hint="A program that builds a corpus must do so under `if __name__ == '__main__':`.",
            )
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, self._first, self._memory_bytes)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._ready = False
        self.deadline = time.monotonic() + _SECONDS_TO_START

    def _count_from_now(self) -> None:
        self.deadline = time.monotonic() + self._seconds
        self._last = time.monotonic() + _PATIENCE * self._seconds

    def begin(self, work: Callable[..., object], items: list[Given]) -> None:
        """Give it items; it must be idle."""
        self._given.extend(items)
        self._count_from_now()
        with contextlib.suppress(OSError):  # where it is gone, reading from it will say so
            self.pipe.send((work, [arguments for _, arguments in items]))

    def results(self) -> Iterator[tuple[int, tuple[Any, str]]]:
        """What it has said, by the items' numbers; one that is gone or over its time is replaced, and its item lost."""
        try:
            while self.pipe.poll():
                said: tuple[Any, str] | None
                self._used, said = self.pipe.recv()
                self._count_from_now()
                if said is None:
                    self._ready, self._starts = True, 0
                else:
                    yield self._given.popleft()[0], said
        except (EOFError, OSError):
            yield from self._lose("crash")
        else:
            if not self._given and self._ready:
                self.deadline = float("inf")
            elif time.monotonic() >= self.deadline and not self._starved():
                yield from self._lose("timeout")

    def _starved(self) -> bool:
        """Whether others have the processor that it needs, or nobody ran for a while: then it is given more time."""
        used, asleep = compute.processor_seconds(self._process.pid or 0)
        missing, now = self._used + self._seconds - used, time.monotonic()
        if not self._ready or missing < _LEAST_MISSING * self._seconds:
            return False
        late = now - self.deadline
        if late > _LATE * self._seconds:
            self._last += late
        elif asleep or now >= self._last:
            return False
        self.deadline = now + missing
        return True

    def _lose(self, reason: str) -> Iterator[tuple[int, tuple[Any, str]]]:
        """Replace the process; the item that it was at is lost, those behind it are left over."""
        self.stop()
        if self._given:
            yield self._given.popleft()[0], (None, reason)
        self._left.extend(self._given)
        self._given.clear()
        self._start()

    def left_over(self) -> list[Given]:
        """Items that a process was given and did not begin, since it was killed; they are for somebody else."""
        left, self._left = self._left, []
        return left

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _serve(pipe: Connection, first: Callable[[], object] | None, memory_bytes: int) -> None:
    """What a worker process does: one item after another, and a word on each."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable()  # what a library has to say about a page is no news to who builds a corpus
    compute.follow_parent()
    if first:
        outcome(first)
    gc.freeze()
    gc.set_threshold(_OBJECTS)
    pipe.send((time.process_time(), None))
    while True:
        work, items = pipe.recv()
        for arguments in items:
            result = outcome(work, *arguments)
            pipe.send((time.process_time(), result))
