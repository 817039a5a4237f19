"""`selftaught memorize`: whether a model copies its training text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.cli.making import make
from selftaught.overlap.plan import MemorizeSettings
from selftaught.report.overlap_records import COPIED_FILE, MEMORIZATION_FILE, OVERLAP_FILE, Memorization


@dataclass(frozen=True, kw_only=True)
class Memorize(settings.Verb):
    """Measure what a model remembers of its training text (GPT-2 paper, section 4, figures 4 and 5, section 8.2).

    How much its samples overlap with it, the longest copies, how far prompts that occur often are continued by heart, how
    unlike several continuations are, and perplexity on training against held-out text.
    """

    model: Positional[Path]
    """A model folder, a training run or a Hugging Face GPT-2 folder."""
    corpus: Positional[Path]
    """The corpus folder that it was trained on."""
    index: Path | None = None
    """A folder of `selftaught overlap` on the same corpus, or of `overlap index`, whose filter is used instead of making one."""
    out: Path
    """Folder for the result; the same command continues there."""
    settings: MemorizeSettings = field(default_factory=MemorizeSettings)


def run(argv: Sequence[str]) -> None:
    """Measure what `argv` asks for."""
    resolved = settings.resolve(Memorize, argv, prog="selftaught memorize")
    command = resolved.command

    def work(_: storage.Run) -> Sequence[str]:
        from selftaught.overlap.memorization import measure_memorization

        measure_memorization(
            command.model, command.corpus, out=command.out, index=command.index, settings=command.settings
        )
        return MEMORIZATION_FILE, OVERLAP_FILE, COPIED_FILE

    make(resolved, "memorize", {"model": command.model, "corpus": command.corpus}, work)
    _show(storage.read_json(command.out / MEMORIZATION_FILE, Memorization), command)


def _show(found: Memorization, command: Memorize) -> None:
    from selftaught.report import gaps
    from selftaught.report import memorization as tables

    if command.json:
        console.result(settings.as_document(found))
        return
    console.line(f"{found.model}: {found.protocol}")
    console.table(tables.SHARE_COLUMNS, [line.cells for line in tables.share_lines([found])])
    console.line(tables.difference_words(found))
    console.table(tables.RECALL_COLUMNS, [line.cells for line in tables.recall_lines([found])])
    if found.diversity:
        console.table(tables.DIVERSITY_COLUMNS, [line.cells for line in tables.diversity_lines([found])])
    console.line(gaps.gap_words(found))
    for span in tables.longest_copies([found])[:3]:
        console.line(f"longest copy, {span.words} words ({span.name}, {tables.place_words(span)}): {span.text[:160]}")
