"""`selftaught overlap`: how much of a text stands in the training text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.overlap.plan import OverlapSettings
from selftaught.report.records import COPIED_FILE, OVERLAP_FILE, CopiedSpan, Overlap


@dataclass(frozen=True, kw_only=True)
class OverlapVerb(settings.Verb):
    """Measure which share of the 8-grams of held-out text, samples and other text stands in a corpus (GPT-2 paper, section 4)."""

    corpus: Positional[Path]
    """A corpus folder."""
    tests: Positional[tuple[Path, ...]] = ()
    """Folders of samples (selftaught generate --out), or files and folders of text."""
    out: Path
    """Folder for the result."""
    settings: OverlapSettings = field(default_factory=OverlapSettings)


def run(argv: Sequence[str]) -> None:
    """Measure what `argv` asks for."""
    resolved = settings.resolve(OverlapVerb, argv, prog="selftaught overlap")
    command = resolved.command
    inputs = {"corpus": command.corpus} | {f"test {number}": path for number, path in enumerate(command.tests)}
    with storage.run(
        command.out, verb="overlap", plan=command.settings, sources=resolved.sources, inputs=inputs
    ) as opened:
        if opened.finished:
            console.line(f"{command.out} is finished")
        else:
            from selftaught.overlap.measuring import measure_overlap

            measure_overlap(command.corpus, command.tests, out=command.out, settings=command.settings)
            opened.declare(OVERLAP_FILE)
            opened.declare(COPIED_FILE)
    _show(command)


def _show(command: OverlapVerb) -> None:
    rows = storage.read_json(command.out / OVERLAP_FILE, list[Overlap])
    if command.json:
        console.result([settings.as_document(row) for row in rows])
        return
    console.table(
        ["text", "against", "documents", f"{command.settings.words}-grams", "found", "share", "false positives"],
        [
            (
                row.name,
                row.against,
                row.documents,
                row.ngrams,
                row.hits,
                f"{row.share:.2%}",
                "none: recounted" if command.settings.exact else f"<= {row.false_positive_rate:.1e}",
            )
            for row in rows
        ],
    )
    spans = sorted(storage.read_lines(command.out / COPIED_FILE, CopiedSpan), key=lambda span: -span.words)
    for span in spans[:3]:
        where = f"{span.url or span.document} at word {span.position:,}"
        console.line(f"longest copy, {span.words} words ({span.name}, from {where}): {span.text[:160]}")
