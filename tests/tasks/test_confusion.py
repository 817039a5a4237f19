"""Numbers of classifiers against their definitions, worked out item by item."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.tasks.confusion import confusion

LABELS = ("a", "b", "c")
PAIRS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30)


def slow_macro_f1(pairs: list[tuple[str, str]]) -> float:
    """Mean over the classes that occur of the harmonic mean of precision and recall."""
    found = []
    for label in {label for pair in pairs for label in pair}:
        both = sum(right == chosen == label for right, chosen in pairs)
        of, taken = sum(right == label for right, _ in pairs), sum(chosen == label for _, chosen in pairs)
        precision, recall = both / taken if taken else 0.0, both / of if of else 0.0
        found.append(2 * precision * recall / (precision + recall) if both else 0.0)
    return sum(found) / len(found)


def slow_matthews(pairs: list[tuple[str, str]]) -> float:
    """Correlation of one-hot vectors, their covariances summed over classes (Gorodkin 2004)."""
    n = len(pairs)
    sums = [0.0, 0.0, 0.0]
    for label in LABELS:
        x, y = [float(right == label) for right, _ in pairs], [float(chosen == label) for _, chosen in pairs]
        for place, (one, other) in enumerate(((x, y), (x, x), (y, y))):
            sums[place] += sum(p * q for p, q in zip(one, other, strict=True)) / n - sum(one) * sum(other) / n**2
    return sums[0] / math.sqrt(sums[1] * sums[2]) if min(sums[1:]) > 1e-12 else 0.0


@given(PAIRS)
def test_every_number_against_its_definition(pairs: list[tuple[str, str]]) -> None:
    found = confusion(LABELS, pairs)
    assert found.n == len(pairs)
    assert found.accuracy().value == sum(right == chosen for right, chosen in pairs) / len(pairs)
    assert found.macro_f1().value == pytest.approx(slow_macro_f1(pairs))
    assert found.matthews().value == pytest.approx(slow_matthews(pairs), abs=1e-9)


@given(PAIRS)
def test_errors_are_those_of_leaving_out_each_item_in_turn(pairs: list[tuple[str, str]]) -> None:
    n = len(pairs)
    found = confusion(LABELS, pairs)
    for mark, slow in ((found.macro_f1(), slow_macro_f1), (found.matthews(), slow_matthews)):
        if n == 1:
            assert mark.error == 0
            continue
        without = [slow(pairs[:place] + pairs[place + 1 :]) for place in range(n)]
        mean = sum(without) / n
        expected = math.sqrt((n - 1) / n * sum((one - mean) ** 2 for one in without))
        assert mark.error == pytest.approx(expected, abs=1e-6)


def test_the_majority_is_the_first_of_equals() -> None:
    found = confusion(("b", "a"), [("a", "b"), ("b", "b"), ("a", "a"), ("b", "a")])
    label, mark = found.majority()
    assert (label, mark.value, mark.n) == ("b", 0.5, 4)
    assert confusion(LABELS, [("a", "b"), ("c", "b")]).matthews().value == 0
