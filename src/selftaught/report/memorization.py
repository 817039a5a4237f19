"""The page's section on memorisation: tables and figures of what `selftaught memorize` measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from selftaught.report.charts import cumulated_figure
from selftaught.report.figures import Figure, Point, Series
from selftaught.report.overlap_records import CopiedSpan, Memorization, Overlap, Passage, Recall

PAPER_MEDIAN_REAL, PAPER_NONE, PAPER_LITTLE = 0.026, 0.30, 0.01
"""GPT-2 paper, figure 5 and section 8: median overlap of real text; over 30 % of samples have none; most have less than 1 %."""
_MOST_COPIES = 8
_MOST_CONTEXTS = 3


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of a table."""

    model: str
    parameters: int
    cells: tuple[str, ...]


def _ends(found: Sequence[Memorization]) -> list[Memorization]:
    """The smallest and the largest model, or the only one."""
    return [*found[:1], *found[1:][-1:]]


SHARE_COLUMNS = ("text", "documents", "mean", "median", "90 % below", "none found", "under 1 %")


def share_lines(found: Sequence[Memorization]) -> list[Line]:
    """Figure 5 as a table: shares of 8-grams found in the training text, over documents."""
    return [
        Line(model=one.model, parameters=one.parameters, cells=_share_cells(share))
        for one in found
        for share in one.shares
    ]


def _share_cells(share: Overlap) -> tuple[str, ...]:
    values = sorted(share.by_document)
    none, little = (sum(value <= 0 for value in values), sum(value < PAPER_LITTLE for value in values))
    high = values[min(len(values) - 1, math.ceil(0.9 * len(values)) - 1)]
    shares = (fmean(values), median(values), high, none / len(values), little / len(values))
    return (share.name, f"{len(values):,}", *(f"{100 * value:.2f} %" for value in shares))


def difference_words(one: Memorization) -> str:
    """Whether samples overlap more than real text, with the interval."""
    more = one.more_copied
    interval = f"by document {100 * more.value:+.2f} points (95 %: {100 * more.low:+.2f} to {100 * more.high:+.2f})"
    if more.low <= 0 <= more.high:
        return (
            f"Samples of {one.model} and real continuations do not differ in how much they share with the training text, "
            f"as far as these documents tell: {interval}."
        )
    sure = "more" if more.low > 0 else "less"
    return f"Samples of {one.model} share {sure} with the training text than real continuations do: {interval}."


def share_figure(found: Sequence[Memorization]) -> Figure | None:
    """Share of documents whose overlap is at most x: real continuations, samples of the smallest and of the largest model."""
    if not found:
        return None
    ends = _ends(found)
    return cumulated_figure(
        [("real", ends[-1].shares[0].by_document), *((one.model, one.shares[1].by_document) for one in ends)],
        title="Continuations of held-out text",
        x_label="share of 8-grams in the training text",
        y_label="share of continuations with at most that much",
    )


RECALL_COLUMNS = (
    "held by documents",
    "prompts",
    "nats/token",
    "greedy: median",
    "longest",
    "drawn: median",
    "longest",
    "never left",
)
"""Lengths are tokens that agree with the text before the continuation leaves it."""


def recall_lines(found: Sequence[Memorization]) -> list[Line]:
    """How far continuations follow the text, by how many training documents hold the prompt."""
    rows = []
    for one in found:
        groups: dict[int, list[Passage]] = {}
        for passage in one.passages:
            groups.setdefault(passage.documents.bit_length(), []).append(passage)
        rows += [
            Line(model=one.model, parameters=one.parameters, cells=_recall_cells(group)) for group in groups.values()
        ]
    return rows


def _recall_cells(group: Sequence[Passage]) -> tuple[str, ...]:
    low, high = min(one.documents for one in group), max(one.documents for one in group)
    recalls = [recall for one in group for recall in one.recalls]
    greedy = [recall for recall in recalls if recall.settings.startswith("greedy")]
    drawn = [recall for recall in recalls if recall not in greedy]
    return (
        "0 (unseen)" if high == 0 else f"{low}" if low == high else f"{low} to {high}",
        f"{len(group)}",
        f"{fmean(one.nats_per_token for one in group):.2f}",
        *_lengths(greedy),
        *_lengths(drawn),
        f"{sum(not recall.left for recall in recalls)} of {len(recalls)}",
    )


def _lengths(recalls: Sequence[Recall]) -> tuple[str, str]:
    lengths = [recall.tokens for recall in recalls]
    return (f"{median(lengths):g}", f"{max(lengths)}") if lengths else ("", "")


def recall_figure(found: Sequence[Memorization]) -> Figure | None:
    """Tokens that greedy continuations follow the text, against the number of documents that hold the prompt."""
    series = []
    for one in found:
        groups: dict[int, list[float]] = {}
        for passage in one.passages:
            lengths = [float(recall.tokens) for recall in passage.recalls if recall.settings.startswith("greedy")]
            if passage.documents:
                groups.setdefault(passage.documents.bit_length(), []).extend(lengths)
        points = [
            Point(x=2.0 ** (band - 1), y=fmean(group), title=f"{one.model}: {fmean(group):.1f} tokens")
            for band, group in sorted(groups.items())
        ]
        series.append(Series(label=one.model, points=points))
    if not any(len(one.points) > 1 for one in series):
        return None
    ticks = sorted({point.x for one in series for point in one.points})
    return Figure(
        title="Prompts from the training text, continued greedily",
        x_label="documents that hold the prompt (at least)",
        y_label="mean tokens until the text is left",
        log_x=True,
        y_from_zero=True,
        ordered=True,
        x_ticks=ticks,
        series=series,
    )


DIVERSITY_COLUMNS = ("context of", "drawn", "distinct-1", "-2", "-3", "-4", "self-BLEU")


def diversity_lines(found: Sequence[Memorization]) -> list[Line]:
    """Distinct n-grams and self-BLEU of several continuations of one context."""
    return [
        Line(
            model=one.model,
            parameters=one.parameters,
            cells=(
                row.document,
                f"{len(row.completions)}",
                *(f"{value:.3f}" for value in row.distinct),
                f"{row.self_bleu:.3f}",
            ),
        )
        for one in found
        for row in one.diversity
    ]


def longest_copies(found: Sequence[Memorization]) -> list[CopiedSpan]:
    """The longest stretches that samples share with the training text, of all models."""
    spans = [span for one in found for span in one.copies if span.name.startswith("samples ")]
    return sorted(spans, key=lambda span: -span.words)[:_MOST_COPIES]


def place_words(span: CopiedSpan) -> str:
    """Where a copied stretch stands in the corpus."""
    return f"from {span.url or span.document} at word {span.position:,}"


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """One context with what really follows and what models wrote (tables 7 to 11)."""

    context: str
    texts: tuple[tuple[str, str], ...]
    """Title and text of each column."""


def side_by_side(found: Sequence[Memorization]) -> list[SideBySide]:
    """Contexts that the smallest and the largest model both continued, or the only one did; the first ones, not the best."""
    ends = _ends(found)
    if not ends:
        return []
    rows = []
    for number, row in enumerate(ends[-1].continued):
        same = [one.continued[number] for one in ends if number < len(one.continued)]
        if len(same) == len(ends) and all(other.context == row.context for other in same):
            columns = [(f"real, {100 * row.real_share:.1f} % found", row.real)]
            columns += [
                (f"{one.model}, {100 * other.drawn_share:.1f} % found", other.drawn)
                for one, other in zip(ends, same, strict=True)
            ]
            rows.append(SideBySide(context=row.context, texts=tuple(columns)))
    return rows[:_MOST_CONTEXTS]


def completions(found: Sequence[Memorization]) -> list[SideBySide]:
    """Several continuations of one context by the largest model (table 12)."""
    return [
        SideBySide(context=row.context, texts=tuple((f"{n}", text) for n, text in enumerate(row.completions, start=1)))
        for row in (found[-1].diversity[:1] if found else ())
    ]


def recalled(found: Sequence[Memorization]) -> list[SideBySide]:
    """The most frequent prompts as the largest model continues them, beside the text."""
    rows = []
    for passage in [one for one in found[-1].passages if one.documents > 1][:_MOST_CONTEXTS] if found else []:
        columns = [(f"the text ({passage.documents} documents)", passage.following)]
        columns += [
            (f"{recall.settings.partition(', seed')[0]}, {recall.tokens} tokens with the text", recall.text)
            for recall in passage.recalls[:2]
        ]
        rows.append(SideBySide(context=passage.prompt, texts=tuple(columns)))
    return rows


def all_figures(found: Sequence[Memorization]) -> list[Figure]:
    """What can be drawn of the measurements."""
    drawn = (share_figure(found), recall_figure(found))
    return [figure for figure in drawn if figure is not None]
