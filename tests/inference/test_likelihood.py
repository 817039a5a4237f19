from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.errors import UsageError
from selftaught.inference import likelihood
from tests.reference import scoring
from tests.reference.networks import network

MODEL = network()
IDS = st.lists(st.integers(0, 49), max_size=32)
CONTEXT = st.lists(st.integers(0, 49), min_size=1, max_size=40)


def check(pairs, scored):
    for (context, continuation), one in zip(pairs, scored, strict=True):
        expected = scoring.score(MODEL, context, continuation)
        assert one.log_probs == pytest.approx([value for value, _ in expected], abs=1e-4)
        assert list(one.greedy) == [first for _, first in expected]


@settings(max_examples=25, deadline=None)
@given(pairs=st.lists(st.tuples(CONTEXT, IDS), max_size=5))
def test_agrees_with_one_token_at_a_time(pairs):
    short = [pair for pair in pairs if len(pair[0]) + len(pair[1]) <= 33 or len(pair[1]) <= 1]
    check(short, likelihood.score(MODEL, short))


@settings(max_examples=25, deadline=None)
@given(
    contexts=st.lists(st.lists(st.integers(0, 49), min_size=12, max_size=24), min_size=1, max_size=3), data=st.data()
)
def test_agrees_where_contexts_are_shared(contexts, data):
    continuation = st.lists(st.integers(0, 49), max_size=8)
    pairs = [(context, one) for context in contexts for one in data.draw(st.lists(continuation, max_size=6))]
    random.Random(1).shuffle(pairs)
    check(pairs, likelihood.score(MODEL, pairs))


def some_pairs(count=60):
    source = random.Random(5)

    def ids(length):
        return [source.randrange(50) for _ in range(length)]

    contexts = [ids(source.randrange(1, 25)) for _ in range(count // 4)]
    return [(source.choice(contexts), ids(source.randrange(8))) for _ in range(count)]


@pytest.mark.parametrize("tokens", [1, 100, 10_000])
@pytest.mark.parametrize("branches", [1, 20, 512])
def test_neither_batches_nor_order_nor_company_matter(monkeypatch, tokens, branches):
    pairs = some_pairs()
    alone = [likelihood.score(MODEL, [pair])[0] for pair in pairs]
    monkeypatch.setitem(likelihood.BATCH_TOKENS, "cpu", tokens)
    monkeypatch.setattr("selftaught.inference.trees.BRANCH_TOKENS", branches)
    order = random.Random(tokens).sample(range(len(pairs)), len(pairs))
    together = likelihood.score(MODEL, [pairs[number] for number in order])
    for number, one in zip(order, together, strict=True):
        assert one.log_probs == pytest.approx(alone[number].log_probs, abs=1e-4)
        assert one.greedy == alone[number].greedy


def test_progress_counts_every_pair_once():
    told: list[int] = []
    pairs = [*some_pairs(), ([1], [])]
    likelihood.score(MODEL, pairs, told.append)
    assert sum(told) == len(pairs)
    told.clear()
    likelihood.score(MODEL, [([1], [])], told.append)
    assert told == [1]


def test_long_contexts_keep_their_last_tokens():
    context = [number % 50 for number in range(100)]
    long, cut = likelihood.score(MODEL, [(context, [3, 4]), (context[-31:], [3, 4])])
    assert long.log_probs == pytest.approx(cut.log_probs, abs=1e-5)


@pytest.mark.parametrize("pair", [([], [1]), ([1], [2] * 33), ([1], [50]), ([-1], [2])])
def test_refuses_what_has_no_probability(pair):
    with pytest.raises(UsageError):
        likelihood.score(MODEL, [pair])
