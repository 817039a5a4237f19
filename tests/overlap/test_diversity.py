"""Diversity and intervals against slow twins and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.overlap import bootstrap, diversity
from tests.reference import diversity as slow

TEXT = st.lists(st.sampled_from("abcde"), max_size=9).map(" ".join)


@given(st.lists(TEXT, min_size=2, max_size=4))
def test_both_measures_are_the_slow_twins(texts: list[str]) -> None:
    split = [text.split() for text in texts]
    assert diversity.distinct(split) == tuple(slow.distinct(texts, n) for n in (1, 2, 3, 4))
    expected = [slow.bleu(text, [*texts[:n], *texts[n + 1 :]]) for n, text in enumerate(texts)]
    assert diversity.self_bleu(split) == pytest.approx(sum(expected) / len(texts))


def test_copies_of_one_text_are_alike_and_texts_without_a_common_word_are_not() -> None:
    one = ["to", "be", "or", "not", "to", "be", "that", "is", "the", "question"]
    assert diversity.self_bleu([one, one, one]) == pytest.approx(1.0)
    assert diversity.self_bleu([one, ["nothing", "else", "here"]]) == 0.0
    assert diversity.distinct([one, one])[0] == 0.4


def test_intervals_are_those_of_the_normal_distribution_where_there_is_much_data() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 2000)
    low, high = bootstrap.mean(values.tolist(), seed=1)
    half = 1.96 * values.std() / 2000**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert (low, high) == bootstrap.mean(values.tolist(), seed=1)


def test_the_interval_of_a_difference_of_ratios_holds_the_true_one_nineteen_times_in_twenty() -> None:
    draw, held = np.random.default_rng(2), 0
    for trial in range(100):
        tokens = draw.integers(50, 500, (2, 60)).astype(float)
        nats = tokens * draw.normal([[3.0], [3.4]], 0.3, (2, 60))
        low, high = bootstrap.ratio_difference(
            (nats[1].tolist(), tokens[1].tolist()), (nats[0].tolist(), tokens[0].tolist()), seed=trial
        )
        held += low <= 0.4 <= high
    assert 88 <= held <= 100
