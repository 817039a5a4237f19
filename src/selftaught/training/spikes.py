"""Losses that leap: seen against those just before."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

WINDOW, FEWEST = 50, 20
"""Losses that a spike is seen against, and how many there must be."""
MOST_IN_A_ROW = 10
"""Steps left out one after another before training counts as diverged."""


def limit(recent: Sequence[float], deviations: float) -> float:
    """The largest loss that is no spike: so many standard deviations above the mean of recent ones; 0 looks for none.

    While losses fall fast their spread is wide, so that little counts as a spike then.
    """
    if not deviations or len(recent) < FEWEST:
        return math.inf
    return statistics.fmean(recent) + deviations * statistics.pstdev(recent)
