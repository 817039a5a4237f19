"""What goes wrong in a request, as an HTTP status and the JSON that OpenAI's clients expect."""

from __future__ import annotations

import msgspec


class ProblemError(Exception):
    """A request that is not answered: `message` says what was expected and what came, `param` which field is meant."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, wait: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.wait = wait
        """Seconds after which it is worth trying again."""

    def body(self) -> bytes:
        """The error as JSON."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return msgspec.json.encode(
            {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}
        )

    def headers(self) -> dict[str, str]:
        """Headers that go with it."""
        headers = {"content-type": "application/json"}
        if self.wait is not None:
            headers["retry-after"] = str(self.wait)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers
