"""`selftaught overlap`: how much of a text stands in the training text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.cli.making import make
from selftaught.overlap.plan import IndexSettings, MergeSettings, OverlapSettings
from selftaught.report.overlap_records import COPIED_FILE, OVERLAP_FILE, CopiedSpan, Overlap
from selftaught.report.overlapping import TABLE_6_COLUMNS, table_6


@dataclass(frozen=True, kw_only=True)
class OverlapVerb(settings.Verb):
    """Measure which share of the 8-grams of held-out text, samples and other text stands in a corpus (GPT-2 paper, section 4).

    `selftaught overlap index TEXT --out DIR` makes the filter alone, `selftaught overlap merge DIR DIR --out DIR` unites filters.
    """

    corpus: Positional[Path]
    """A corpus folder, or an index that `selftaught overlap index` or `merge` made."""
    tests: Positional[tuple[Path, ...]] = ()
    """Folders of samples (selftaught generate --out), or files and folders of text."""
    data: Path | None = None
    """Folder of data sets (docs/evaluate.md), whose test sets are looked up in the corpus and in their own training text."""
    out: Path
    """Folder for the result."""
    settings: OverlapSettings = field(default_factory=OverlapSettings)


@dataclass(frozen=True, kw_only=True)
class Index(settings.Verb):
    """Put a text's n-grams into a filter: a corpus' training side, or files and folders of text."""

    text: Positional[Path]
    """A corpus folder, or a file or folder of text."""
    out: Path
    """Folder for the filter."""
    settings: IndexSettings = field(default_factory=IndexSettings)


@dataclass(frozen=True, kw_only=True)
class Merge(settings.Verb):
    """Unite filters that were made with one --capacity of the same kind of n-grams, here or on other machines."""

    parts: Positional[tuple[Path, ...]]
    """Folders of filters."""
    out: Path
    """Folder for the filter of them all."""
    settings: MergeSettings = field(default_factory=MergeSettings)


def run(argv: Sequence[str]) -> None:
    """Measure, index or merge as `argv` says."""
    if argv[:1] == ["index"]:
        _index(argv[1:])
    elif argv[:1] == ["merge"]:
        _merge(argv[1:])
    else:
        _measure(argv)


def _index(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Index, argv, prog="selftaught overlap index")
    command = resolved.command

    def work(_: storage.Run) -> Sequence[str]:
        from selftaught.overlap import indexing

        indexing.filter_of(command.text, command.out, command.settings)
        return _filter_files()

    make(resolved, "overlap index", {"text": command.text}, work)
    _show_filter(command.out, json=command.json)


def _merge(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Merge, argv, prog="selftaught overlap merge")
    command = resolved.command
    inputs = {f"part {number}": path for number, path in enumerate(command.parts)}

    def work(_: storage.Run) -> Sequence[str]:
        from selftaught.overlap import indexing

        indexing.merge(command.parts, command.out)
        return _filter_files()

    make(resolved, "overlap merge", inputs, work)
    _show_filter(command.out, json=command.json)


def _filter_files() -> Sequence[str]:
    from selftaught.overlap.parameters import BITS_FILE, PARAMETERS_FILE

    return BITS_FILE, PARAMETERS_FILE


def _show_filter(folder: Path, *, json: bool) -> None:
    from selftaught.overlap.bloom import Bloom
    from selftaught.overlap.parameters import PARAMETERS_FILE, Parameters

    known = storage.read_json(folder / PARAMETERS_FILE, Parameters)
    if json:
        console.result(settings.as_document(known))
        return
    made = Bloom.load(folder, verify=False)
    console.line(
        f"{known.content.kind} of {len(known.content.texts)} text{'s' * (len(known.content.texts) != 1)}: "
        f"{known.keys:,}, about {made.distinct():,.0f} distinct, room for {known.capacity:,}; "
        f"{made.blocks.nbytes / 1e6:,.1f} MB, false positives {made.measured_rate():.1e}"
    )


def _measure(argv: Sequence[str]) -> None:
    resolved = settings.resolve(OverlapVerb, argv, prog="selftaught overlap")
    command = resolved.command
    tests = {f"test {number}": path for number, path in enumerate(command.tests)}

    def work(_: storage.Run) -> Sequence[str]:
        from selftaught.overlap.measuring import measure_overlap

        measure_overlap(command.corpus, command.tests, out=command.out, data=command.data, settings=command.settings)
        return OVERLAP_FILE, COPIED_FILE

    make(resolved, "overlap", {"corpus": command.corpus, **tests, "data": command.data}, work)
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
                f"{row.share:.2%}" if not 0 < row.share < 0.0005 else f"{row.share:.4%}",
                "none: recounted" if command.settings.exact else f"<= {row.false_positive_rate:.1e}",
            )
            for row in rows
        ],
    )
    if compared := table_6(rows):
        console.table(TABLE_6_COLUMNS, [line.cells for line in compared], title="GPT-2 paper, table 6")
    spans = sorted(storage.read_lines(command.out / COPIED_FILE, CopiedSpan), key=lambda span: -span.words)
    for span in spans[:3]:
        where = f"{span.url or span.document} at word {span.position:,}"
        console.line(f"longest copy, {span.words} words ({span.name}, from {where}): {span.text[:160]}")
