"""Processes that turn pages into text, each within limits of time and memory, so that no page can stop or slow its neighbours."""

from __future__ import annotations

import faulthandler
import logging
import multiprocessing
import os
import resource
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from types import FrameType
from typing import Self

from selftaught import compute
from selftaught.corpus.extractors import ExtractorName, extract_text
from selftaught.corpus.pages import Page

Work = Callable[[bytes, str], str]
"""The body of a page and its content type -> text."""
SECONDS, GRACE_SECONDS = 20.0, 5.0
"""A page is stopped after 20 seconds; where it sits in C code that no signal interrupts, its process ends 5 seconds later."""
MEMORY_BYTES = 2 << 30
"""What a process that extracts may hold; only Linux knows such a limit."""
_WAITING = 64


class Workers:
    """Processes that turn pages into text. One that dies takes only the page with it that killed it: all are started anew."""

    def __init__(
        self,
        count: int,
        extractor: ExtractorName | Work = "quality",
        seconds: float = SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        *,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._count, self._limits = count, (seconds, grace_seconds)
        self._work: Work = partial(extract_text, extractor=extractor) if isinstance(extractor, str) else extractor
        self._memory_bytes = memory_bytes
        self._pool = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._count, context, initializer=_prepare, initargs=(self._memory_bytes,))

    def texts(self, pages: Iterable[Page]) -> Iterator[tuple[Page, str, str]]:
        """Each page with its text and why it has none ("" if it has), in the order of the pages."""
        waiting: deque[tuple[Page, Future[str]]] = deque()
        for page in pages:
            waiting.append((page, self._submit(page)))
            if len(waiting) >= _WAITING:
                yield from self._first(waiting)
        while waiting:
            yield from self._first(waiting)

    def _first(self, waiting: deque[tuple[Page, Future[str]]]) -> Iterator[tuple[Page, str, str]]:
        page, future = waiting.popleft()
        try:
            yield page, *_result(future)
        except BrokenProcessPool:
            pages = [page, *(later for later, _ in waiting)]
            waiting.clear()
            yield from self._one_by_one(pages)

    def _one_by_one(self, pages: Iterable[Page]) -> Iterator[tuple[Page, str, str]]:
        """A broken pool does not say which page broke it: each has the new one to itself."""
        self._renew()
        for page in pages:
            try:
                yield page, *_result(self._submit(page))
            except BrokenProcessPool:
                yield page, "", "crash"
                self._renew()

    def _renew(self) -> None:
        self._pool.shutdown()
        self._pool = self._start()

    def _submit(self, page: Page) -> Future[str]:
        try:
            return self._pool.submit(_within, self._limits, self._work, page.body, page.content_type)
        except BrokenProcessPool as problem:
            broken: Future[str] = Future()
            broken.set_exception(problem)
            return broken


def _result(future: Future[str]) -> tuple[str, str]:
    try:
        text = future.result()
    except TimeoutError:
        return "", "timeout"
    except MemoryError:
        return "", "memory"
    return text, "" if text else "no text"


def _prepare(memory_bytes: int) -> None:
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _too_long)
    logging.disable()  # what a library has to say about a page is no news to who builds a corpus
    compute.follow_parent()


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError


def _within(limits: tuple[float, float], work: Work, body: bytes, content_type: str) -> str:
    """Do `work`, but not for ever: TimeoutError, or the end of this process where no signal gets through."""
    seconds, grace_seconds = limits
    signal.setitimer(signal.ITIMER_REAL, seconds)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    faulthandler.dump_traceback_later(seconds + grace_seconds, exit=True, file=nowhere)
    try:
        return work(body, content_type)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        os.close(nowhere)
