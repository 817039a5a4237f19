"""Documents, drops and the funnel: the rows of a corpus folder, and how they are read."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from selftaught import console, storage
from selftaught.errors import InputError

FUNNEL_FILE, DROPS_FILE = "funnel.json", "drops.jsonl.zst"
SPLITS = ("train", "heldout")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text with where it came from; karma and the rest stay with it for ever."""

    id: str
    text: str
    url: str = ""
    """What the split is decided by: the page's address, or file#row of local text."""
    source: str = ""
    """The subreddit, or the local file."""
    title: str = ""
    karma: int | None = None
    date: str = ""
    language: str = ""
    """Code of its language (ISO 639-1) or `unknown`; what `corpus.cleaning` took it for."""

    @property
    def day(self) -> dt.date | None:
        """The day that its date begins with, or None."""
        try:
            return dt.date.fromisoformat(self.date[:10]) if self.date[4:5] == "-" else None
        except ValueError:
            return None


class Drop(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that did not become a document, and why; a Struct, since most rows become one."""

    id: str
    url: str
    stage: str
    reason: str
    of: str = ""
    """Of a duplicate: the document that stayed instead."""


@dataclass(frozen=True, kw_only=True)
class FunnelRow:
    """How many entered a stage (`reason` empty), left it (`kept`), or were dropped for a reason."""

    stage: str
    reason: str
    count: int


@dataclass
class Funnel:
    """Counts what happens to rows on their way through the stages."""

    drops: storage.Spool[Drop] = field(default_factory=lambda: storage.Spool(Drop))
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def load(cls, folder: Path) -> Funnel:
        """What the stages before counted and dropped; an empty funnel where the folder has none."""
        if not (folder / FUNNEL_FILE).is_file():
            return cls()
        counts = Counter({(row.stage, row.reason): row.count for row in read_funnel(folder)})
        return cls(storage.Spool(Drop, read_rows(folder / DROPS_FILE, Drop)), counts)

    def until(self, stage: str) -> Funnel:
        """The part of the funnel before a stage."""
        stages = list(dict.fromkeys(name for name, _ in self.counts))
        before = stages[: stages.index(stage)] if stage in stages else stages
        counts = Counter({key: count for key, count in self.counts.items() if key[0] in before})
        return Funnel(storage.Spool(Drop, (drop for drop in self.drops if drop.stage in before)), counts)

    def add(self, other: Funnel) -> None:
        """Take in what was counted and dropped elsewhere."""
        self.counts.update(other.counts)
        for drop in other.drops:
            self.drops.append(drop)

    def save(self, folder: Path) -> None:
        """Write drops and, last, the funnel into a folder."""
        self.drops.save(folder / DROPS_FILE)
        storage.write_json(folder / FUNNEL_FILE, self.rows())

    def enter(self, stage: str, count: int = 1) -> None:
        """Count rows that enter a stage."""
        self.counts[stage, ""] += count

    def keep(self, stage: str) -> None:
        """Count a row that leaves a stage."""
        self.counts[stage, "kept"] += 1

    def drop(self, stage: str, reason: str, *, id: str, url: str, of: str = "") -> None:  # noqa: A002 - the row's own field name
        """Count and keep one dropped row."""
        self.counts[stage, reason] += 1
        self.drops.append(Drop(id=id, url=url, stage=stage, reason=reason, of=of))

    def drop_all(self, drops: Sequence[Drop]) -> None:
        """Count and keep dropped rows of which there are many."""
        self.counts.update((drop.stage, drop.reason) for drop in drops)
        self.drops.extend(drops)

    def rows(self) -> list[FunnelRow]:
        """The funnel, stage after stage: entered, dropped by reason, kept."""
        stages = list(dict.fromkeys(stage for stage, _ in self.counts))

        def order(item: tuple[tuple[str, str], int]) -> tuple[int, int, int]:
            (stage, reason), count = item
            return stages.index(stage), {"": 0, "kept": 2}.get(reason, 1), -count

        return [
            FunnelRow(stage=stage, reason=reason, count=count)
            for (stage, reason), count in sorted(self.counts.items(), key=order)
        ]


def show_funnel(rows: Iterable[FunnelRow]) -> None:
    """Print the funnel as a table."""
    named = {"": "came in", "kept": "kept"}
    table = [
        (row.stage if row.reason == "" else "", named.get(row.reason, f"- {row.reason}"), row.count) for row in rows
    ]
    console.table(["stage", "", "count"], table)


def read_funnel(folder: Path) -> list[FunnelRow]:
    """The funnel of a corpus folder."""
    return storage.read_json(folder / FUNNEL_FILE, list[FunnelRow])


def split_file(folder: Path, split: str) -> Path:
    """Where one side of the split lies."""
    return folder / f"{split}.jsonl.zst"


def read(path: str | Path, split: str = "train") -> Iterator[Document]:
    """The documents of a corpus folder's side, or of one .jsonl file (also .gz, .zst), one at a time.

    Raises InputError if there are none at that place, with file and line if a row is not a document.
    """
    path = Path(path)
    return read_rows(split_file(path, split) if _is_corpus(path) else path, Document)


def read_rows(path: Path, kind: type[T]) -> Iterator[T]:
    """Rows of a JSON-lines file, checked against a dataclass. Raises DamagedFileError with file and line if a row is none."""
    decoder = msgspec.json.Decoder(kind)
    with storage.reading(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    row = decoder.decode(line)
                except (msgspec.DecodeError, ValueError):
                    row = storage.decode_json(line, kind, Path(f"{path}:{number}"))  # says what is wrong
                yield row


def count(path: str | Path, split: str = "train") -> int:
    """How many documents `read` yields."""
    path = Path(path)
    if _is_corpus(path) and (path / FUNNEL_FILE).is_file():
        return sum(row.count for row in read_funnel(path) if (row.stage, row.reason) == ("split", split))
    return sum(1 for _ in read(path, split))


def _is_corpus(path: Path) -> bool:
    if path.is_dir():
        require_corpus(path)
    return path.is_dir()


def require_corpus(folder: Path) -> None:
    """Raise InputError for what is not a corpus folder."""
    if not split_file(folder, "train").is_file():
        raise InputError(
            f"{folder} is not a corpus folder",
            expected="train.jsonl.zst",
            hint="Type: selftaught corpus local TEXT --out DIR",
        )
