"""Main text of raw pages, by trafilatura, in processes of their own, so that no page can stop or slow down its neighbours."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

from selftaught import compute, console
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.links import Link
from selftaught.corpus.pages import Page, read_pages
from selftaught.corpus.ranges import require_least

Work = Callable[[bytes, str], str]
"""The body of a page and its content type -> text."""
STAGE = "extract"
SECONDS, GRACE_SECONDS = 20.0, 5.0
"""A page is stopped after 20 seconds; where it sits in C code that no signal interrupts, its process ends 5 seconds later."""
_WAITING = 64


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """How text is taken out of pages."""

    seconds_per_page: float = SECONDS
    """A page that takes longer is dropped as `timeout`."""

    def __post_init__(self) -> None:
        """Refuse a time that no page can keep."""
        require_least(self, 0.01, "seconds_per_page")


def extract(
    files: Iterable[Path], links: Mapping[str, Link], funnel: Funnel, rules: ExtractionSettings | None = None
) -> Iterator[Document]:
    """Documents of all pages in WARC files, in order; what gives none is dropped as `no text`, `timeout` or `crash`."""
    seconds = (rules or ExtractionSettings()).seconds_per_page
    with (
        Workers(compute.usable_cores(), seconds=seconds) as workers,
        console.progress("extracting", len(links), unit="pages") as bar,
    ):
        for page, text, reason in workers.texts(page for file in files for page in read_pages(file)):
            bar.advance()
            funnel.enter(STAGE)
            if reason:
                funnel.drop(STAGE, reason, id=page.url, url=page.url)
                continue
            funnel.keep(STAGE)
            yield _document(page, text, links[page.url])


def _document(page: Page, text: str, link: Link) -> Document:
    return Document(
        id=page.url, text=text, url=page.url, source=link.subreddit, title=link.title, karma=link.karma, date=link.date
    )


class Workers:
    """Processes that turn pages into text. One that dies takes only the page with it that killed it: all are started anew."""

    def __init__(
        self, count: int, work: Work | None = None, *, seconds: float = SECONDS, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._count, self._work, self._limits = count, work or extract_text, (seconds, grace_seconds)
        self._pool = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._count, multiprocessing.get_context("spawn"), initializer=_prepare)

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
    return text, "" if text else "no text"


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _too_long)
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


def extract_text(body: bytes, content_type: str) -> str:
    """The main text of one page, or ""."""
    if content_type.partition(";")[0].strip() == "text/plain":
        return body.decode("utf-8", "replace")
    import trafilatura

    try:
        found = trafilatura.extract(body, favor_recall=True, include_tables=True, include_comments=False)
    except TimeoutError:
        raise
    except Exception:  # noqa: BLE001 - whatever a page does to the parser, it is this page's fate only
        return ""
    return tidied(found or "")


def tidied(text: str) -> str:
    """Text without what only lays a page out: no-break spaces become blanks, empty cells of tables go."""
    lines = text.replace("\u00a0", " ").splitlines()
    return "\n".join(_without_empty_cells(line) if line.startswith("|") else line for line in lines)


def _without_empty_cells(row: str) -> str:
    return " | ".join(filter(None, (cell.strip() for cell in row.split("|"))))
