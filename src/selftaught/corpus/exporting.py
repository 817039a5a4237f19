"""A corpus folder as files that `datasets` and others load, with a card that says what is in it and what is not known of it.

OUT/README.md                            the card; its first lines tell `datasets` where the splits lie
OUT/data/train-00000-of-00004.parquet    a part of the documents, in order; or .jsonl.gz
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selftaught import console, storage
from selftaught.corpus import documents, parquet
from selftaught.corpus.card import Summary, card
from selftaught.corpus.documents import Document
from selftaught.corpus.ranges import require_least

CARD_FILE, DATA = "README.md", "data"
Format = Literal["parquet", "jsonl"]
_ENDINGS: dict[Format, str] = {"parquet": ".parquet", "jsonl": ".jsonl.gz"}


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How a corpus is exported."""

    format: Format = "parquet"
    """`parquet` (needs the extra `corpus`) or `jsonl` (gzip)."""
    documents_per_file: int = 100_000
    """Documents in one file."""
    name: str = "corpus"
    """Name of the data set on its card."""

    def __post_init__(self) -> None:
        """Refuse files that hold nothing."""
        require_least(self, 1, "documents_per_file")


def export_corpus(folder: str | Path, out: str | Path, settings: ExportSettings | None = None) -> list[Path]:
    """Write a corpus folder to `out` as Parquet or JSON lines with a data card. Returns the files of data."""
    folder, out, rules = Path(folder), Path(out), settings or ExportSettings()
    summary, made = Summary(), list[Path]()
    for split in documents.SPLITS:
        total = documents.count(folder, split)
        parts = max(1, -(-total // rules.documents_per_file))
        with console.progress(f"exporting {split}", total, unit="documents") as bar:
            rows = _seen(documents.read(folder, split), split, summary, bar)
            for number in range(parts):
                path = out / DATA / f"{split}-{number:05}-of-{parts:05}{_ENDINGS[rules.format]}"
                _write(path, itertools.islice(rows, rules.documents_per_file))
                made.append(path)
    patterns = [(split, f"{DATA}/{split}-*{_ENDINGS[rules.format]}") for split in documents.SPLITS]
    storage.write_text(out / CARD_FILE, card(rules.name, summary, documents.read_funnel(folder), patterns))
    return made


def _seen(rows: Iterable[Document], split: str, summary: Summary, bar: console.Bar) -> Iterator[Document]:
    for row in rows:
        summary.add(row, split)
        bar.advance()
        yield row


def _write(path: Path, rows: Iterator[Document]) -> None:
    if path.suffix == ".parquet":
        parquet.write_rows(path, rows)
    else:
        storage.write_jsonl(path, map(_with_day, rows))


def _with_day(row: Document) -> dict[str, Any]:
    """A row whose date is a day or is not there, so that readers that guess types take all of them for days."""
    named = dataclasses.asdict(row)
    del named["date"]
    return named if row.day is None else {**named, "date": row.day.isoformat()}
