"""From a folder to a server that answers: find models, load them, listen, end when told to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import importlib.util
import logging
import math
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from selftaught import compute, console
from selftaught.checkpoint import loading
from selftaught.errors import InputError, MissingExtraError, OutputError, UsageError
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.recasting import WeightFormat
from selftaught.server.limits import Limits

_DEPTH = 2
"""Folders below the one given in which models are looked for: models/SIZE of a demo."""
_SENDING_SECONDS = 2
"""How long clients may take to read the end of texts that are cut off."""


def require_extra() -> None:
    """Raise MissingExtraError where the server's libraries are not installed."""
    missing = [name for name in ("starlette", "uvicorn", "prometheus_client") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"the web server ({', '.join(missing)})", "serve")


def find(folder: Path) -> list[Path]:
    """The model that a folder is, or all models up to two folders below it. Raises InputError if there are none."""
    if loading.is_model(folder):
        return [folder]
    found = [
        path
        for depth in range(1, _DEPTH + 1)
        for path in sorted(folder.glob("/".join("*" * depth)))
        if path.is_dir() and not re.fullmatch(r"step-\d+", path.name) and loading.is_model(path)
    ]
    if not found:
        raise InputError(
            f"no model in {folder}",
            expected="a model, a training run, or a folder of them such as the one that `selftaught demo` makes",
            got="no such folder" if not folder.is_dir() else "none of these",
        )
    return found


def load(
    folder: Path, device: compute.DeviceName = "auto", weights: WeightFormat = "float32"
) -> dict[str, LanguageModel]:
    """All models of a folder by name, the smallest first."""
    found = [
        (path, LanguageModel.load(path, device=device, weights=weights, only_generates=True)) for path in find(folder)
    ]
    names = [model.name for _, model in found]
    named = {
        model.name if names.count(model.name) == 1 else path.relative_to(folder).as_posix(): model
        for path, model in found
    }
    return dict(sorted(named.items(), key=lambda item: item[1].parameters))


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 takes any that is free. Raises OutputError if nobody may listen there."""
    if not 0 <= port < 1 << 16:
        raise UsageError("--port is no port", expected="0 to 65535", got=str(port))
    # Named as TCP, which create_server leaves out: asyncio lets only such connections send small parts at once, not after 40 ms.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as problem:
        listening.close()
        wrong_host = isinstance(problem, socket.gaierror) or problem.errno == errno.EADDRNOTAVAIL
        raise OutputError(
            f"cannot listen on {host} port {port}",
            got=problem.strerror or str(problem),
            hint="Type another: --port 0 takes any that is free."
            if not wrong_host
            else "Type an address of this machine: --host 127.0.0.1, ::1, or 0.0.0.0 for all.",
        ) from problem
    return listening


def address(listening: socket.socket) -> str:
    """Where a browser finds the server."""
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


def serve(
    models: Mapping[str, LanguageModel], listening: socket.socket, *, host: str, limits: Limits, key: str | None
) -> None:
    """Answer until SIGINT or SIGTERM, which then do what they do otherwise; texts in the making have some seconds to end."""
    import uvicorn

    from selftaught.server.api import application
    from selftaught.server.protocol import Server, timed

    _tell_problems()
    app = application(models, limits=limits, host=host, key=key)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        http=timed(limits.body_seconds),
        ws="none",
        timeout_graceful_shutdown=math.ceil(limits.grace_seconds) + _SENDING_SECONDS,
    )
    # What is there now stays: looking through it for garbage would halt all texts for a tenth of a second now and then.
    gc.freeze()
    Server(config, grace_seconds=limits.grace_seconds, end=app.state.service.engine.stop).run(sockets=[listening])


class _Telling(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
            return  # whom the server waits for no longer as it ends, which it has said
        with contextlib.suppress(
            OutputError, SystemExit
        ):  # a log on a full disk, or one that nobody reads, ends no server
            console.warn(self.format(record))


def _tell_problems() -> None:
    """Defects are told on the console; what clients do wrong they are told themselves."""
    for name in ("selftaught.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Telling(logging.ERROR)], False
