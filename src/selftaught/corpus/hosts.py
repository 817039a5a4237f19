"""What is known of hosts while fetching: their robots.txt (RFC 9309), whose turn it is, and whether they answer at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import protego

from selftaught.corpus.pages import Page
from selftaught.corpus.politeness import FetchSettings
from selftaught.corpus.transport import LONGEST_WAIT_SECONDS, PageProblem, Transport
from selftaught.corpus.urls import normalise

REDIRECTS = 5
_REMEMBERED = 10_000
"""Hosts that nobody waits for are forgotten, those first that were asked longest ago."""
_GIVEN_UP_AFTER = 5
_SILENT = frozenset(("timeout", "no connection", "no such host"))
_NOT_ABOUT_ROBOTS = frozenset(("private address", "no such host", "no TLS"))
"""What is wrong with a host whichever page of it is asked for."""


@dataclass
class Host:
    """What is known of one host."""

    slots: asyncio.Semaphore
    users: int = 0
    robots: asyncio.Task[protego.Protego] | None = None
    free_at: float = 0.0
    failures: int = 0
    """How many times in a row it did not answer."""

    async def turn(self, pause: float) -> None:
        """Wait until `pause` seconds have passed since the last turn, or until the host wants to be asked again."""
        if pause > LONGEST_WAIT_SECONDS:
            raise PageProblem(f"robots.txt wants pauses over {LONGEST_WAIT_SECONDS:g} s")
        now = asyncio.get_running_loop().time()
        start = max(now, self.free_at)
        self.free_at = start + pause
        if start > now:
            await asyncio.sleep(start - now)

    def answered(self, problem: PageProblem | None) -> None:
        """Remember whether the host lives, and how long it wants to be left alone."""
        self.failures = self.failures + 1 if problem is not None and problem.reason in _SILENT else 0
        if problem is not None and problem.wait_seconds <= LONGEST_WAIT_SECONDS:
            self.pause(problem.wait_seconds)

    def pause(self, seconds: float) -> None:
        """Ask the host for nothing more until so many seconds have passed."""
        self.free_at = max(self.free_at, asyncio.get_running_loop().time() + seconds)


class Hosts:
    """All hosts that are asked; those of one run share nothing with those of another."""

    def __init__(self, transport: Transport, rules: FetchSettings) -> None:
        self._transport, self._rules = transport, rules
        self._known: dict[str, Host] = {}
        self._links: Counter[int] = Counter()

    def count_link(self, url: str) -> None:
        """Count one more link to a host. Raises PageProblem if there were enough before it."""
        if not self._rules.most_per_host:
            return
        name = hash(urlsplit(url).netloc)
        self._links[name] += 1
        if self._links[name] > self._rules.most_per_host:
            raise PageProblem(f"over {self._rules.most_per_host} links to one host")

    @asynccontextmanager
    async def allowed(self, url: str) -> AsyncIterator[Host]:
        """Wait for leave to ask for a page. Raises PageProblem where robots.txt or the host's silence speaks against it."""
        host = self._host(url)
        host.users += 1
        try:
            async with host.slots:
                if host.failures >= _GIVEN_UP_AFTER:
                    raise PageProblem("host does not answer")
                robots = await self._robots(url, host)
                if not robots.can_fetch(url, self._rules.user_agent):
                    raise PageProblem("robots.txt")
                await host.turn(robots.crawl_delay(self._rules.user_agent) or 0.0)
                yield host
        finally:
            host.users -= 1

    def _host(self, url: str) -> Host:
        name = urlsplit(url).netloc
        host = self._known.pop(name, None) or Host(asyncio.Semaphore(self._rules.per_host))
        self._known[name] = host
        if len(self._known) > _REMEMBERED:
            idle = [other for other, state in self._known.items() if not state.users and state is not host]
            for other in idle[: _REMEMBERED // 10]:
                del self._known[other]
        return host

    async def _robots(self, url: str, host: Host) -> protego.Protego:
        if host.robots is None:
            host.robots = asyncio.ensure_future(self._read_robots(urljoin(url, "/robots.txt"), host))
        return await asyncio.shield(host.robots)

    async def _read_robots(self, url: str, host: Host) -> protego.Protego:
        """RFC 9309: a missing robots.txt allows everything; one that cannot be had allows nothing, for the reason given."""
        for _ in range(REDIRECTS + 1):
            try:
                found = await self._transport.get(url, kinds=None)
                if isinstance(found, Page):
                    return protego.Protego.parse(found.body.decode("utf-8", "replace"))
                url = redirected(url, found)
            except PageProblem as problem:
                if problem.reason != "status 429" and problem.reason.startswith(("status 4", "redirect")):
                    break
                if problem.reason in _SILENT:
                    host.failures = _GIVEN_UP_AFTER
                if problem.reason in _NOT_ABOUT_ROBOTS or problem.reason.startswith("certificate"):
                    raise
                raise PageProblem(f"robots.txt: {problem.reason}") from problem
        return protego.Protego.parse("")


def redirected(url: str, location: str) -> str:
    """The address that a redirect leads to, in normal form."""
    try:
        target = normalise(urljoin(url, location))
    except ValueError:  # urljoin's word for an address such as http://[URL]
        target = ""
    if not target:
        raise PageProblem("redirect to no web address")
    return target
