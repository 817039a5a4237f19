"""Numbers from answers, each with its standard error."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from selftaught import compute

T = TypeVar("T")
RESAMPLES = 200
"""Of a bootstrap: its standard error is then within about a twentieth."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A number, its standard error, and how many items it averages over."""

    value: float
    error: float
    n: int


def accuracy(right: Sequence[bool]) -> Mark:
    """Share of right answers; the error is the binomial one."""
    n = len(right)
    share = sum(right) / n if n else 0.0
    return Mark(value=share, error=math.sqrt(share * (1 - share) / n) if n else 0.0, n=n)


def mean(values: Sequence[float]) -> Mark:
    """The mean of some values; the error is that of a mean."""
    return ratio(values, [1] * len(values))


def grouped(sums: Sequence[float], counts: Sequence[int]) -> Mark:
    """The mean over the items of several groups, given the sum of each; items of a group are not independent, groups are."""
    found = ratio(sums, counts)
    return Mark(value=found.value, error=found.error, n=sum(counts))


def resampled(rows: Sequence[T], measure: Callable[[Sequence[T]], float], *, seed: int) -> Mark:
    """A measure of many items; its error is the spread of what it is for items drawn with replacement (bootstrap)."""
    draw = random.Random(compute.seed_of("bootstrap", seed))
    values = [measure(draw.choices(rows, k=len(rows))) for _ in range(RESAMPLES)]
    middle = sum(values) / len(values)
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1))
    return Mark(value=measure(rows), error=spread, n=len(rows))


def ratio(losses: Sequence[float], units: Sequence[int]) -> Mark:
    """Sum of losses over sum of units; the error is that of a ratio of means over items (0 for a single item)."""
    n, total = len(losses), sum(units)
    value = sum(losses) / total
    if n < 2:
        return Mark(value=value, error=0.0, n=n)
    spread = sum((loss - value * unit) ** 2 for loss, unit in zip(losses, units, strict=True))
    return Mark(value=value, error=math.sqrt(spread * n / (n - 1)) / total, n=n)


def per_unit(nats: Sequence[float], tokens: Sequence[int], units: int) -> Mark:
    """The loss of one long text divided by its units; the error is that of its stretches, taken as so many items."""
    per_token = ratio(nats, tokens)
    scale = sum(tokens) / units
    return Mark(value=per_token.value * scale, error=per_token.error * scale, n=units)


def perplexity(nats_per_unit: Mark) -> Mark:
    """The exponential of a mean loss in nats, with the error carried along; at most what a float holds."""
    value = math.exp(min(nats_per_unit.value, 700.0))
    return Mark(value=value, error=value * nats_per_unit.error, n=nats_per_unit.n)


def bits(nats_per_unit: Mark) -> Mark:
    """A mean loss in bits."""
    scale = 1 / math.log(2)
    return Mark(value=nats_per_unit.value * scale, error=nats_per_unit.error * scale, n=nats_per_unit.n)
