"""HTTP as uvicorn speaks it, but neither clients that break off speaking it nor the end of the server leave tracebacks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from selftaught.server.problems import ProblemError


class Protocol(H11Protocol):
    """uvicorn's protocol, which tries to answer twice where the body of a request turns out not to be HTTP."""

    def send_400_response(self, msg: str) -> None:
        """Tell a client that this is not HTTP, unless it is being answered already or has been, and listen no longer."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = ProblemError(400, msg).body()
            head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            # Past h11, which has its own opinion of what may follow, as after the beginning of a HEAD.
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
        if self.cycle is not None:  # whoever answers the request finds that the client has gone
            self.cycle.disconnected = True
            self.cycle.message_event.set()


class Server(uvicorn.Server):
    """uvicorn's server, which cancels answers that are not finished in time; here they are ended before, and say why."""

    def __init__(self, config: uvicorn.Config, *, grace_seconds: float, end: Callable[[], None]) -> None:
        """`end` ends all answers, `grace_seconds` after the server was told to stop; uvicorn's own time should be longer."""
        super().__init__(config)
        self._grace_seconds, self._end = grace_seconds, end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let answers be finished, and end those that are not."""
        loop = asyncio.get_running_loop()
        ending = loop.call_later(self._grace_seconds, lambda: loop.run_in_executor(None, self._end))
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()
