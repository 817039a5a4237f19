"""The page's figures, from what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from selftaught.report.collecting import Material
from selftaught.report.figures import Figure, Point, Series
from selftaught.report.overlap_records import Overlap
from selftaught.report.records import LearningPoint, Score
from selftaught.report.trends import CHANCE, Trend, formatted, is_share, lower_is_better, metric_name, trends

_POINTS_PER_DECADE = 12
"""Of a curve of training loss."""
_WIDE_RANGE = 4.0
"""A perplexity that changes by more than this factor is drawn on a logarithmic axis."""
_SECONDARY = frozenset(("accuracy_full", "accuracy_last_token"))


def size_figures(found: Sequence[Trend]) -> list[Figure]:
    """Each task's score against the number of parameters (GPT-2 paper, figure 1), if more than one size was measured."""
    return [
        _size_figure(trend)
        for trend in found
        if trend.task not in ("train", "heldout") or (trend.task, trend.metric) == ("heldout", "bits_per_byte")
        if trend.metric not in _SECONDARY and len(trend.scores) > 1
    ]


def _size_figure(trend: Trend) -> Figure:
    values = [score.value for score in trend.scores]
    scale = trend.metric == "perplexity" and max(values) > _WIDE_RANGE * min(values) > 0
    items = f"{trend.scores[0].n:,} items" if trend.scores[0].n > 1 else "one text"
    direction = "lower is better" if lower_is_better(trend.metric) else "higher is better"
    return Figure(
        title=trend.title,
        x_label="parameters",
        y_label=f"{metric_name(trend.metric)}, {direction}",
        log_x=True,
        log_y=scale,
        percent_y=is_share(trend.metric),
        level=CHANCE.get(trend.task) if is_share(trend.metric) else None,
        x_ticks=_sizes(trend.scores),
        series=[Series(points=[_point(score) for score in trend.scores])],
        note=f"{items}{'; ' + trend.verdict if trend.verdict else ''}",
    )


def _sizes(scores: Sequence[Score]) -> list[float]:
    return [float(number) for number in sorted({score.parameters for score in scores})]


def _point(score: Score) -> Point:
    value = formatted(score.value, score.metric)
    error = f" ± {formatted(score.error, score.metric)}" if score.error else ""
    return Point(
        x=score.parameters,
        y=score.value,
        error=score.error,
        label=value.removesuffix(" %"),
        title=f"{score.model}: {value}{error}",
    )


def loss_figures(material: Material) -> list[Figure]:
    """Training and held-out text against size (GPT-2 paper, figure 4), and the learning curves."""
    drawn = [*(_train_heldout(material, metric) for metric in ("bits_per_byte", "perplexity")), *_learning(material)]
    return [figure for figure in drawn if figure is not None]


def _train_heldout(material: Material, metric: str) -> Figure | None:
    """Without error bars: those of the two texts come from different documents and would hide the distance of the lines."""
    found = {trend.task: trend for trend in trends(material.scores) if trend.metric == metric}
    if not {"train", "heldout"} <= found.keys() or len(found["heldout"].scores) < 2:
        return None
    series = [
        Series(label=label, points=[_point(score) for score in found[task].scores])
        for task, label in (("heldout", "held out"), ("train", "train"))
    ]
    bare = [
        Series(label=one.label, points=[Point(x=p.x, y=p.y, title=f"{one.label}, {p.title}") for p in one.points])
        for one in series
    ]
    unit = "perplexity per token" if metric == "perplexity" else metric_name(metric)
    return Figure(
        title="Training and held-out text",
        x_label="parameters",
        y_label=f"{unit}, lower is better",
        log_x=True,
        x_ticks=_sizes(found["heldout"].scores),
        series=bare,
    )


def _learning(material: Material) -> list[Figure | None]:
    order = sorted(material.curves, key=lambda name: (_parameters(material, name), name))
    training = {n: _smoothed([Point(x=p.tokens, y=p.loss) for p in material.curves[n]]) for n in order}
    heldout = {n: [Point(x=p.tokens, y=y) for p in material.curves[n] if (y := _heldout(p))] for n in order}
    return [
        _curves("Learning curves, training text", "mean loss in nats per token", training),
        _curves("Learning curves, held-out text", "bits per byte", heldout),
    ]


def _heldout(point: LearningPoint) -> float:
    return point.heldout_bits_per_byte or 0.0


def _parameters(material: Material, name: str) -> float:
    """Size of a trained model: as evaluated, or else by how fast it trained, since larger ones are slower."""
    known = {score.model: score.parameters for score in material.scores}
    if name in known:
        return known[name]
    rows = material.curves[name]
    return 1 / max(rows[-1].tokens_per_second, 1e-9) if rows else 0.0


def _curves(title: str, unit: str, curves: dict[str, list[Point]]) -> Figure | None:
    series = [Series(label=name, marks=False, points=points) for name, points in curves.items() if points]
    if not series:
        return None
    return Figure(
        title=title,
        x_label="tokens trained on",
        y_label=f"{unit}, lower is better",
        log_x=True,
        ordered=True,
        series=series,
    )


def _smoothed(points: list[Point]) -> list[Point]:
    """Means of neighbours, as many to a point as there are in a twelfth of a decade of tokens.

    On a logarithmic axis the noise of single rows would otherwise fill the right end of the drawing.
    """
    groups: dict[int, list[Point]] = {}
    for point in points:
        groups.setdefault(math.floor(_POINTS_PER_DECADE * math.log10(max(point.x, 1))), []).append(point)
    return [
        Point(x=math.exp(sum(math.log(max(p.x, 1)) for p in g) / len(g)), y=sum(p.y for p in g) / len(g))
        for _, g in sorted(groups.items())
    ]


def overlap_figure(overlaps: Sequence[Overlap]) -> Figure | None:
    """Share of texts whose overlap with the training text is at most x (GPT-2 paper, figure 5)."""
    shown = [overlap for overlap in overlaps if overlap.against == "train" and overlap.by_document]
    if not shown:
        return None
    samples = [overlap for overlap in shown if overlap.name.startswith("samples ")]
    chosen = [overlap for overlap in shown if overlap not in samples][:2] + samples[:1] + samples[1:][-1:]
    return cumulated_figure(
        [(overlap_name(overlap.name), overlap.by_document) for overlap in chosen],
        title="How much of a text stands in the training text",
        x_label="share of a text's 8-grams found",
        y_label="share of texts with at most that much",
        most=1.0,
    )


def cumulated_figure(
    named: Sequence[tuple[str, Sequence[float]]], *, title: str, x_label: str, y_label: str, most: float = 0.0
) -> Figure:
    """Cumulative distributions of shares, a line each, up to the largest of them all, or further to `most`."""
    most = max(most, *(share for _, shares in named for share in shares))
    return Figure(
        title=title,
        x_label=x_label,
        y_label=y_label,
        percent_x=True,
        percent_y=True,
        y_from_zero=True,
        dashed=True,
        series=[
            Series(label=name, marks=False, points=[*_cumulated(shares), Point(x=most, y=1.0)])
            for name, shares in named
        ],
    )


def overlap_name(name: str) -> str:
    """The name of an overlap's text in words."""
    return {"heldout": "held out"}.get(name, name.removeprefix("samples "))


def _cumulated(values: Sequence[float]) -> list[Point]:
    """The steps of a cumulative distribution."""
    points = [Point(x=0.0, y=0.0)]
    for number, value in enumerate(sorted(values), start=1):
        points += [Point(x=value, y=(number - 1) / len(values)), Point(x=value, y=number / len(values))]
    return points
