"""`selftaught report`: one self-contained page of everything in a folder of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.report.records import RESULTS_FILE, Score


@dataclass(frozen=True, kw_only=True)
class Report(settings.Verb):
    """Gather the runs at and below a folder into report.html and results.json there."""

    folder: Positional[Path]
    """Folder of a demo, or of any run."""


def run(argv: Sequence[str]) -> None:
    """Write the report that `argv` asks for."""
    command = settings.resolve(Report, argv, prog="selftaught report").command
    from selftaught.report.page import write_report

    console.line(f"the page is {write_report(command.folder)}")
    if command.json:
        scores = storage.read_json(command.folder / RESULTS_FILE, list[Score])
        console.result([settings.as_document(score) for score in scores])
