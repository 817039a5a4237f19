"""Figures as SVG: lines over a linear or logarithmic axis, labelled where they end, with error bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 74, 14, 44
_LINE_HEIGHT = 15


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measured point."""

    x: float
    y: float
    error: float = 0.0
    title: str = ""
    """Shown when the pointer rests on it."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line."""

    label: str
    points: Sequence[Point]
    marks: bool = True
    """Whether points are drawn as dots."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure; `chance` draws a dashed level with its name."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    percent: bool = False
    y_from_zero: bool = False
    chance: float | None = None
    note: str = field(default="")


class _Axis:
    """Maps values to a stretch of the drawing."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool) -> None:
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def place(self, value: float) -> float:
        change = math.log if self.log else float
        low, high = change(self.low), change(self.high)
        share = (change(value) - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        if not self.log:
            return nice_ticks(self.low, self.high)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        steps = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
        inside = [step for step in steps if self.low <= step <= self.high]
        tens = [step for step in inside if math.log10(step).is_integer()]
        return tens if len(tens) >= 3 else inside


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between low and high, about so many."""
    if high <= low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number in few characters: 1.2M, 350k, 0.25."""
    for size, sign in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{sign}"
    return f"{value:.3g}"


def draw(figure: Figure) -> str:
    """The figure as an SVG element."""
    points = [point for series in figure.series for point in series.points]
    if not points:
        return ""
    x, y = _axes(figure, points)
    words = escape(f"{figure.title}: {figure.y_label} against {figure.x_label}", quote=True)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">',
        *_grid(figure, x, y),
        *(_level(figure.chance, y) if figure.chance is not None and y.low <= figure.chance <= y.high else []),
    ]
    for number, series in enumerate(figure.series):
        parts += _line(series, number % 4 + 1, x, y, percent=figure.percent)
    parts += _labels(figure.series, x, y)
    return "".join([*parts, "</svg>"])


def _axes(figure: Figure, points: list[Point]) -> tuple[_Axis, _Axis]:
    xs = [point.x for point in points]
    lows, highs = [point.y - point.error for point in points], [point.y + point.error for point in points]
    if figure.chance is not None:
        lows.append(figure.chance)
    low, high = min(lows), max(highs)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    bottom = 0.0 if figure.y_from_zero else low - room
    if figure.percent:
        bottom, high = max(0.0, bottom), min(high, 1.0)
    left, right = min(xs), max(xs)
    if figure.log_x:
        left, right = left / 1.2, right * 1.2
    if left == right:
        left, right = left - 1, right + 1
    horizontal = _Axis(left, right, _LEFT, WIDTH - _RIGHT, log=figure.log_x)
    return horizontal, _Axis(bottom, high + room, HEIGHT - _BOTTOM, _TOP, log=False)


def _grid(figure: Figure, x: _Axis, y: _Axis) -> list[str]:
    parts = []
    for tick in y.ticks():
        place = y.place(tick)
        text = f"{tick * 100:.3g} %" if figure.percent else short(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 7}" y="{place + 4:.1f}" text-anchor="end">{text}</text>')
    bottom = HEIGHT - _BOTTOM
    for tick in x.ticks():
        place = x.place(tick)
        parts.append(f'<line class="axis" x1="{place:.1f}" x2="{place:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="tick" x="{place:.1f}" y="{bottom + 18}" text-anchor="middle">{short(tick)}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(
        f'<text class="name" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(figure.x_label)}</text>'
    )
    return parts


def _level(value: float, y: _Axis) -> list[str]:
    place = y.place(value)
    return [
        f'<line class="chance" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>',
        f'<text class="tick" x="{WIDTH - _RIGHT + 6}" y="{place + 4:.1f}">chance</text>',
    ]


def _line(series: Series, colour: int, x: _Axis, y: _Axis, *, percent: bool) -> list[str]:
    places = [(x.place(point.x), y.place(point.y)) for point in series.points]
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
    parts = [f'<polyline class="line c{colour}" points="{path}"/>']
    if not series.marks:
        return parts
    for point, (left, top) in zip(series.points, places, strict=True):
        if point.error:
            high, low = y.place(point.y + point.error), y.place(point.y - point.error)
            parts.append(
                f'<line class="bar c{colour}" x1="{left:.1f}" x2="{left:.1f}" y1="{high:.1f}" y2="{low:.1f}"/>'
            )
        value = f"{point.y:.2%}" if percent else f"{point.y:.4g}"
        title = escape(point.title or f"{short(point.x)}: {value}")
        parts.append(
            f'<circle class="dot c{colour}" cx="{left:.1f}" cy="{top:.1f}" r="4" data-x="{point.x:.10g}" data-y="{point.y:.10g}">'
            f"<title>{title}</title></circle>"
        )
    return parts


def _labels(series: Sequence[Series], x: _Axis, y: _Axis) -> list[str]:
    """Names at the right ends of lines, moved apart where they would overlap."""
    named = [(y.place(one.points[-1].y), number, one) for number, one in enumerate(series) if one.points and one.label]
    places: dict[int, float] = {}
    last = -math.inf
    for top, number, _ in sorted(named):
        last = max(top, last + _LINE_HEIGHT)
        places[number] = last
    overflow = max(0.0, last - (HEIGHT - _BOTTOM)) if places else 0.0
    return [
        f'<text class="label c{number % 4 + 1}" x="{x.place(one.points[-1].x) + 9:.1f}" y="{places[number] - overflow + 4:.1f}">'
        f"{escape(one.label)}</text>"
        for _, number, one in named
    ]
