"""Who may ask: by host name, origin and key; and counting every answer."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selftaught.server.metrics import Metrics
from selftaught.server.problems import ProblemError

OPEN = frozenset({"/", "/healthz"})
"""Paths that need no key."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Gate:
    """Stands before the application.

    A server on loopback answers only to names of loopback, so that no web page elsewhere reaches it by a name of its own that
    points here; and no server answers pages of other origins.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str], host: str, key: str | None = None
    ) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths
        self._names = frozenset((*_LOOPBACK, host)) if is_loopback(host) else None
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            try:
                self._admit(scope["path"], Headers(scope=scope))
            except ProblemError as problem:
                await refuse(problem, noting)
            else:
                await self._app(scope, receive, noting)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, status).inc()

    def _admit(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._names is not None and _name(host) not in self._names:
            raise ProblemError(403, "this server answers to the names of loopback only")
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host.lower():
            raise ProblemError(403, "this server answers no pages of other origins")
        if self._key is not None and path not in OPEN:
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._key.encode()):
                raise ProblemError(401, "expected the header `Authorization: Bearer KEY`", code="invalid_api_key")


async def refuse(problem: ProblemError, send: Send) -> None:
    """Answer with a problem."""
    body = problem.body()
    headers = {**problem.headers(), "content-length": str(len(body))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    return host in _LOOPBACK or host.startswith("127.")


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
