"""Intervals by resampling documents, since words of one document are not independent of one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


def ratio_difference(
    first: tuple[Sequence[float], Sequence[float]], second: tuple[Sequence[float], Sequence[float]], *, seed: int
) -> tuple[float, float]:
    """95 % interval of sum(a)/sum(b) of the first set of (a, b) less that of the second, sets being drawn independently."""
    draw = np.random.default_rng(seed)
    return _ends(_ratios(draw, *first) - _ratios(draw, *second))


def mean(values: Sequence[float], *, seed: int) -> tuple[float, float]:
    """95 % interval of a mean."""
    return _ends(_ratios(np.random.default_rng(seed), values, [1.0] * len(values)))


def _ratios(draw: np.random.Generator, above: Sequence[float], below: Sequence[float]) -> np.ndarray[Any, Any]:
    n = len(above)
    weights = draw.multinomial(n, [1 / n] * n, size=RESAMPLES)
    ratios: np.ndarray[Any, Any] = (weights @ np.asarray(above)) / (weights @ np.asarray(below))
    return ratios


def _ends(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
