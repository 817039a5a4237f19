"""Training against held-out perplexity by size (GPT-2 paper, figure 4), which tells whether models still underfit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import variance

from selftaught.report.figures import Figure, Point, Series
from selftaught.report.memorization import Line
from selftaught.report.overlap_records import Difference, DocumentLoss, Memorization

_SMALL_GAP = 0.1
"""Nats per token: held-out perplexity at most a tenth higher (figure 4 shows about as much for the largest model)."""
_STANDARD_ERRORS = 1.96


GAP_COLUMNS = ("training", "held out", "held out / training", "95 % interval")


def gap_lines(found: Sequence[Memorization]) -> list[Line]:
    """Perplexities per token on both sides and their ratio."""
    return [Line(model=one.model, parameters=one.parameters, cells=_gap_cells(one)) for one in found]


def _gap_cells(one: Memorization) -> tuple[str, ...]:
    gap = one.gap
    return (
        f"{math.exp(gap.train):,.2f}",
        f"{math.exp(gap.heldout):,.2f}",
        f"{math.exp(gap.value):.3f}",
        f"{math.exp(gap.low):.3f} to {math.exp(gap.high):.3f}",
    )


def gap_words(one: Memorization) -> str:
    """Whether the model is still underfitting, in words."""
    train, heldout, ratio, interval = _gap_cells(one)
    gap = one.gap
    if gap.low > 0:
        verdict = "it predicts what it was trained on better"
    elif gap.high < _SMALL_GAP:
        verdict = "no sign that it knows its training text by heart: it is still underfitting"
    else:
        verdict = "too few documents, or too unlike, to say whether it knows its training text by heart"
    return (
        f"Perplexity per token {train} on {len(gap.train_documents)} training documents, {heldout} on "
        f"{len(gap.heldout_documents)} held-out ones, ratio {ratio} (95 %: {interval}): {verdict}."
    )


def gap_figures(found: Sequence[Memorization]) -> list[Figure]:
    """How much higher held-out loss is, against size, with its interval."""
    return [_gap_figure(found)] if len(found) > 1 else []


def _gap_figure(found: Sequence[Memorization]) -> Figure:
    return Figure(
        title="Held-out loss less training loss",
        x_label="parameters",
        y_label="nats per token; bars: 95 % interval over documents",
        log_x=True,
        x_ticks=[float(number) for number in sorted({one.parameters for one in found})],
        series=[
            Series(
                points=[
                    Point(
                        x=one.parameters,
                        y=one.gap.value,
                        error=(one.gap.high - one.gap.low) / 2,
                        label=f"{one.gap.value:.3f}",
                        title=f"{one.model}: {one.gap.value:.3f} ({one.gap.low:.3f} to {one.gap.high:.3f})",
                    )
                    for one in found
                ]
            )
        ],
        note=change_words(found),
    )


def gap_change(found: Sequence[Memorization]) -> Difference | None:
    """How much larger the gap of the largest model is than the smallest's, where both read the same documents.

    Documents are as easy or as hard for both, so that the interval is much narrower than those of the gaps. It is reckoned
    from the residuals of each document (the delta method for a difference of ratios).
    """
    if len(found) < 2:
        return None
    small, large = found[0].gap, found[-1].gap
    total = 0.0
    for before, after in (
        (small.train_documents, large.train_documents),
        (small.heldout_documents, large.heldout_documents),
    ):
        if len(before) < 2 or [one.document for one in before] != [one.document for one in after]:
            return None
        residuals = [two - one for one, two in zip(_residuals(before), _residuals(after), strict=True)]
        total += variance(residuals) / len(residuals)
    half, value = _STANDARD_ERRORS * math.sqrt(total), large.value - small.value
    return Difference(value=value, low=value - half, high=value + half)


def _residuals(losses: Sequence[DocumentLoss]) -> list[float]:
    """How far each document's loss lies from the mean per token, in units of the mean length."""
    tokens = sum(one.tokens for one in losses)
    mean = sum(one.nats for one in losses) / tokens
    return [(one.nats - mean * one.tokens) * len(losses) / tokens for one in losses]


def change_words(found: Sequence[Memorization]) -> str:
    """The same in words; empty for a single model."""
    change = gap_change(found)
    if change is None:
        return ""
    sure = "is larger" if change.low > 0 else "is smaller" if change.high < 0 else "is not surely another"
    return (
        f"The gap of {found[-1].model} {sure} than that of {found[0].model} on the same documents: "
        f"{change.value:+.3f} nats per token (95 %: {change.low:+.3f} to {change.high:+.3f})."
    )
