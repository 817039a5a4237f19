"""Fetching pages: polite (robots.txt, few requests per host, retries), safe (public addresses only, bounded) and resumable."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import protego
from aiohttp.abc import AbstractResolver, ResolveResult

from selftaught import console, storage
from selftaught.corpus import pages
from selftaught.corpus.documents import Funnel, read_rows
from selftaught.corpus.links import Link
from selftaught.corpus.politeness import FetchSettings
from selftaught.corpus.urls import normalise

STAGE = "fetch"
OUTCOMES = ".outcomes.jsonl"
_BATCH = 64
"""Pages in one WARC file; what a kill can lose."""
_KINDS = frozenset(("text/html", "application/xhtml+xml", "text/plain"))
_REDIRECTS, _RETRIES = 5, 3
_TRY_AGAIN = frozenset((429, 500, 502, 503, 504))
_LONGEST_WAIT_SECONDS = 60.0
"""A host that wants longer pauses, by Retry-After or its robots.txt, is left alone."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one link: `reason` is "" for a page that was kept."""

    url: str
    reason: str


class PageProblem(Exception):  # noqa: N818 - a page's fate, not an error of ours
    """Why a page is not kept; `wait_seconds` is how long the server wants to be left alone before another try."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


def _is_public(address: str) -> bool:
    """Whether an address in numbers is one of the public internet (ValueError if it is none)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found  # ::ffff:127.0.0.1 is this machine
    return found.is_global and not found.is_multicast


def _refuse_private_literal(url: str) -> None:
    """Addresses written as numbers never reach the resolver, so they are looked at here."""
    try:
        public = _is_public(urlsplit(url).hostname or "")
    except ValueError:
        return
    if not public:
        raise PageProblem("private address")


def _redirected(url: str, location: str) -> str:
    """The address that a redirect leads to, in normal form."""
    try:
        target = normalise(urljoin(url, location))
    except ValueError:  # urljoin's word for an address such as http://[URL]
        target = ""
    if not target:
        raise PageProblem("redirect to no web address")
    return target


def _seconds(retry_after: str) -> float:
    """The pause that a Retry-After header asks for; one that gives a date counts as none."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0


class _GuardedResolver(AbstractResolver):
    """Resolves host names to public addresses only, and the hosts of `places` to where they are known to be."""

    def __init__(self, places: Mapping[str, tuple[str, int]]) -> None:
        self._places = places
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host in self._places:
            address, port = self._places[host]
            return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]
        found = await self._resolver.resolve(host, port, family)
        allowed = [one for one in found if _is_public(one["host"])]
        if not allowed:
            raise PageProblem("private address")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


@dataclass
class _Host:
    """What is known of one host while fetching."""

    slots: asyncio.Semaphore
    robots: asyncio.Task[protego.Protego] | None = None
    free_at: float = 0.0

    async def turn(self, pause: float) -> None:
        """Wait until `pause` seconds have passed since the last turn."""
        if pause > _LONGEST_WAIT_SECONDS:
            raise PageProblem(f"robots.txt wants pauses over {_LONGEST_WAIT_SECONDS:g} s")
        now = asyncio.get_running_loop().time()
        start = max(now, self.free_at)
        self.free_at = start + pause
        await asyncio.sleep(start - now)


class _Fetcher:
    def __init__(self, session: aiohttp.ClientSession, rules: FetchSettings) -> None:
        self._session, self._rules = session, rules
        self._hosts: dict[str, _Host] = {}
        self._slots = asyncio.Semaphore(rules.concurrent)

    async def fetch(self, link: Link) -> pages.Page:
        """Fetch one page, following redirects; each address on the way is asked for in robots.txt and guarded anew."""
        url = link.url
        for _ in range(_REDIRECTS + 1):
            host = self._host(url)
            async with host.slots, self._slots:
                robots = await self._robots(url, host)
                if not robots.can_fetch(url, self._rules.user_agent):
                    raise PageProblem("robots.txt")
                await host.turn(robots.crawl_delay(self._rules.user_agent) or 0.0)
                response = await self._get(url)
            if isinstance(response, pages.Page):
                return pages.Page(url=link.url, final_url=url, content_type=response.content_type, body=response.body)
            url = _redirected(url, response)
        raise PageProblem("too many redirects")

    def _host(self, url: str) -> _Host:
        name = urlsplit(url).netloc
        return self._hosts.setdefault(name, _Host(asyncio.Semaphore(self._rules.per_host)))

    async def _robots(self, url: str, host: _Host) -> protego.Protego:
        if host.robots is None:
            host.robots = asyncio.ensure_future(self._read_robots(urljoin(url, "/robots.txt")))
        return await host.robots

    async def _read_robots(self, url: str) -> protego.Protego:
        """RFC 9309: a missing robots.txt allows everything; one that cannot be had allows nothing, for the reason given."""
        for _ in range(_REDIRECTS + 1):
            try:
                found = await self._get(url, kinds=None)
                if isinstance(found, pages.Page):
                    return protego.Protego.parse(found.body.decode("utf-8", "replace"))
                url = _redirected(url, found)
            except PageProblem as problem:
                if not str(problem).startswith(("status 4", "redirect")):
                    raise
                break
        return protego.Protego.parse("")

    async def _get(self, url: str, kinds: Container[str] | None = _KINDS) -> pages.Page | str:
        """One page, or the address that it redirects to; tries again after passing failures."""
        for attempt in range(_RETRIES + 1):
            try:
                return await self._get_once(url, kinds)
            except PageProblem as problem:
                passing = (
                    any(str(problem) == f"status {code}" for code in _TRY_AGAIN) or str(problem) == "no connection"
                )
                if not passing or attempt == _RETRIES or problem.wait_seconds > _LONGEST_WAIT_SECONDS:
                    raise
                await asyncio.sleep(max(0.2 * 4**attempt, problem.wait_seconds))
        raise AssertionError("the loop returns or raises")

    async def _get_once(self, url: str, kinds: Container[str] | None) -> pages.Page | str:
        _refuse_private_literal(url)
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                    return response.headers["Location"]
                if response.status != 200:
                    raise PageProblem(f"status {response.status}", _seconds(response.headers.get("Retry-After", "")))
                body = await self._body(response, kinds)
                return pages.Page(
                    url=url, final_url=url, content_type=response.headers.get("Content-Type", ""), body=body
                )
        except TimeoutError:
            raise PageProblem("timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise PageProblem("no connection") from problem

    async def _body(self, response: aiohttp.ClientResponse, kinds: Container[str] | None) -> bytes:
        kind = response.content_type
        if kinds is not None and kind not in kinds:
            raise PageProblem(f"content type {kind}")
        body = bytearray()
        async for part in response.content.iter_chunked(1 << 16):
            body += part
            if len(body) > self._rules.largest_bytes:
                raise PageProblem("too large")
        return bytes(body)


@asynccontextmanager
async def _fetcher(rules: FetchSettings, places: Mapping[str, tuple[str, int]]) -> AsyncIterator[_Fetcher]:
    connector = aiohttp.TCPConnector(resolver=_GuardedResolver(places), limit=rules.concurrent, use_dns_cache=True)
    timeout = aiohttp.ClientTimeout(total=rules.timeout_seconds)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers={"User-Agent": rules.user_agent}, trust_env=False
    ) as session:
        yield _Fetcher(session, rules)


def fetch(
    links: Sequence[Link],
    out: Path,
    rules: FetchSettings,
    funnel: Funnel,
    *,
    places: Mapping[str, tuple[str, int]] | None = None,
) -> list[Path]:
    """Fetch links into WARC files of 64 in the folder `out` and return these files; batches that are there are not fetched again.

    `places` says where hosts are that no name server knows (host name -> address and port); these alone may be private.
    """
    batches = [links[start : start + _BATCH] for start in range(0, len(links), _BATCH)]
    with console.progress("fetching", len(links), unit="pages") as bar:
        for number, batch in enumerate(batches):
            outcomes = (out / f"{number:05}").with_suffix(OUTCOMES)
            if not _is_done(outcomes, batch):
                asyncio.run(_fetch_batch(batch, out / f"{number:05}", rules, places or {}, bar))
            else:
                bar.advance(len(batch))
            for outcome in read_rows(outcomes, Outcome):
                _count(outcome, funnel)
    return [out / f"{number:05}.warc.gz" for number in range(len(batches))]


def _is_done(outcomes: Path, batch: Sequence[Link]) -> bool:
    """Whether this very batch was fetched before."""
    return outcomes.is_file() and [one.url for one in read_rows(outcomes, Outcome)] == [link.url for link in batch]


def _count(outcome: Outcome, funnel: Funnel) -> None:
    funnel.enter(STAGE)
    if outcome.reason:
        funnel.drop(STAGE, outcome.reason, id=outcome.url, url=outcome.url)
    else:
        funnel.keep(STAGE)


async def _fetch_batch(
    batch: Sequence[Link],
    stem: Path,
    rules: FetchSettings,
    places: Mapping[str, tuple[str, int]],
    bar: console.Bar,
) -> None:
    async with _fetcher(rules, places) as fetcher:

        async def one(link: Link) -> tuple[Outcome, pages.Page | None]:
            try:
                page = await fetcher.fetch(link)
                return Outcome(url=link.url, reason=""), page
            except PageProblem as problem:
                return Outcome(url=link.url, reason=str(problem)), None
            finally:
                bar.advance()

        found: list[Any] = await asyncio.gather(*map(one, batch))
    pages.write_pages(stem.with_suffix(".warc.gz"), [page for _, page in found if page is not None])
    storage.write_jsonl(stem.with_suffix(OUTCOMES), [outcome for outcome, _ in found])
