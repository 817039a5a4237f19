"""One HTTP request: safe, bounded, and whatever goes wrong has a name.

Connections are made to public addresses only. That is looked at twice: when a name is resolved, so that an address may be chosen,
and when the socket is made, so that nothing that happens between counts. Redirects are not followed here.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from selftaught.corpus.pages import Page
from selftaught.corpus.politeness import FetchSettings

RETRIES = 3
LONGEST_WAIT_SECONDS = 60.0
"""A host that wants longer pauses, by Retry-After or its robots.txt, is left alone."""
_TRY_AGAIN = frozenset(
    ("status 429", "status 500", "status 502", "status 503", "status 504", "no connection", "cut short")
)
_REDIRECT = frozenset((301, 302, 303, 307, 308))
_NAMES_KEPT_SECONDS = 300


_CERTIFICATE_PROBLEMS = {
    9: "certificate not yet valid",
    10: "certificate expired",
    62: "certificate of another host",
    64: "certificate of another host",
}
"""OpenSSL's numbers (x509_vfy.h); all others mean that nobody we trust has signed it."""


class PageProblem(Exception):  # noqa: N818 - a page's fate, not an error of ours
    """Why a page is not kept; `wait_seconds` is how long the server wants to be left alone before another try."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds


@dataclass
class _Begun:
    """What is here of a page that broke off, and by which mark its server knows that version of it."""

    body: bytearray = field(default_factory=bytearray)
    mark: str = ""

    def headers(self) -> dict[str, str]:
        """Ask for the rest, but for all of it where the page has changed since (RFC 9110, section 13.1.5)."""
        if not self.body or not self.mark:
            return {}
        return {"Range": f"bytes={len(self.body)}-", "If-Range": self.mark, "Accept-Encoding": "identity"}


class Transport:
    """Asks for pages over connections that are kept and shared."""

    def __init__(self, session: aiohttp.ClientSession, rules: FetchSettings) -> None:
        self._session, self._rules = session, rules
        self._slots = asyncio.Semaphore(rules.concurrent)

    async def get(
        self, url: str, kinds: Container[str] | None, pause: Callable[[float], None] | None = None
    ) -> Page | str:
        """One page, or the address that it redirects to; tries again after passing failures. Raises PageProblem.

        `pause` is told when the server wants to be left alone, and for how many seconds, so that others wait too.
        """
        begun = _Begun()
        for attempt in range(RETRIES + 1):
            try:
                async with self._slots:
                    return await self._get_once(url, kinds, begun)
            except PageProblem as problem:
                last = attempt == RETRIES or problem.wait_seconds > LONGEST_WAIT_SECONDS
                if problem.reason not in _TRY_AGAIN or last:
                    raise
                if pause and problem.wait_seconds:
                    pause(problem.wait_seconds)
                await asyncio.sleep(max(self._rules.first_pause_seconds * 4**attempt, problem.wait_seconds))
        raise AssertionError("the loop returns or raises")

    async def _get_once(self, url: str, kinds: Container[str] | None, begun: _Begun) -> Page | str:
        self._refuse_private_literal(url)
        try:
            async with self._session.get(url, allow_redirects=False, headers=begun.headers()) as response:
                if response.status in _REDIRECT and "Location" in response.headers:
                    return response.headers["Location"]
                if response.status != 206 or not begun.headers():
                    begun.body.clear()
                    if response.status != 200:
                        raise PageProblem(
                            f"status {response.status}", _seconds(response.headers.get("Retry-After", ""))
                        )
                await self._read(response, kinds, begun)
                kind = response.headers.get("Content-Type", "")
                return Page(url=url, final_url=url, content_type=kind, body=bytes(begun.body))
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as problem:
            raise PageProblem(_reason(problem)) from problem

    def _refuse_private_literal(self, url: str) -> None:
        """Addresses written as numbers never reach the resolver, so they are looked at here."""
        try:
            allowed = is_allowed(urlsplit(url).hostname or "", private=self._rules.allow_private)
        except ValueError:
            return
        if not allowed:
            raise PageProblem("private address")

    async def _read(self, response: aiohttp.ClientResponse, kinds: Container[str] | None, begun: _Begun) -> None:
        if kinds is not None and response.content_type not in kinds:
            raise PageProblem(f"content type {response.content_type}")
        if (response.content_length or 0) > self._rules.largest_bytes:
            raise PageProblem("too large")
        begun.mark = _mark(response.headers)
        async for part in response.content.iter_chunked(1 << 16):
            begun.body += part
            if len(begun.body) > self._rules.largest_bytes:
                raise PageProblem("too large")


def _mark(headers: Mapping[str, str]) -> str:
    """What a page may be resumed by: a strong ETag of bytes that are sent as they are, from a server that knows ranges."""
    tag = headers.get("ETag", "")
    usable = "Content-Encoding" not in headers and headers.get("Accept-Ranges") == "bytes" and tag.startswith('"')
    return tag if usable else ""


def _reason(problem: Exception) -> str:
    """The name of a failure."""
    if isinstance(problem, TimeoutError):
        return "timeout"
    if isinstance(problem, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        code = getattr(getattr(problem, "certificate_error", None), "verify_code", None)
        return "no TLS" if code is None else _CERTIFICATE_PROBLEMS.get(code, "certificate not trusted")
    if isinstance(problem, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return "no such host"
    if isinstance(problem, aiohttp.ClientPayloadError):
        return (
            "wrong encoding" if "decode" in str(problem) or "content-encoding" in str(problem).lower() else "cut short"
        )
    if isinstance(problem, aiohttp.ClientResponseError | aiohttp.http_exceptions.HttpProcessingError):
        return "not HTTP"
    return "no connection"


def _seconds(retry_after: str) -> float:
    """The pause that a Retry-After header asks for, in seconds or as a date."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_allowed(address: str, *, private: bool) -> bool:
    """Whether to connect to an address in numbers: to public ones, and if `private` to an intranet's (ValueError if it is none).

    Link-local addresses never, nor others that answer with the secrets of a machine in a cloud.
    """
    public = is_public(address)
    if public or not private:
        return public
    found = ipaddress.ip_address(address.partition("%")[0])
    inner: list[_Address] = [] if isinstance(found, ipaddress.IPv4Address) else [*_inside(found)]
    return all(one.is_private or one.is_loopback for one in inner or [found]) and not any(map(_never, [found, *inner]))


def _never(address: _Address) -> bool:
    special = address.is_link_local or address.is_multicast or address.is_unspecified
    return special or str(address) in _METADATA or str(address) == "255.255.255.255"


def is_public(address: str) -> bool:
    """Whether an address in numbers is one of the public internet (ValueError if it is none)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return found.is_global and not found.is_multicast
    inner = _inside(found)
    if any(not (one.is_global and not one.is_multicast) for one in inner):
        return False
    if found.ipv4_mapped or found in _NAT64:
        return True
    return found.is_global and found in _UNICAST and found not in _DOCUMENTATION


def _inside(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """127.0.0.1 and others also have names as ::ffff:, 6to4, Teredo, NAT64 and ISATAP addresses."""
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or (int(address) >> 32) & 0xFDFFFFFF == _ISATAP:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in inner if one is not None]


_METADATA = frozenset(("fd00:ec2::254", "100.100.100.200", "192.0.0.192"))
"""Of Amazon, Alibaba and Oracle, besides 169.254.169.254."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = 0x5EFE
"""RFC 5214: what stands before the IPv4 address at the end."""
_UNICAST, _DOCUMENTATION = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("3fff::/20")
"""RFC 4291, section 2.4: all that is given out. Outside are ::127.0.0.1, site-local fec0::, NAT64 of one's own (64:ff9b:1::)."""


class _GuardedResolver(AbstractResolver):
    """Resolves host names to public addresses only, and the hosts of `places` to where they are known to be."""

    def __init__(self, places: Mapping[str, tuple[str, int]], *, allow_private: bool) -> None:
        self._places, self._allow_private = places, allow_private
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host in self._places:
            address, port = self._places[host]
            return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]
        found = await self._resolver.resolve(host, port, family)
        allowed = [one for one in found if is_allowed(one["host"], private=self._allow_private)]
        if not allowed:
            raise PageProblem("private address")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


@asynccontextmanager
async def opened(rules: FetchSettings, places: Mapping[str, tuple[str, int]]) -> AsyncIterator[Transport]:
    """Connections for as long as the block lasts."""

    def connected(information: Any) -> socket.socket:
        family, kind, protocol, _, address = information
        known = (address[0], address[1]) in places.values()
        if not (known or is_allowed(address[0], private=rules.allow_private)):
            raise PageProblem("private address")
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        resolver=_GuardedResolver(places, allow_private=rules.allow_private),
        limit=rules.concurrent,
        ttl_dns_cache=_NAMES_KEPT_SECONDS,
        keepalive_timeout=3,
        socket_factory=connected,
        ssl=ssl.create_default_context(),  # made now, so that SSL_CERT_FILE says whom an intranet trusts
    )
    headers = {"User-Agent": rules.user_agent, "Accept-Encoding": "gzip, deflate"}
    timeout = aiohttp.ClientTimeout(total=rules.timeout_seconds)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=headers, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Transport(session, rules)
