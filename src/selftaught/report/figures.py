"""Figures as SVG: lines over linear or logarithmic axes, labelled where they end, with error bars.

Colours are the page's CSS variables, so that one drawing serves light, dark and paper. Every figure has one size: the page
lays out as many side by side as fit, and on a phone a figure is as wide as the screen without its letters shrinking.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from selftaught.report.axes import SMALLEST_RANGE, Axis, marks, short

WIDTH, HEIGHT = 380, 250
_LEFT, _TOP, _BOTTOM = 50, 26, 42
_NARROWEST_RIGHT = 26
_LETTER = 7.1
"""Mean width of a letter of a label, in the drawing's units."""
_LINE_HEIGHT = 15
_LONGEST_LABEL = 14
_COLOURS = 4


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measured point."""

    x: float
    y: float
    error: float = 0.0
    label: str = ""
    """Written above it where there is room."""
    title: str = ""
    """Shown when the pointer rests on it."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line."""

    points: Sequence[Point]
    label: str = ""
    """Written at its right end."""
    marks: bool = True
    """Whether points are drawn as dots."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    percent_x: bool = False
    percent_y: bool = False
    y_from_zero: bool = False
    x_ticks: Sequence[float] = ()
    """Where the x axis is marked; empty: at round numbers."""
    level: float | None = None
    """A dashed horizontal line, named `level_label`."""
    level_label: str = "chance"
    ordered: bool = False
    """Colours run from light to dark with the order of the series (sizes) instead of being unlike each other (kinds)."""
    dashed: bool = False
    """Each line has dashes of its own, for lines that may lie on each other."""
    note: str = ""


def draw(figure: Figure) -> str:
    """The figure as an SVG element; empty if there is nothing to draw."""
    points = [point for series in figure.series for point in series.points]
    if not points:
        return ""
    x, y = _axes(figure, points)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_description(figure), quote=True)}">',
        *_grid(figure, x, y),
        *(_level(figure, x, y) if figure.level is not None and y.low <= figure.level <= y.high else []),
    ]
    for number, series in enumerate(figure.series):
        parts += _line(series, _style(figure, number), x, y)
    if len(figure.series) == 1:
        parts += _values(figure.series[0], x, y)
    return "".join([*parts, *_names(figure, x, y), "</svg>"])


def spark(values: Sequence[float]) -> str:
    """A line of values the size of a word, for tables."""
    low, high = min(values), max(values)
    places = [
        (4 + 72 * n / max(len(values) - 1, 1), 20 - 16 * ((v - low) / (high - low) if high > low else 0.5))
        for n, v in enumerate(values)
    ]
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
    left, top = places[-1]
    return (
        f'<svg class="spark" viewBox="0 0 80 24" aria-hidden="true"><polyline class="line k1" points="{path}"/>'
        f'<circle class="dot k1" cx="{left:.1f}" cy="{top:.1f}" r="3.2"/></svg>'
    )


def _description(figure: Figure) -> str:
    """What a reader who cannot see the drawing is told."""
    told = []
    for series in figure.series:
        ends = series.points if len(series.points) <= 6 else (series.points[0], series.points[-1])
        values = ", ".join(f"{short(point.y)} at {short(point.x)}" for point in ends)
        told.append(f"{series.label}: {values}" if series.label else values)
    return f"{figure.title}. {figure.y_label} against {figure.x_label}. {'; '.join(told)}"


def _style(figure: Figure, number: int) -> str:
    """CSS classes of a series."""
    last = len(figure.series) - 1
    if figure.ordered:
        colour = f"o{1 + round((_COLOURS - 1) * number / last) if last else _COLOURS}"
    else:
        colour = f"k{number % _COLOURS + 1}"
    return f"{colour} d{number % _COLOURS + 1}" if figure.dashed else colour


def _axes(figure: Figure, points: list[Point]) -> tuple[Axis, Axis]:
    longest = max(
        [len(_cut(series.label)) for series in figure.series] + [len(figure.level_label) * (figure.level is not None)]
    )
    right = max(_NARROWEST_RIGHT, 10 + _LETTER * longest if longest else 0)
    x_low, x_high = _padded([point.x for point in points], log=figure.log_x, share=0.08 if figure.log_x else 0.0)
    return (
        Axis(x_low, x_high, (_LEFT, WIDTH - right), log=figure.log_x),
        Axis(*_y_range(figure, points), (HEIGHT - _BOTTOM, _TOP), log=figure.log_y),
    )


def _y_range(figure: Figure, points: list[Point]) -> tuple[float, float]:
    values = []
    for point in points:
        lowest = point.y - point.error
        values += [max(lowest, point.y / 2) if figure.log_y else lowest, point.y + point.error]
    if figure.level is not None:
        values.append(figure.level)
    low, high = _padded(values, log=figure.log_y, share=0.05)
    if figure.y_from_zero:
        low = 0.0
    if figure.percent_y:  # no room beyond 0 and 100 %, but for correlations below
        measured = [point.y for point in points]
        low, high = max(low, min(0.0, *measured)), min(high, max(1.0, *measured))
    return low, high


def _padded(values: list[float], *, log: bool, share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low < SMALLEST_RANGE:
        return (low / 2, high * 2) if log else (low - (abs(low) * 0.05 or 0.05), high + (abs(high) * 0.05 or 0.05))
    if log:
        factor = (high / low) ** share
        return low / factor, high * factor
    return low - share * (high - low), high + share * (high - low)


def _grid(figure: Figure, x: Axis, y: Axis) -> list[str]:
    left, right = x.ends
    bottom = y.ends[0]
    parts = []
    marked = marks(y.ticks(), percent=figure.percent_y)
    for tick in marked:
        place = y.place(tick)
        text = marked[tick]
        parts.append(f'<line class="grid" x1="{left}" x2="{right:.1f}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(_text("tick", left - 7, place + 4, text, "end"))
    parts.append(f'<line class="axis" x1="{left}" x2="{right:.1f}" y1="{bottom}" y2="{bottom}"/>')
    free = -math.inf
    below = marks(figure.x_ticks or x.ticks(), percent=figure.percent_x)
    for tick in below:
        place = x.place(tick)
        text = below[tick]
        parts.append(f'<line class="axis" x1="{place:.1f}" x2="{place:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        half = _LETTER * len(text) / 2
        if place - half > free:
            parts.append(_text("tick", place, bottom + 18, text, "middle"))
            free = place + half + 4
    parts.append(_text("name", (left + right) / 2, HEIGHT - 5, figure.x_label, "middle"))
    return parts


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _level(figure: Figure, x: Axis, y: Axis) -> list[str]:
    place = y.place(figure.level or 0.0)
    left, right = x.ends
    return [
        f'<line class="level" x1="{left}" x2="{right:.1f}" y1="{place:.1f}" y2="{place:.1f}"/>',
        _text("tick", right + 5, place + 4, figure.level_label),
    ]


def _line(series: Series, style: str, x: Axis, y: Axis) -> list[str]:
    places = [(x.place(point.x), y.place(point.y)) for point in series.points]
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
    parts = [f'<polyline class="line {style}" points="{path}"/>']
    if not series.marks and len(places) > 1:
        return parts
    for point, (left, top) in zip(series.points, places, strict=True):
        if point.error:
            high, low = y.place(point.y + point.error), y.place(point.y - point.error)
            low, high = min(low, y.ends[0]), max(high, y.ends[1])
            parts.append(
                f'<line class="bar {style}" x1="{left:.1f}" x2="{left:.1f}" y1="{high:.1f}" y2="{low:.1f}" '
                f'data-error="{point.error:.10g}"/>'
            )
        title = escape(point.title or f"{short(point.x)}: {short(point.y)}")
        parts.append(
            f'<circle class="dot {style}" cx="{left:.1f}" cy="{top:.1f}" r="4" data-x="{point.x:.10g}" '
            f'data-y="{point.y:.10g}"><title>{title}</title></circle>'
        )
    return parts


def _values(series: Series, x: Axis, y: Axis) -> list[str]:
    """Values above the points of a single line, where they do not touch each other."""
    parts, free = [], -math.inf
    for number, point in enumerate(series.points):
        half = _LETTER * len(point.label) / 2
        place = x.place(point.x) + _sideways(series.points, number, y) * half
        place = min(place, WIDTH - half)
        if point.label and place - half > free:
            top = max(y.place(point.y + point.error), y.ends[1])
            parts.append(_text("value", place, top - 7, point.label, "middle"))
            free = place + half + 3
    return parts


def _sideways(points: Sequence[Point], number: int, y: Axis) -> float:
    """How far a value moves right (left if negative) of its point, in half widths, to keep off a line that slopes there."""
    before, after = points[max(number - 1, 0)], points[min(number + 1, len(points) - 1)]
    slope = (y.place(after.y) - y.place(before.y)) / 60
    if number == 0:
        return min(max(slope, 0.0), 0.8)
    return min(max(slope, -0.8), 0.8)


def _names(figure: Figure, x: Axis, y: Axis) -> list[str]:
    """Names at the right ends of lines, moved apart where they would overlap."""
    named = [(y.place(one.points[-1].y), n, one) for n, one in enumerate(figure.series) if one.points and one.label]
    named.sort(key=lambda item: (item[0], item[1]))
    tops = _apart([top for top, _, _ in named], y.ends[0])
    return [
        _text(f"label {_style(figure, number)}", x.place(one.points[-1].x) + 8, top + 4, _cut(one.label))
        for top, (_, number, one) in zip(tops, named, strict=True)
    ]


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 2] + ".."


def _apart(tops: list[float], bottom: float) -> list[float]:
    """Sorted places, at least a line apart, none below `bottom` unless there is no room."""
    moved: list[float] = []
    for top in tops:
        moved.append(max(top, moved[-1] + _LINE_HEIGHT) if moved else top)
    if moved:
        moved[-1] = min(moved[-1], bottom)
    for number in reversed(range(len(moved) - 1)):
        moved[number] = min(moved[number], moved[number + 1] - _LINE_HEIGHT)
    return moved
