"""One request and its answer on the wire: reading within limits, noticing that the client hangs up, streaming events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from selftaught.server.limits import Limits
from selftaught.server.problems import ProblemError

T = TypeVar("T")
_THROWN_AWAY = 16
"""Times the largest body that is read and thrown away, so that a client that sends too much reads why it was refused."""


class HungUpError(Exception):
    """The client has left; nobody reads the answer."""


async def read(request: Request, limits: Limits) -> bytes:
    """The body. Raises ProblemError 413 if it is too large, 408 if it does not come, HungUpError if the client leaves."""
    declared = int(request.headers.get("content-length", "0"))
    # Too much to throw away, or from a client that waits to hear whether it is wanted.
    if declared > _THROWN_AWAY * limits.body_bytes or (declared > limits.body_bytes and "expect" in request.headers):
        raise _too_large(limits)
    body = bytearray()
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limits.body_bytes:
                    body += chunk
                elif size > _THROWN_AWAY * limits.body_bytes:
                    break
    except TimeoutError as problem:
        raise ProblemError(408, f"the body did not arrive within {limits.body_seconds:g} seconds") from problem
    except ClientDisconnect as problem:
        raise HungUpError from problem
    if size > limits.body_bytes:
        raise _too_large(limits)
    return bytes(body)


def _too_large(limits: Limits) -> ProblemError:
    return ProblemError(413, f"the body is too large; expected at most {limits.body_bytes} bytes")


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the client leaves before: then raises HungUpError."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HungUpError
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Events(Response):
    """Server-sent events. However it ends, `close` is called, and `gone` if the client left or read too slowly."""

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[bytes], *, seconds: float, close: Callable[[], None], gone: Callable[[], None]
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events, self._seconds, self._close, self._gone = events, seconds, close, gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send everything within the time there is."""
        try:
            async with asyncio.timeout(self._seconds):
                await unless_gone(receive, self._send(send))
        except (HungUpError, TimeoutError):
            self._gone()  # and uvicorn closes the connection, since the answer is not whole
        finally:
            self._close()

    async def _send(self, send: Callable[[Any], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
