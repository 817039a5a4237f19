"""`selftaught show`: look at any file or folder that selftaught wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings


@dataclass(frozen=True, kw_only=True)
class Show(settings.Verb):
    """Say shortly what a file or folder of selftaught is and holds."""

    path: Positional[Path]
    """A run folder, a model folder, or any file in one."""


def run(argv: Sequence[str]) -> None:
    """Show what `argv` names."""
    command = settings.resolve(Show, argv, prog="selftaught show").command
    from selftaught.cli.showing import folders, summary

    found = folders.summarise(command.path)
    summary.write(found)
    if command.json:
        console.result(found)
