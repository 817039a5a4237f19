"""Main text of raw pages, by trafilatura, in processes of their own, so that no page can stop or slow down its neighbours."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import FrameType

from selftaught import compute, console
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.links import Link
from selftaught.corpus.pages import Page, read_pages

STAGE = "extract"
_SECONDS = 20
_WAITING = 64


def extract(files: Iterable[Path], links: Mapping[str, Link], funnel: Funnel) -> Iterator[Document]:
    """Documents of all pages in WARC files, in order; what gives none is dropped as `no text`, `timeout` or `crash`."""
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(compute.usable_cores(), context, initializer=_prepare) as pool,
        console.progress("extracting", len(links), unit="pages") as bar,
    ):
        for page, text, reason in _texts((page for file in files for page in read_pages(file)), pool):
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


def _texts(pages: Iterable[Page], pool: ProcessPoolExecutor) -> Iterator[tuple[Page, str, str]]:
    waiting: list[tuple[Page, Future[str]]] = []
    for page in pages:
        waiting.append((page, pool.submit(extract_text, page.body, page.content_type)))
        if len(waiting) >= _WAITING:
            yield _result(*waiting.pop(0))
    for page, future in waiting:
        yield _result(page, future)


def _result(page: Page, future: Future[str]) -> tuple[Page, str, str]:
    try:
        text = future.result()
    except TimeoutError:
        return page, "", "timeout"
    except BrokenProcessPool:
        return page, "", "crash"
    return page, text, "" if text else "no text"


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _too_long)
    compute.follow_parent()


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError


def extract_text(body: bytes, content_type: str) -> str:
    """The main text of one page, or "". Raises TimeoutError after 20 seconds where a timer runs."""
    if content_type.partition(";")[0].strip() == "text/plain":
        return body.decode("utf-8", "replace")
    import trafilatura

    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        found = trafilatura.extract(body, favor_recall=True, include_tables=True, include_comments=False)
    except TimeoutError:
        raise
    except Exception:  # noqa: BLE001 - whatever a page does to the parser, it is this page's fate only
        return ""
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return tidied(found or "")


def tidied(text: str) -> str:
    """Text without what only lays a page out: no-break spaces become blanks, empty cells of tables go."""
    lines = text.replace("\u00a0", " ").splitlines()
    return "\n".join(_without_empty_cells(line) if line.startswith("|") else line for line in lines)


def _without_empty_cells(row: str) -> str:
    return " | ".join(filter(None, (cell.strip() for cell in row.split("|"))))
