"""Numbers from answers, each with its standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


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
