"""How predictions agree with labels, by every measure that GLUE's tasks need, each with its standard error.

The errors of F1, Pearson and Spearman are bootstrap estimates: 200 resamples of the items, always the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from selftaught.errors import InputError
from selftaught.tasks.confusion import Confusion, confusion
from selftaught.tasks.marking import Mark, accuracy

Numbers = npt.NDArray[np.float64]
_RESAMPLES = 200


def f1(chosen: Sequence[int], labels: Sequence[int]) -> Mark:
    """Harmonic mean of precision and recall of class 1; 0 where nothing was rightly found."""
    return _mark(lambda a, b: _f1(a == 1, b == 1), chosen, labels)


def pearson(scores: Sequence[float], labels: Sequence[float]) -> Mark:
    """Pearson's correlation; 0 where either side does not vary. Raises InputError for a score that is no number."""
    return _mark(pearson_of, scores, labels)


def spearman(scores: Sequence[float], labels: Sequence[float]) -> Mark:
    """Pearson's correlation of the ranks, equal values sharing theirs. Raises InputError for a score that is no number."""
    return _mark(lambda a, b: pearson_of(ranks(a), ranks(b)), scores, labels)


MEASURES: dict[str, Callable[[Sequence[float], Sequence[float]], Mark]] = {
    "accuracy": lambda chosen, labels: accuracy([one == other for one, other in zip(chosen, labels, strict=True)]),
    "f1": lambda chosen, labels: f1([int(one) for one in chosen], [int(one) for one in labels]),
    "macro_f1": lambda chosen, labels: _confusion(chosen, labels).macro_f1(),
    "matthews": lambda chosen, labels: _confusion(chosen, labels).matthews(),
    "pearson": pearson,
    "spearman": spearman,
}
"""Name of a measure -> what marks predictions (chosen classes or scores) against labels."""


def _confusion(chosen: Sequence[float], labels: Sequence[float]) -> Confusion:
    pairs = [(str(label), str(one)) for label, one in zip(labels, chosen, strict=True)]
    return confusion(sorted({name for pair in pairs for name in pair}), pairs)


def _mark(measure: Callable[[Numbers, Numbers], float], given: Sequence[float], labels: Sequence[float]) -> Mark:
    predicted, wanted = np.asarray(given, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if not len(wanted) or len(predicted) != len(wanted):
        raise InputError(
            "nothing can be marked", expected="a prediction for each label", got=f"{len(predicted)} and {len(wanted)}"
        )
    if not np.isfinite(predicted).all():
        raise InputError(
            "predictions hold scores that are no numbers", got=f"{(~np.isfinite(predicted)).sum()} of them"
        )
    value, draw = measure(predicted, wanted), np.random.default_rng(1)
    again = []
    for _ in range(_RESAMPLES):
        rows = draw.integers(0, len(wanted), len(wanted))
        again.append(measure(predicted[rows], wanted[rows]))
    return Mark(value=float(value), error=float(np.std(again)), n=len(wanted))


def _f1(found: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_]) -> float:
    right, both = float((found & wanted).sum()), float(found.sum() + wanted.sum())
    return 2 * right / both if both else 0.0


def pearson_of(one: Numbers, other: Numbers) -> float:
    """Pearson's correlation; 0 where either side does not vary."""
    a, b = one - one.mean(), other - other.mean()
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def ranks(values: Numbers) -> Numbers:
    """Ranks from 0, equal values sharing the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count) - 1
    shared: Numbers = (last - (count - 1) / 2)[place]
    return shared
