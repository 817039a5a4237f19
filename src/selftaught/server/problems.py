"""What goes wrong in a request, as an HTTP status and the JSON that OpenAI's clients expect."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

_SHOWN = 60
"""Characters of a value that an error repeats."""


class ProblemError(Exception):
    """A request that is not answered: `message` says what was expected and what came, `param` which field is meant."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        wait: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self._headers = headers or {}
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
        headers = {**self._headers, "content-type": "application/json"}
        if self.wait is not None:
            headers["retry-after"] = str(self.wait)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers


def misfit(problem: msgspec.ValidationError, body: bytes) -> ProblemError:
    """What to say of a field that is not what it should be: its name, what was expected and what came."""
    expected, place, *_ = [*re.split(r" - at (?:key in )?\$\.", str(problem).replace("`", ""), maxsplit=1), ""]
    if named := re.search("(?:unknown|required) field (.*)", expected):
        return ProblemError(400, expected, param=named[1])
    steps = re.findall(r"[^.\[\]]+", place)
    came = "" if "got" in expected else _came(body, steps)
    message = f"{place}: {expected[:1].lower()}{expected[1:]}{came}" if place else expected
    return ProblemError(400, message, param=steps[0] if steps else None)


def _came(body: bytes, steps: list[str]) -> str:
    """What stands at a place of a request that is JSON, as far as Python knows such numbers."""
    with contextlib.suppress(msgspec.DecodeError, LookupError, TypeError, ValueError):
        value: Any = msgspec.json.decode(body)
        for step in steps:
            value = value[int(step) if isinstance(value, list) else step]
        return f", got {msgspec.json.encode(value).decode():.{_SHOWN}}"
    return ""
