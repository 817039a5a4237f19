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
    """uvicorn's protocol, which tries to answer twice where the body of a request turns out not to be HTTP.

    Here the head of a request, too, has to arrive in time: else whoever opens connections and says nothing holds them for ever.
    """

    head_seconds = 20.0
    """Time for the head of a request to arrive."""
    _heading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take in what comes, and wait for the rest of a head that is not whole."""
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_waiting()
        elif self._heading is None:
            self._heading = self.loop.call_later(self.head_seconds, self._late)

    def _stop_waiting(self) -> None:
        if self._heading is not None:
            self._heading.cancel()
            self._heading = None

    def _late(self) -> None:
        self._heading = None
        if self.conn.trailing_data[0]:  # else it was opened and never used, as browsers do
            message = f"the head of the request did not arrive within {self.head_seconds:g} seconds"
            self._write("408 Request Timeout", ProblemError(408, message))
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Tell a client that this is not HTTP, unless it is being answered already or has been, and listen no longer."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._write("400 Bad Request", ProblemError(400, msg))
        self.transport.close()
        if self.cycle is not None:  # whoever answers the request finds that the client has gone
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _write(self, status: str, problem: ProblemError) -> None:
        """Past h11, which has its own opinion of what may follow, as after the beginning of a HEAD."""
        body = problem.body()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)


def timed(seconds: float) -> type[Protocol]:
    """The protocol with so much time for the head of a request."""
    return type("Protocol", (Protocol,), {"head_seconds": seconds})


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
