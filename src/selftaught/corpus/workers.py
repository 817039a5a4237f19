"""Processes that turn pages into text, each within limits of time and memory, so that no page can stop or slow its neighbours.

Each process has a pipe of its own and says when a page is done, so it is always known which page one is at. A process that is
too long at a page is killed, whatever it does there; that page alone is lost, and what else it was given goes to another.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Self

from selftaught import compute
from selftaught.corpus.extractors import ExtractorName, extract_text
from selftaught.corpus.pages import Page
from selftaught.errors import SelftaughtError

Work = Callable[[bytes, str], str]
"""The body of a page and its content type -> text."""
SECONDS = 4.0
"""The slowest of 377 real pages takes a tenth of a second; a new process is at work in less than another."""
MEMORY_BYTES = 2 << 30
"""What a process that extracts may hold; only Linux knows such a limit."""
_CHUNK, _CHUNK_BYTES = 8, 1 << 20
"""Pages that a process is given at a time: as many as make waiting for the next ones cheap."""
_AHEAD, _AHEAD_BYTES = 128, 1 << 25
"""What may be held for each process: pages done before the first one is, so that one that hangs stops nobody else."""
_SECONDS_TO_START, _STARTS = 120.0, 3
_PATIENCE, _LEAST_MISSING = 10, 0.05
"""On a machine that others use, a page may have up to ten times its time by the clock to get the processor time it has."""
Result = tuple[str, str]
"""Text, and why there is none ("" if there is)."""


class Workers:
    """Processes that turn pages into text. One that dies takes only the page with it that it was at: another one goes on."""

    def __init__(
        self,
        count: int,
        extractor: ExtractorName | Work = "quality",
        seconds: float = SECONDS,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        work: Work = partial(extract_text, extractor=extractor) if isinstance(extractor, str) else extractor
        self._workers = [_Worker(work, seconds, memory_bytes) for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def texts(self, pages: Iterable[Page]) -> Iterator[tuple[Page, str, str]]:
        """Each page with its text and why it has none ("" if it has), in the order of the pages."""
        coming = enumerate(pages)
        again: deque[tuple[int, Page]] = deque()
        ready: deque[tuple[int, Page]] = deque()
        waiting: dict[int, Page] = {}
        found: dict[int, Result] = {}
        first = held = 0
        while True:
            while self._wants_more(len(ready), len(waiting), held) and (one := next(coming, None)):
                ready.append(one)
                waiting[one[0]] = one[1]
                held += len(one[1].body)
                self._give(again, ready)
            self._give(again, ready)
            if not waiting:
                return
            for worker in _heard(self._workers):
                found.update(worker.results())
                again.extend(worker.left_over())
            self._give(again, ready)
            while first in found:
                page = waiting.pop(first)
                held -= len(page.body)
                yield page, *found.pop(first)
                first += 1

    def _wants_more(self, ready: int, waiting: int, held_bytes: int) -> bool:
        """Whether to read another page: what all processes can be given next, within what may be held."""
        count = len(self._workers)
        return ready < _CHUNK * count and waiting < _AHEAD * count and held_bytes < _AHEAD_BYTES * count

    def _give(self, again: deque[tuple[int, Page]], ready: deque[tuple[int, Page]]) -> None:
        """Give pages to every worker that has none: first those that a worker left behind when it was killed."""
        for worker in self._workers:
            if worker.idle and (pages := again or ready):
                worker.begin(_chunk(pages))


def _chunk(pages: deque[tuple[int, Page]]) -> list[tuple[int, Page]]:
    """Take the next pages away that are given together."""
    chunk: list[tuple[int, Page]] = []
    room = _CHUNK_BYTES
    while pages and len(chunk) < _CHUNK and room > 0:
        chunk.append(pages.popleft())
        room -= len(chunk[-1][1].body)
    return chunk


def _heard(workers: list[_Worker]) -> list[_Worker]:
    """Wait until a worker has something to say or has had its time, and return those of which that is so."""
    now = time.monotonic()
    soonest = max(0.0, min(worker.deadline for worker in workers) - now)
    said = connection.wait([worker.pipe for worker in workers], min(soonest, _SECONDS_TO_START))
    now = time.monotonic()
    return [worker for worker in workers if worker.pipe in said or worker.deadline <= now]


class _Worker:
    """One process after another, and the pages that the present one was given."""

    def __init__(self, work: Work, seconds: float, memory_bytes: int) -> None:
        self._work, self._seconds, self._memory_bytes = work, seconds, memory_bytes
        self._given: deque[tuple[int, Page]] = deque()
        self._left: list[tuple[int, Page]] = []
        self._starts = 0
        self._used = self._last = 0.0
        self._start()

    @property
    def idle(self) -> bool:
        """Whether it is ready and has no pages."""
        return self._ready and not self._given

    def _start(self) -> None:
        self._starts += 1
        if self._starts > _STARTS:
            raise SelftaughtError(
                "processes that extract do not start",
                got=f"{_STARTS} ended before they were ready",
                hint="A program that builds a corpus must do so under `if __name__ == '__main__':`.",
            )
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, self._work, self._memory_bytes)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._ready = False
        self.deadline = time.monotonic() + _SECONDS_TO_START

    def _count_from_now(self) -> None:
        self.deadline = time.monotonic() + self._seconds
        self._last = time.monotonic() + _PATIENCE * self._seconds

    def begin(self, pages: list[tuple[int, Page]]) -> None:
        """Give it pages; it must be idle."""
        self._given.extend(pages)
        self._count_from_now()
        with contextlib.suppress(OSError):  # where it is gone, reading from it will say so
            self.pipe.send([(page.body, page.content_type) for _, page in pages])

    def results(self) -> Iterator[tuple[int, Result]]:
        """What it has said, by the pages' numbers; one that is gone or over its time is replaced, and its page lost."""
        try:
            while self.pipe.poll():
                said: Result | None
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
        """Whether others have the processor that it needs: then it is given more time."""
        used, asleep = compute.processor_seconds(self._process.pid or 0)
        missing = self._used + self._seconds - used
        if not self._ready or asleep or missing < _LEAST_MISSING * self._seconds or time.monotonic() >= self._last:
            return False
        self.deadline = time.monotonic() + missing
        return True

    def _lose(self, reason: str) -> Iterator[tuple[int, Result]]:
        """Replace the process; the page that it was at is lost, those behind it are left over."""
        self.stop()
        if self._given:
            yield self._given.popleft()[0], ("", reason)
        self._left.extend(self._given)
        self._given.clear()
        self._start()

    def left_over(self) -> list[tuple[int, Page]]:
        """Pages that a process was given and did not begin, since it was killed; they are for somebody else."""
        left, self._left = self._left, []
        return left

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _serve(pipe: Connection, work: Work, memory_bytes: int) -> None:
    """What a worker process does: one page after another, and a word on each."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable()  # what a library has to say about a page is no news to who builds a corpus
    compute.follow_parent()
    _result(work, b"<p>", "text/html")  # what it loads when first used is no page's fault
    pipe.send((time.process_time(), None))
    while True:
        for body, content_type in pipe.recv():
            result = _result(work, body, content_type)
            pipe.send((time.process_time(), result))


def _result(work: Work, body: bytes, content_type: str) -> Result:
    try:
        text = work(body, content_type)
    except MemoryError:
        return "", "memory"
    except Exception:  # noqa: BLE001 - whatever a page does to an extractor, it is one page
        return "", "error"
    return text, "" if text else "no text"
