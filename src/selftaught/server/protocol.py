"""HTTP as uvicorn speaks it, except that a client that breaks off speaking it leaves no traceback in the log."""

from __future__ import annotations

import h11
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
