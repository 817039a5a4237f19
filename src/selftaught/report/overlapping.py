"""Overlap with the training text: table 6 beside the paper's values, and scores on examples with and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selftaught.report import published
from selftaught.report.overlap_records import Overlap, OverlapSplit
from selftaught.report.trends import TITLES, formatted, metric_name

TABLE_6_COLUMNS = ("data set", "8-grams", "in the corpus", "paper: in WebText", "in its own text", "paper: own train")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table."""

    cells: tuple[str, ...]


def table_6(rows: Sequence[Overlap]) -> list[Line]:
    """Data sets that the paper's table has, ours beside the paper's, in its order, and the mean of each column."""
    lines = []
    shares: list[list[float]] = [[], [], [], []]
    for name, title in published.TABLE_6_NAMES.items():
        found = [row for row in rows if row.name == name]
        corpus = next((row for row in found if row.against in ("train", "index")), None)
        own = next((row for row in found if row.against.startswith("own ")), None)
        if corpus is None:
            continue
        values = (
            corpus.share,
            published.OVERLAP_WITH_WEBTEXT[title],
            own.share if own else None,
            published.OVERLAP_WITH_OWN_TEXT[title],
        )
        for column, value in zip(shares, values, strict=True):
            if value is not None:
                column.append(value)
        beside = f" ({own.against.removeprefix('own ')})" if own and own.against != "own train" else ""
        cells = [_per_cent(value) for value in values]
        lines.append(Line(cells=(title, f"{corpus.ngrams:,}", *cells[:2], cells[2] + beside, cells[3])))
    if lines:
        means = [_per_cent(sum(column) / len(column) if column else None) for column in shares]
        lines.append(Line(cells=("mean", "", *means)))
    return lines


def split_columns(models: Sequence[str]) -> tuple[str, ...]:
    """Heads of `split_lines`."""
    return ("task", "", "examples", "of them", *models)


def split_lines(splits: Sequence[OverlapSplit], models: Sequence[str]) -> list[Line]:
    """Two lines for each metric: what each model reaches on examples without overlap, and on the others."""
    lines = []
    for task, metric in dict.fromkeys((one.task, one.metric) for one in splits):
        of = {one.model: one for one in splits if (one.task, one.metric) == (task, metric)}
        first = next(iter(of.values()))
        without = [_half(metric, of[name].without) if name in of else "" for name in models]
        within = [_half(metric, of[name].within) if name in of else "" for name in models]
        title = (TITLES.get(task, task), metric_name(metric))
        lines.append(Line(cells=(*title, "without overlap", f"{first.without_n:,}", *without)))
        lines.append(Line(cells=("", "", "with overlap", f"{first.within_n:,}", *within)))
    return lines


def _half(metric: str, value: float | None) -> str:
    return "" if value is None else formatted(value, metric)


def _per_cent(value: float | None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.2f} %" if not 0 < value < 0.0005 else f"{100 * value:.4f} %"
