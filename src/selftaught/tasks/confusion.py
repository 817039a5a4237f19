"""Numbers of a classifier, from how often each class was taken for which; each with its standard error.

The errors of numbers that are no means come from the jackknife: the number again without one item, for every kind of item.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selftaught.tasks.marking import Mark

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often a class was taken for which."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """A row for each class that items are of, a column for each that was chosen."""

    @property
    def n(self) -> int:
        """Items in all."""
        return sum(map(sum, self.counts))

    def accuracy(self) -> Mark:
        """Share of items whose class was chosen, with the binomial error."""
        return _share(sum(self.counts[place][place] for place in range(len(self.labels))), self.n)

    def majority(self) -> tuple[str, Mark]:
        """The most frequent class (the first of equals), and the accuracy of always choosing it."""
        sizes = list(map(sum, self.counts))
        place = max(range(len(sizes)), key=sizes.__getitem__)
        return self.labels[place], _share(sizes[place], self.n)

    def macro_f1(self) -> Mark:
        """Mean of the classes' F1, over the classes that items are of or that were chosen."""
        return _jackknife(self._array(), _macro_f1)

    def matthews(self) -> Mark:
        """Matthews correlation (for more than two classes Gorodkin's); 0 where what is, or what was chosen, is all alike."""
        return _jackknife(self._array(), _matthews)

    def _array(self) -> Counts:
        return np.array(self.counts, dtype=np.float64).reshape(len(self.labels), len(self.labels))


def confusion(labels: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Confusion:
    """Count pairs of the class that an item is of and the class that was chosen, all among `labels`."""
    found = Counter(pairs)
    return Confusion(
        labels=tuple(labels),
        counts=tuple(tuple(found[right, chosen] for chosen in labels) for right in labels),
    )


def _share(right: int, n: int) -> Mark:
    share = right / n if n else 0.0
    return Mark(value=share, error=math.sqrt(share * (1 - share) / n) if n else 0.0, n=n)


def _macro_f1(counts: Counts) -> float:
    met = counts.sum(axis=0) + counts.sum(axis=1)
    seen = met > 0
    return float(np.mean(2 * counts.diagonal()[seen] / met[seen])) if seen.any() else 0.0


def _matthews(counts: Counts) -> float:
    n, right = counts.sum(), counts.trace()
    are, chosen = counts.sum(axis=1), counts.sum(axis=0)
    below = float((n * n - are @ are) * (n * n - chosen @ chosen))
    return float(n * right - are @ chosen) / math.sqrt(below) if below > 0 else 0.0


def _jackknife(counts: Counts, number: Callable[[Counts], float]) -> Mark:
    """The number, and its error from leaving out one item of each cell in turn, as often as the cell has items."""
    value, n = number(counts), int(counts.sum())
    if n < 2:
        return Mark(value=value, error=0.0, n=n)
    without, weights = [], []
    for right, chosen in np.argwhere(counts):
        less = counts.copy()
        less[right, chosen] -= 1
        without.append(number(less))
        weights.append(counts[right, chosen])
    mean = np.average(without, weights=weights)
    spread = float(np.dot(weights, (np.array(without) - mean) ** 2))
    return Mark(value=value, error=math.sqrt(spread * (n - 1) / n), n=n)
