"""The axes of a figure: where a value lies on them, round numbers along them, and how those are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

SMALLEST_RANGE = 1e-9
"""Values that differ by less are drawn as equal."""


class Axis:
    """Maps values to a stretch of the drawing."""

    def __init__(self, low: float, high: float, ends: tuple[float, float], *, log: bool = False) -> None:
        self.low, self.high, self.ends, self.log = low, high, ends, log

    def place(self, value: float) -> float:
        """Where a value lies in the drawing."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        share = (self._scaled(value) - low) / (high - low) if high > low else 0.5
        return self.ends[0] + share * (self.ends[1] - self.ends[0])

    def _scaled(self, value: float) -> float:
        return math.log(max(value, self.low / 10)) if self.log else value

    def ticks(self) -> list[float]:
        """Round numbers along the axis."""
        if not self.log:
            return nice_ticks(self.low, self.high)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        inside = [f * 10.0**p for p in powers for f in (1, 2, 5) if self.low <= f * 10.0**p <= self.high]
        tens = [tick for tick in inside if math.log10(tick).is_integer()]
        if len(tens) >= 3:
            return tens[:: 1 + len(tens) // 10]
        return inside if len(inside) >= 3 else nice_ticks(self.low, self.high, 4)


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between low and high, about so many."""
    if high - low < SMALLEST_RANGE:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def marks(ticks: Sequence[float], *, percent: bool = False) -> dict[float, str]:
    """Ticks with their texts, all with equally many decimals where they are small."""
    scaled = [tick * 100 if percent else tick for tick in ticks]
    if any(value >= 1000 for value in scaled):
        return {tick: short(tick) for tick in ticks}
    decimals = next((d for d in range(4) if all(math.isclose(round(v, d), v, abs_tol=1e-9) for v in scaled)), 4)
    return {tick: f"{value:.{decimals}f}{' %' if percent else ''}" for tick, value in zip(ticks, scaled, strict=True)}


def short(value: float) -> str:
    """A number in few characters: 1.2M, 350k, 0.25."""
    for size, sign in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{sign}"
    return f"{value:.3g}"
