"""What verbs that fill a folder have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from selftaught import console, settings, storage

Work = Callable[[storage.Run], Iterable[str]]
"""Makes what the verb is for in an open run, and returns the names of its files."""


def make(
    resolved: settings.Resolved[Any], verb: str, inputs: Mapping[str, Path | None], work: Work, *, more: bool = False
) -> list[str]:
    """Do the work in the command's folder, or say that it was done; return the names of what was made.

    Inputs that are None were not given. With `more`, a folder that is finished is worked on again (see `storage.run`).
    """
    command = resolved.command
    given = {name: path for name, path in inputs.items() if path is not None}
    with storage.run(
        command.out, verb=verb, plan=command.settings, sources=resolved.sources, inputs=given, more=more
    ) as opened:
        if opened.finished:
            console.line(f"{command.out} is finished")
        else:
            for name in work(opened):
                opened.declare(name)
        return sorted(opened.outputs())
