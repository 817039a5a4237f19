"""`selftaught serve`: models over HTTP, and a page to play with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from selftaught import compute, console, errors, settings, storage
from selftaught.errors import InputError
from selftaught.server.limits import Limits

KEY = "SELFTAUGHT_API_KEY"
"""Environment variable with the key that clients must name."""


@dataclass(frozen=True, kw_only=True)
class Serve(settings.Verb):
    """Answer OpenAI-compatible requests, and show a page to play with, until Ctrl-C or SIGTERM."""

    model: Positional[Path]
    """A model, a training run, a Hugging Face folder, or a folder of them, such as a demo's: all its sizes are served."""
    host: str = "127.0.0.1"
    """Address to listen on; by default this machine alone can reach it."""
    port: int = 8000
    """Port to listen on; 0 takes any that is free."""
    key_file: Path | None = None
    """File whose first line clients must name as their API key; or set SELFTAUGHT_API_KEY."""
    device: compute.DeviceName = "auto"
    """Where to compute."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """Format in which the weights are read: with half or a quarter of the bytes, two to four times as fast on a processor."""
    settings: Limits = field(default_factory=Limits)


def run(argv: Sequence[str]) -> None:
    """Serve what `argv` names."""
    command = settings.resolve(Serve, argv, prog="selftaught serve").command
    key = _key(command)
    from selftaught.server import running

    running.require_extra()
    from selftaught.server import gate

    with running.listen(command.host, command.port) as listening:
        models = running.load(command.model, command.device, command.weights)
        url = running.address(listening)
        console.table(
            ["model", "parameters", "context"],
            [(name, model.parameters, model.context) for name, model in models.items()],
        )
        console.line(f"\nthe page is {url}    the API {url}/v1    Ctrl-C ends")
        if key is None and not gate.is_loopback(command.host):
            console.warn(f"whoever reaches {command.host} may use it; a key asks who it is: --key-file FILE")
        if command.json:
            console.result({"url": url, "models": list(models)})
        try:
            running.serve(models, listening, host=command.host, limits=command.settings, key=key)
        except KeyboardInterrupt:
            console.line("stopped")
            raise SystemExit(errors.INTERRUPTED) from None


def _key(command: Serve) -> str | None:
    if command.key_file is None:
        return compute.environment(KEY) or None
    lines = storage.read_bytes(command.key_file).decode("utf-8", "replace").splitlines()
    if not lines or not lines[0].strip():
        raise InputError(f"no key in {command.key_file}", expected="it on the first line")
    return lines[0].strip()
