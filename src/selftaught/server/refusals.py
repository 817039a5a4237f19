"""How whatever goes wrong is answered: as JSON that says what was expected and what came."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from selftaught.server.exchange import HungUpError
from selftaught.server.problems import ProblemError

_log = logging.getLogger("selftaught.server")
GONE = 499
"""Status noted for clients that left; nobody reads it."""


def handlers(
    paths: Sequence[str], hung_up: Callable[[], object]
) -> Mapping[Any, Callable[[Request, Any], Coroutine[Any, Any, Response]]]:
    """What answers each kind of error in an application with these paths; `hung_up` is called when a client has left."""

    def gone(_request: Request, _problem: HungUpError) -> ProblemError:
        hung_up()
        return ProblemError(GONE, "the client has left")

    def lost(request: Request, problem: HTTPException) -> ProblemError:
        path, headers = f"{request.url.path!r:.100}", problem.headers or {}
        message = str(problem.detail)
        if problem.status_code == 404:
            message = f"there is no {path}; expected one of {', '.join(paths)}"
        elif "Allow" in headers:
            message = f"{path} expects {headers['Allow']}, got {request.method:.20}"
        return ProblemError(problem.status_code, message, headers=headers)

    return {
        ProblemError: _answering(lambda _, problem: problem),
        HTTPException: _answering(lost),
        HungUpError: _answering(gone),
        Exception: _answering(_defect),
    }


def _defect(_: Request, problem: Exception) -> ProblemError:
    _log.error("a defect: %r", problem)
    return ProblemError(500, "a defect of the server; its log says more")


def _answering(
    told: Callable[[Request, Any], ProblemError],
) -> Callable[[Request, Any], Coroutine[Any, Any, Response]]:
    async def handler(request: Request, problem: Any) -> Response:
        answer = told(request, problem)
        return Response(answer.body(), answer.status, headers=answer.headers())

    return handler
