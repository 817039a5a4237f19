"""Fetching pages: polite (robots.txt, few requests per host, retries), safe (public addresses only, bounded) and resumable.

Links are asked for side by side, in a window that slides over them; a host with very many links gets its turn at the end, so
that it holds up nobody. Pages that have come are written some hundred at a time, as WARC and then as outcomes; a killed run loses
those that were not written and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from selftaught import console, storage
from selftaught.corpus import pages
from selftaught.corpus.blocking import BlockList
from selftaught.corpus.documents import Funnel, read_rows
from selftaught.corpus.hosts import REDIRECTS, Hosts, redirected
from selftaught.corpus.links import Link
from selftaught.corpus.politeness import FetchSettings
from selftaught.corpus.transport import PageProblem, Transport, opened

STAGE = "fetch"
OUTCOMES = ".outcomes.jsonl"
_BATCH_LINKS, _BATCH_BYTES = 256, 32 << 20
"""Outcomes and bytes of pages that are written together; what a kill can lose."""
_WINDOW, _OF_ONE_HOST = 2048, 64
"""Links that wait or are asked for at a time, in all and of one host."""
_NAME_THREADS = 32
_BLOCKED = BlockList()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one link: `reason` is "" for a page that was kept."""

    url: str
    reason: str


@dataclass(frozen=True)
class _Later:
    """A link that waits for others of its host: by its number among them, so that hosts take turns."""

    number: int
    link: Link


def fetch(
    links: Iterable[Link],
    out: Path,
    rules: FetchSettings,
    funnel: Funnel,
    *,
    places: Mapping[str, tuple[str, int]] | None = None,
    total: int | None = None,
) -> list[Path]:
    """Fetch links into WARC files in the folder `out` and return these files; links with an outcome there are not fetched again.

    `places` says where hosts are that no name server knows (host name -> address and port); these may be private.
    """
    done, batches = _done(out)
    with console.progress("fetching", total, unit="pages") as bar:

        async def run() -> None:
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_NAME_THREADS))
            async with opened(rules, places or {}) as transport:
                crawl = _Crawl(Hosts(transport, rules), _Writer(out, batches, rules.compression), done, bar.advance)
                await crawl.all(links, lambda link, hosts: _page(link, hosts, transport))

        asyncio.run(run())
    rows = (outcome for file in sorted(out.glob("*" + OUTCOMES)) for outcome in read_rows(file, Outcome))
    for outcome in storage.sorted_rows(rows, Outcome, lambda outcome: outcome.url):
        _count(outcome, funnel)
    return sorted(path for path in out.glob("*") if path.name.endswith(pages.ENDINGS))


def _done(out: Path) -> tuple[np.ndarray[Any, Any], int]:
    """Which links have an outcome (their keys in order: 8 bytes a link), and how many batches there are."""
    files = sorted(out.glob("*" + OUTCOMES))
    done = array("Q", (_key(outcome.url) for file in files for outcome in read_rows(file, Outcome)))
    return np.sort(np.array(done, dtype=np.uint64)), 1 + max(
        (int(file.name.removesuffix(OUTCOMES)) for file in files), default=-1
    )


def _key(url: str) -> int:
    return int.from_bytes(hashlib.blake2b(url.encode("utf-8", "replace"), digest_size=8).digest())


def _count(outcome: Outcome, funnel: Funnel) -> None:
    funnel.enter(STAGE)
    if outcome.reason:
        funnel.drop(STAGE, outcome.reason, id=outcome.url, url=outcome.url)
    else:
        funnel.keep(STAGE)


async def _page(link: Link, hosts: Hosts, transport: Transport) -> pages.Page:
    """Fetch one page, following redirects; each address on the way is asked for in robots.txt and guarded anew."""
    url = link.url
    for _ in range(REDIRECTS + 1):
        async with hosts.allowed(url) as host:
            try:
                found = await transport.get(url, pages.KINDS, host.pause)
            except PageProblem as problem:
                host.answered(problem)
                raise
            host.answered(None)
        if isinstance(found, pages.Page):
            return replace(found, url=link.url, link=link)
        url = redirected(url, found)
        if reason := _BLOCKED.reason(url):
            raise PageProblem(f"redirect to {reason}")
    raise PageProblem("too many redirects")


class _Writer:
    """Keeps outcomes until there are enough for a file."""

    def __init__(self, out: Path, batches: int, compression: pages.Compression) -> None:
        self._out, self._batches, self._compression = out, batches, compression
        self._held: list[tuple[Outcome, pages.Page | None]] = []
        self._bytes = 0
        self._one_at_a_time = asyncio.Lock()

    async def add(self, outcome: Outcome, page: pages.Page | None) -> None:
        self._held.append((outcome, page))
        self._bytes += len(page.body) if page else 0
        if len(self._held) >= _BATCH_LINKS or self._bytes >= _BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        held, self._held, self._bytes = self._held, [], 0
        if not held:
            return
        name, self._batches = f"{self._batches:06}", self._batches + 1
        async with self._one_at_a_time:
            await asyncio.to_thread(self._write, name, held)

    def _write(self, name: str, held: list[tuple[Outcome, pages.Page | None]]) -> None:
        found = [page for _, page in held if page is not None]
        pages.write_pages(self._out / f"{name}.warc.{self._compression}", found)
        storage.write_jsonl(self._out / (name + OUTCOMES), [outcome for outcome, _ in held])


class _Crawl:
    """All links of one run on their way."""

    def __init__(self, hosts: Hosts, writer: _Writer, done: np.ndarray[Any, Any], advance: Callable[[], None]) -> None:
        self._hosts, self._writer, self._done, self._advance = hosts, writer, done, advance
        self._waiting: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._window = asyncio.Semaphore(_WINDOW)
        self._failure: BaseException | None = None

    async def all(self, links: Iterable[Link], ask: Callable[[Link, Hosts], Awaitable[pages.Page]]) -> None:
        later = storage.Spool(_Later)
        numbers: Counter[str] = Counter()
        try:
            async for link in self._missing(links):
                name = urlsplit(link.url).netloc
                if self._waiting[name] >= _OF_ONE_HOST:
                    numbers[name] += 1
                    later.append(_Later(numbers[name], link))
                else:
                    await self._start(link, ask)
            for row in storage.sorted_rows(later, _Later, lambda row: row.number):
                await self._start(row.link, ask)
            while self._tasks:
                await asyncio.wait(self._tasks)
            self._raise_failure()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._writer.flush()

    async def _missing(self, links: Iterable[Link]) -> AsyncIterator[Link]:
        """The links without an outcome, but for those that are over the limit of their host."""
        for link in links:
            known = self._is_done(link)
            try:
                self._hosts.count_link(link.url)
            except PageProblem as problem:
                if not known:
                    await self._writer.add(Outcome(url=link.url, reason=problem.reason), None)
                known = True
            if known:
                self._advance()
            else:
                yield link

    def _is_done(self, link: Link) -> bool:
        key = np.uint64(_key(link.url))
        place = int(np.searchsorted(self._done, key))
        return place < len(self._done) and bool(self._done[place] == key)

    async def _start(self, link: Link, ask: Callable[[Link, Hosts], Awaitable[pages.Page]]) -> None:
        await self._window.acquire()
        self._raise_failure()
        self._waiting[urlsplit(link.url).netloc] += 1
        task = asyncio.create_task(self._one(link, ask))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._window.release()
        if not task.cancelled() and task.exception():
            self._failure = task.exception()

    def _raise_failure(self) -> None:
        """Raise what went wrong with a link, but for its own fate: a disk that is full."""
        if self._failure:
            raise self._failure

    async def _one(self, link: Link, ask: Callable[[Link, Hosts], Awaitable[pages.Page]]) -> None:
        page, reason = None, ""
        try:
            page = await ask(link, self._hosts)
        except PageProblem as problem:
            reason = problem.reason
        name = urlsplit(link.url).netloc
        self._waiting[name] -= 1
        if not self._waiting[name]:
            del self._waiting[name]
        self._advance()
        await self._writer.add(Outcome(url=link.url, reason=reason), page)
