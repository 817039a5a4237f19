"""The data card of a corpus: what came in, what was dropped and why, what the documents are, and what is not known of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from selftaught.corpus.documents import Document, FunnelRow
from selftaught.corpus.urls import domain_of

_SHOWN = 20
_KINDS = {"karma": "int64", "date": "date32"}
"""Types of the columns that hold no text, as Hugging Face writes them."""
_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
_SIZES = (
    *((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K")),
    *((10**6, "100K<n<1M"), (10**7, "1M<n<10M"), (10**8, "10M<n<100M")),
)
"""Size classes as Hugging Face writes them."""
_ORIGIN = (
    " Made by `selftaught corpus` after section 2.1 of the GPT-2 paper: text of pages that people linked to, or files."
)
_LICENCES = (
    "Unknown. Each text belongs to whoever wrote it; no licence was asked for or looked at, and none is given here. "
    "Personal data was not looked for and may be in it."
)


class Summary:
    """What is counted of documents as they go by."""

    def __init__(self) -> None:
        self.splits: Counter[str] = Counter()
        self.characters: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.hosts: Counter[str] = Counter()
        self.domains: Counter[str] = Counter()
        self.years: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.karma: Counter[int] = Counter()

    def add(self, row: Document, split: str) -> None:
        """Count one document."""
        self.splits[split] += 1
        self.characters[split] += len(row.text)
        self.languages[row.language or "not looked at"] += 1
        self.years[row.date[:4] or "unknown"] += 1
        self.sources[row.source or "unknown"] += 1
        host = urlsplit(row.url).netloc if "://" in row.url else ""
        if host:
            self.hosts[host] += 1
            self.domains[domain_of(row.url)] += 1
        if row.karma is not None:
            self.karma[row.karma] += 1


def card(name: str, summary: Summary, funnel: Iterable[FunnelRow], files: Sequence[tuple[str, str]]) -> str:
    """The card as Markdown with the YAML head that `datasets` reads; `files` are splits with the patterns of their files."""
    total = sum(summary.splits.values())
    return "\n".join(
        [
            *_head(summary, files, total),
            f"# {name}",
            "",
            f"{total:,} documents, {sum(summary.characters.values()):,} characters.{_ORIGIN}",
            "",
            *_table(
                "Splits",
                ("split", "documents", "characters"),
                ((split, count, summary.characters[split]) for split, count in summary.splits.items()),
            ),
            "## Licences",
            "",
            _LICENCES,
            "",
            *_table("Funnel", ("stage", "what", "count"), _funnel_rows(funnel)),
            *_table("Languages", ("language", "documents", "share"), _top(summary.languages, total)),
            *_table("Years of submission", ("year", "documents", "share"), _top(summary.years, total, by_name=True)),
            *_karma(summary.karma),
            *_table("Top domains", ("registered domain", "documents", "share"), _top(summary.domains, total)),
            *_table("Top hosts", ("host", "documents", "share"), _top(summary.hosts, total)),
            *_table("Top sources", ("subreddit or file", "documents", "share"), _top(summary.sources, total)),
        ]
    )


def _head(summary: Summary, files: Sequence[tuple[str, str]], total: int) -> list[str]:
    known = sorted(code for code in summary.languages if len(code) == 2)
    size = next((label for most, label in _SIZES if total < most), "n>100M")
    kinds = [(field.name, _KINDS.get(field.name, "string")) for field in dataclasses.fields(Document)]
    features = [line for name, kind in kinds for line in (f"  - name: {name}", f"    dtype: {kind}")]
    places = [line for split, pattern in files for line in (f"  - split: {split}", f"    path: {pattern}")]
    return [
        *("---", "license: unknown", *(["language:", *(f"- {code!r}" for code in known)] if known else [])),
        *("size_categories:", f"- {size}", "dataset_info:", "  features:", *features),
        *("configs:", "- config_name: default", "  data_files:", *places, "---", ""),
    ]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    made = [" | ".join(_cell(cell) for cell in row) for row in rows]
    if not made:
        return []
    head = f"| {' | '.join(columns)} |"
    rule = "|" + "---|" * len(columns)
    return [f"## {title}", "", head, rule, *(f"| {row} |" for row in made), ""]


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|").replace("\n", " ")


def _funnel_rows(funnel: Iterable[FunnelRow]) -> Iterable[tuple[str, str, int]]:
    said = {"": "came in", "kept": "kept"}
    return ((row.stage, said.get(row.reason, row.reason), row.count) for row in funnel)


def _top(counts: Counter[str], total: int, *, by_name: bool = False) -> list[tuple[str, int, str]]:
    chosen = sorted(counts.items()) if by_name else sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [(name, count, f"{count / total:.1%}") for name, count in (chosen if by_name else chosen[:_SHOWN])]
    if len(chosen) > len(rows):
        rest = sum(count for _, count in chosen[_SHOWN:])
        rows.append((f"{len(chosen) - _SHOWN:,} others", rest, f"{rest / total:.1%}"))
    return rows


def _karma(counts: Counter[int]) -> list[str]:
    if not counts:
        return []
    import numpy as np

    values = np.repeat(np.array(sorted(counts)), [counts[value] for value in sorted(counts)])
    row = [int(np.quantile(values, share, method="lower")) for share in _SHARES]
    return _table(
        "Karma", ("documents with karma", *(f"{share:.0%} have at most" for share in _SHARES)), [(len(values), *row)]
    )
