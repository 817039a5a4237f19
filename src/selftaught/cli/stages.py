"""Runs verbs one after another, each in its own process, the way a person would type them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from selftaught import compute, console, errors
from selftaught.cli.main import LEASH

_EXPLAINED = range(errors.UsageError.exit_code, errors.MissingExtraError.exit_code + 1)
"""Exit codes of verbs that have said in a line of their own what is wrong."""


class StageError(errors.SelftaughtError):
    """A verb that a longer run started has failed; it has said why itself, and its exit code is passed on."""

    def __init__(self, words: Sequence[str], exit_code: int) -> None:
        super().__init__(
            f"`{written(words)}` ended with status {exit_code}", hint="Run the same command again to continue."
        )
        self.exit_code = exit_code
        self.told = exit_code in _EXPLAINED


def written(words: Sequence[str]) -> str:
    """The command as a person would type it."""
    return shlex.join(["selftaught", *words])


def run_verb(words: Sequence[str]) -> None:
    """Print `selftaught WORDS` and run it; its output goes to where this process' human-readable output goes.

    Ctrl-C and SIGTERM are passed on to the verb, once: it saves what it has, and this raises KeyboardInterrupt or
    SystemExit when the verb has ended. Raises StageError if the verb fails.
    """
    console.line()
    console.line(f"$ {written(words)}", style="bold cyan")
    with _leashed() as (descriptor, environment):
        command = [sys.executable, "-m", "selftaught", *words]
        stdout = sys.stderr if console.is_json() else None
        # A process group of its own, so that the terminal's Ctrl-C reaches the verb only through this process.
        with subprocess.Popen(
            command, stdout=stdout, pass_fds=[descriptor], env=environment, process_group=0
        ) as process:
            code = _wait(process)
    if code in (errors.INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if code:
        raise StageError(words, code if code > 0 else 128 - code)


@contextmanager
def _leashed() -> Iterator[tuple[int, dict[str, str]]]:
    reading, writing = os.pipe()
    try:
        yield reading, compute.environment_with({LEASH: str(reading)})
    finally:
        os.close(reading)
        os.close(writing)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the verb even when this process is told to stop, since the verb is then saving its work."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
        except SystemExit:
            process.terminate()
            process.wait()
            raise
