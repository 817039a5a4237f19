"""The last stages that every corpus goes through: clean -> duplicates -> split -> written, with drops and funnel."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Thread

from selftaught import console, storage
from selftaught.corpus import documents, ranges
from selftaught.corpus.cleaning import CleaningSettings, Verdict, judge, repaired
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.splitting import Unit, side
from selftaught.corpus.workers import Workers, outcome
from selftaught.errors import InputError

CLUSTERS_FILE = "clusters.jsonl.zst"
CLEAN, DUPLICATES, DECONTAMINATE, SPLIT = "clean", "duplicates", "decontaminate", "split"
_LONGEST_SENT = 1 << 23
"""Longer texts, such as whole libraries in one file, are cleaned here: the limits of the processes are those of pages."""
Check = Callable[[str], bool]
"""Whether a text holds what a model will be asked about; a room above knows how to tell."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A document and those that were dropped as its duplicates."""

    id: str
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class _Dropped:
    of: int
    id: str


@dataclass(frozen=True, kw_only=True)
class DeduplicationSettings:
    """Which documents count as the same."""

    near_duplicate: float = 0.8
    """Jaccard similarity of 5-word shingles from which on a document counts as a near duplicate."""

    def __post_init__(self) -> None:
        """Refuse what is no similarity."""
        ranges.require_share(self, "near_duplicate")


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How much is held out."""

    heldout: float = 0.05
    """Share of documents that is held out, chosen by a hash of the URL (GPT-2 paper, section 3: 5 %)."""
    unit: Unit = "url"
    """What the hash is of: the `url`, or the registered `domain`, so that no site stands on both sides."""

    def __post_init__(self) -> None:
        """Refuse a side that must stay empty."""
        ranges.require_share(self, "heldout", whole=False)


@dataclass(frozen=True, kw_only=True)
class FinishingSettings(DeduplicationSettings, SplitSettings):
    """How documents are cleaned, compared and split."""

    cleaning: CleaningSettings = field(default_factory=CleaningSettings)

    def __post_init__(self) -> None:
        """Refuse what either part refuses."""
        DeduplicationSettings.__post_init__(self)
        SplitSettings.__post_init__(self)


def load_ahead() -> None:
    """Begin to load what `deduplicate` takes, half a second of it, beside what is done before."""

    def load() -> None:
        from selftaught.corpus import deduplication

        deduplication.load()

    Thread(target=load, name="load-ahead").start()


def finish(
    rows: Iterable[Document],
    out: Path,
    funnel: Funnel,
    rules: FinishingSettings,
    contaminated: Check | None = None,
    *,
    workers: Workers | None = None,
) -> list[documents.FunnelRow]:
    """Write train, heldout, drops and, last, the funnel into `out`. `workers`: see `clean`.

    Of duplicates the one with most karma stays, of equal ones the first. Raises InputError if a side of the split stays empty.
    """
    cleaned = clean(rows, funnel, rules.cleaning, workers)
    unique = deduplicate(cleaned, funnel, rules.near_duplicate, out / CLUSTERS_FILE)
    split(unique, out, funnel, rules, contaminated)
    funnel.save(out)
    return funnel.rows()


def clean(
    rows: Iterable[Document], funnel: Funnel, rules: CleaningSettings, workers: Workers | None = None
) -> Iterator[Document]:
    """The documents that pass the filters of `corpus.cleaning`, with their language noted.

    By `workers` if there are any, else in this process. A text that no filter returns from is dropped as `error`, or as
    `timeout`, `memory` or `crash` of a worker.
    """
    if rules.mojibake:
        repaired("")  # says here what is to be installed
    for row, verdict, reason in _judged(rows, rules, workers):
        funnel.enter(CLEAN)
        if verdict is None or verdict.reason:
            funnel.drop(CLEAN, verdict.reason if verdict else reason, id=row.id, url=row.url)
            continue
        funnel.keep(CLEAN)
        text = row.text if verdict.repaired is None else verdict.repaired
        yield replace(row, text=text, language=verdict.language)


def _judged(
    rows: Iterable[Document], rules: CleaningSettings, workers: Workers | None
) -> Iterator[tuple[Document, Verdict | None, str]]:
    look = partial(judge, rules=rules)
    if workers is None:
        yield from ((row, *outcome(look, row.text)) for row in rows)
        return
    for row, verdict, reason in workers.results(
        look, rows, lambda row: (row.text if len(row.text) <= _LONGEST_SENT else "",)
    ):
        yield row, *(outcome(look, row.text) if len(row.text) > _LONGEST_SENT else (verdict, reason))


def deduplicate(rows: Iterable[Document], funnel: Funnel, threshold: float, clusters: Path) -> Iterator[Document]:
    """The documents that are no duplicates (see `corpus.deduplication`), in their order; writes the clusters to a .jsonl file."""
    from selftaught.corpus.deduplication import Fingerprints

    held, ids, prints = storage.Spool(Document), storage.Spool(str), Fingerprints(threshold)
    with console.progress("comparing", unit="documents") as bar:
        for row in rows:
            held.append(row)
            ids.append(row.id)
            prints.add(row.text, row.karma)
            bar.advance()
    found = prints.duplicates()
    stays = set(found.of[found.of >= 0].tolist())
    names = {number: name for number, name in enumerate(ids) if number in stays}
    storage.write_jsonl(clusters, _clusters(ids, found.of.tolist(), names))
    for row, of, near in zip(held, found.of.tolist(), found.near.tolist(), strict=True):
        funnel.enter(DUPLICATES)
        if of >= 0:
            funnel.drop(
                DUPLICATES, "near duplicate" if near else "exact duplicate", id=row.id, url=row.url, of=names[of]
            )
            continue
        funnel.keep(DUPLICATES)
        yield row


def _clusters(ids: Iterable[str], of: Sequence[int], names: Mapping[int, str]) -> Iterator[Cluster]:
    """Who stays with all that are dropped for it, in order of who stays."""
    dropped = (_Dropped(number, name) for number, name in zip(of, ids, strict=True) if number >= 0)
    ordered = storage.sorted_rows(dropped, _Dropped, lambda one: one.of)
    for number, group in itertools.groupby(ordered, key=lambda one: one.of):
        yield Cluster(id=names[number], dropped=tuple(one.id for one in group))


def decontaminate(rows: Iterable[Document], funnel: Funnel, contaminated: Check) -> Iterator[Document]:
    """The documents whose text is not `contaminated`: that do not hold what a model will be asked about."""
    for row in rows:
        funnel.enter(DECONTAMINATE)
        if contaminated(row.text):
            funnel.drop(DECONTAMINATE, "benchmark text", id=row.id, url=row.url)
            continue
        funnel.keep(DECONTAMINATE)
        yield row


def split(
    rows: Iterable[Document], out: Path, funnel: Funnel, rules: SplitSettings, contaminated: Check | None = None
) -> None:
    """Write each document to its side. Raises InputError, and leaves nothing, if a side stays empty."""
    if contaminated:
        rows = decontaminate(rows, funnel, contaminated)
    with ExitStack() as stack, console.progress("cleaning", unit="documents") as bar:
        adders = {
            name: stack.enter_context(storage.writing_rows(documents.split_file(out, name)))
            for name in documents.SPLITS
        }
        for row in rows:
            bar.advance()
            name = side(row.url or row.id, rules.heldout, rules.unit)
            adders[name](row)
            funnel.counts[SPLIT, name] += 1
        _require_both_sides(funnel, rules.heldout)


def _require_both_sides(funnel: Funnel, heldout: float) -> None:
    sides = {name: funnel.counts[SPLIT, name] for name in documents.SPLITS}
    if all(sides.values()):
        return
    reasons = ", ".join(f"{row.count} {row.reason}" for row in funnel.rows() if row.reason not in ("", "kept", *sides))
    raise InputError(
        "too little text to hold some of it out" if sum(sides.values()) else "no text is left",
        expected="at least one document on each side of the split",
        got=f"{sides['train']} train, {sides['heldout']} held out" + (f"; dropped: {reasons}" if reasons else ""),
        hint=f"Give more text, or another --heldout than {heldout:g}." if sum(sides.values()) else "Give other text.",
    )
