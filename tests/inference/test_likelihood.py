from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught import compilation
from selftaught.errors import UsageError
from selftaught.inference import likelihood, reading
from selftaught.inference.budget import Budget
from tests.reference import scoring
from tests.reference.networks import network

MODEL = network()
READER = reading.reader(MODEL)
READERS = {"line": READER, "rows": reading.RowReader(MODEL, "float32")}
IDS = st.lists(st.integers(0, 49), max_size=32)
CONTEXT = st.lists(st.integers(0, 49), min_size=1, max_size=40)


def check(pairs, scored):
    for (context, continuation), one in zip(pairs, scored, strict=True):
        expected = scoring.score(MODEL, context, continuation)
        assert one.log_probs == pytest.approx([value for value, _ in expected], abs=1e-4)
        for greedy, lead in zip(one.greedy, scoring.leads(MODEL, context, continuation), strict=True):
            assert greedy == (lead > 0) or abs(lead) < 1e-4  # where rounding decides


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=15, deadline=None)
@given(pairs=st.lists(st.tuples(CONTEXT, IDS), max_size=5))
def test_agrees_with_one_token_at_a_time(reader, pairs):
    short = [pair for pair in pairs if len(pair[0]) + len(pair[1]) <= 33 or len(pair[1]) <= 1]
    check(short, likelihood.score(READERS[reader], short))


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=15, deadline=None)
@given(begins=st.lists(st.lists(st.integers(0, 49), min_size=8, max_size=16), min_size=1, max_size=3), data=st.data())
def test_agrees_where_texts_begin_alike(reader, begins, data):
    ids = st.lists(st.integers(0, 49), max_size=8)
    more = st.lists(st.tuples(ids, ids), max_size=6)
    pairs = [([*begin, *rest], after) for begin in begins for rest, after in data.draw(more)]
    random.Random(1).shuffle(pairs)
    check(pairs, likelihood.score(READERS[reader], pairs))


def some_pairs(count=32):
    source = random.Random(5)

    def ids(length):
        return [source.randrange(50) for _ in range(length)]

    contexts = [ids(source.randrange(1, 25)) for _ in range(count // 4)]
    return [(source.choice(contexts), ids(source.randrange(8))) for _ in range(count)]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("tokens", [1, 100, 10_000])
@pytest.mark.parametrize("branches", [1, 20, 512])
def test_neither_batches_nor_order_nor_company_matter(monkeypatch, reader, tokens, branches):
    pairs = some_pairs()
    alone = [likelihood.score(READERS[reader], [pair])[0] for pair in pairs]
    monkeypatch.setattr(READERS[reader], "budget", Budget(tokens, least=tokens, most=tokens))
    monkeypatch.setattr("selftaught.inference.trees.BRANCH_TOKENS", branches)
    monkeypatch.setitem(likelihood.LOGITS, "cpu", tokens)
    order = random.Random(tokens).sample(range(len(pairs)), len(pairs))
    together = likelihood.score(READERS[reader], [pairs[number] for number in order])
    for number, one in zip(order, together, strict=True):
        assert one.log_probs == pytest.approx(alone[number].log_probs, abs=1e-4)
        assert one.greedy == alone[number].greedy


def test_progress_counts_every_pair_once():
    told: list[int] = []
    pairs = [*some_pairs(), ([1], [])]
    likelihood.score(READER, pairs, told.append)
    assert sum(told) == len(pairs)
    told.clear()
    likelihood.score(READER, [([1], [])], told.append)
    assert told == [1]


def test_long_contexts_keep_their_last_tokens():
    context = [number % 50 for number in range(100)]
    long, cut = likelihood.score(READER, [(context, [3, 4]), (context[-31:], [3, 4])])
    assert long.log_probs == pytest.approx(cut.log_probs, abs=1e-5)


@pytest.mark.parametrize("pair", [([], [1]), ([1], [2] * 33), ([1], [50]), ([-1], [2])])
def test_refuses_what_has_no_probability(pair):
    with pytest.raises(UsageError):
        likelihood.score(READER, [pair])


@pytest.mark.parametrize("barred", [[], [3], list(range(49))])
def test_barred_tokens_are_no_choice_and_keep_their_probability(barred):
    pairs = some_pairs()
    plain = likelihood.score(READER, pairs)
    for (context, continuation), one, other in zip(
        pairs, likelihood.score(READER, pairs, barred=barred), plain, strict=True
    ):
        assert (one.log_probs, one.greedy) == (other.log_probs, other.greedy)
        for place, token in enumerate(continuation):
            logits = MODEL.logits(MODEL(torch.tensor([[*context, *continuation[:place]]])))[0, -1]
            logits[barred] = -torch.inf
            assert one.allowed[place] == (int(logits.argmax()) == token)


@pytest.mark.parametrize("compiler", ["cc", "/nowhere/cc"])
@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 5), vocabulary=st.integers(1, 2100), data=st.data())
def test_looking_at_logits_is_what_pytorch_finds(compiler, rows, vocabulary, data):
    barred = data.draw(st.lists(st.integers(0, vocabulary - 1), max_size=vocabulary - 1, unique=True))
    spread = data.draw(st.sampled_from([0.0, 1.0, 300.0]))
    logits = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(vocabulary)).mul(spread)
    expected = torch.logsumexp(logits.double(), -1)
    free = logits.clone()
    free[:, barred] = -torch.inf
    with pytest.MonkeyPatch.context() as changed:
        if compiler != "cc":
            changed.setattr(compilation, "library", lambda _: None)
        choice, allowed, total = likelihood.look(logits.clone(), barred)
    assert torch.equal(choice, logits.argmax(-1))
    assert torch.equal(allowed, free.argmax(-1))
    assert torch.allclose(total.double(), expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("compiler", ["cc", "/nowhere/cc"])
@pytest.mark.parametrize("place", [0, 7, 40, 1500, 2000])
def test_a_logit_that_is_no_number_leaves_no_probability(compiler, place, monkeypatch):
    """Or weights that are damaged would be scored as if they were none."""
    logits = torch.zeros(2, 2001)
    logits[0, place] = torch.nan
    if compiler != "cc":
        monkeypatch.setattr(compilation, "library", lambda _: None)
    for barred in ([], [3]):
        total = likelihood.look(logits.clone(), barred)[2]
        assert total[0].isnan()
        assert total[1] == pytest.approx(math.log(2001), rel=1e-6)
