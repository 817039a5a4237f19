"""Continuous batching: whoever comes and goes, each text is the one that it would be alone."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.inference import compiled, generation, likelihood, reading, scheduling
from selftaught.inference.decoding import Decoder
from selftaught.inference.rules import SamplingSettings
from selftaught.inference.scheduling import Batch, Request
from tests.reference import generator, scoring
from tests.reference.networks import network

MODEL = network()
READER = reading.reader(MODEL)
DECODER = compiled.decoder(MODEL)
PLAIN = Decoder(MODEL)
IDS = st.lists(st.integers(0, 49), min_size=1, max_size=45)
REQUESTS = st.builds(
    Request,
    prompt=IDS,
    tokens=st.integers(1, 50),
    rules=st.builds(SamplingSettings, temperature=st.sampled_from([0, 0.7, 2.0]), top_k=st.sampled_from([0, 5])),
    seed=st.integers(0, 99),
    end=st.sampled_from([None, 7]),
    alternatives=st.integers(0, 3),
)


def run(batch, arrivals):
    """All news of requests that arrive at given steps, in the order of the requests."""
    waiting, owners = sorted(enumerate(arrivals), key=lambda pair: pair[1][0]), {}
    news, step = [[] for _ in arrivals], 0
    while waiting or owners:
        while waiting and waiting[0][1][0] <= step and batch.free:
            number, (_, request) = waiting.pop(0)
            owners[batch.join(request)] = number
        told = batch.step()
        assert len({one.slot for one in told}) == len(told)
        for one in told:
            news[owners[one.slot]].append(one)
            if one.ended:
                del owners[one.slot]
        step += 1
    assert batch.texts == 0
    return [[(one.prompt, one.drawn, one.ended) for one in told] for told in news]


def alone(decoder, request):
    return run(Batch(decoder, slots=3), [(0, request)])[0]


@pytest.mark.skipif(compiled.library() is None, reason="the compiled pass needs a C compiler")
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_company_changes_not_a_bit(weights):
    decoder = compiled.decoder(MODEL, weights)

    @settings(max_examples=8, deadline=None)
    @given(arrivals=st.lists(st.tuples(st.integers(0, 30), REQUESTS), min_size=1, max_size=7))
    def check(arrivals):
        together = run(Batch(decoder, slots=3), arrivals)
        for (_, request), told in zip(arrivals, together, strict=True):
            assert told == alone(decoder, request)  # tokens, and probabilities to the last bit

    check()


@settings(max_examples=15, deadline=None)
@given(arrivals=st.lists(st.tuples(st.integers(0, 30), REQUESTS), min_size=1, max_size=7))
def test_without_the_compiled_pass_company_changes_rounding_only(arrivals):
    together = run(Batch(PLAIN, slots=3), arrivals)
    for (_, request), told in zip(arrivals, together, strict=True):
        for (_, one, ended), (_, other, end) in zip(told, alone(PLAIN, request), strict=False):
            if (one and one.token) != (other and other.token):
                break  # rounding has decided a draw
            assert ended == end
            assert one is None or one.log_prob == pytest.approx(other.log_prob, abs=1e-5)


@pytest.mark.parametrize("piece", [1, 5, 128])
def test_reading_in_pieces_changes_no_text(monkeypatch, piece):
    monkeypatch.setattr(scheduling, "READ_A_STEP", piece)
    arrivals = [(0, Request(prompt=list(range(20)), tokens=40, seed=3)), (2, Request(prompt=[9] * 31, tokens=5))]
    for (_, request), told in zip(arrivals, run(Batch(DECODER, slots=2), arrivals), strict=True):
        assert [one.token for _, one, _ in told] == drawn_by_generation(request)


def drawn_by_generation(request):
    numbers = compute.generator("sampling", request.seed)
    drawn = generation.draw(MODEL, request.prompt, request.rules, numbers)
    return [one.token for one in islice(drawn, request.tokens)]


@settings(max_examples=15, deadline=None)
@given(request=REQUESTS)
def test_the_text_is_the_one_of_generate(request):
    request = Request(prompt=request.prompt, tokens=request.tokens, rules=request.rules, seed=request.seed)
    told = [one for _, one, _ in alone(DECODER, request)]
    assert [one.token for one in told] == drawn_by_generation(request)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 90])
@pytest.mark.parametrize("norm", ["before", "after"])
def test_the_window_slides_as_without_a_cache(length, norm):
    model, prompt = network(norm=norm), [(7 * number) % 50 for number in range(length)]
    request = Request(prompt=prompt, tokens=70, rules=SamplingSettings(temperature=0))
    assert [one.token for _, one, _ in alone(Decoder(model), request)] == generator.greedy(model, prompt, 70)


@settings(max_examples=20, deadline=None)
@given(prompt=st.lists(st.integers(0, 49), min_size=1, max_size=32), alternatives=st.integers(0, 60))
def test_an_echo_tells_the_probabilities_of_the_prompt(prompt, alternatives):
    request = Request(prompt=prompt, tokens=0, echo=True, alternatives=alternatives)
    ((told, drawn, ended),) = alone(DECODER, request)
    scored = likelihood.score(READER, [(prompt[:1], prompt[1:])])[0]
    assert [one.token for one in told] == prompt
    assert (told[0].log_prob, drawn, ended) == (None, None, "length")
    assert [one.log_prob for one in told[1:]] == pytest.approx(list(scored.log_probs), abs=1e-4)
    for one, lead in zip(told[1:], scoring.leads(MODEL, prompt[:1], prompt[1:]), strict=True):
        assert len(one.alternatives) == min(alternatives, 50)
        if alternatives and abs(lead) > 1e-4:  # else rounding decides
            assert (one.alternatives[0][1] == one.log_prob) == (lead > 0)


def test_alternatives_are_the_models_own():
    prompt, rules = [3, 4, 5], SamplingSettings(temperature=0.3, top_k=2)
    ((_, told, _),) = alone(DECODER, Request(prompt=prompt, tokens=1, rules=rules, alternatives=4))
    log_probs = MODEL.logits(MODEL(torch.tensor([prompt])))[0, -1].log_softmax(-1).detach()
    values, ids = log_probs.topk(4)
    assert [token for token, _ in told.alternatives] == ids.tolist()
    assert [value for _, value in told.alternatives] == pytest.approx(values.tolist(), abs=1e-5)
    assert told.log_prob == pytest.approx(float(log_probs[told.token]), abs=1e-5)


def test_whoever_leaves_frees_a_slot_at_once():
    batch = Batch(DECODER, slots=2)
    first, second = (batch.join(Request(prompt=[number], tokens=1000)) for number in (1, 2))
    for _ in range(3):
        batch.step()
    with pytest.raises(UsageError, match="in use"):
        batch.join(Request(prompt=[3], tokens=1))
    batch.leave(first)
    batch.leave(first)
    request = Request(prompt=[5, 6], tokens=4, seed=8)
    assert batch.join(request) == first
    told = [one for _ in range(4) for one in batch.step() if one.slot == first]
    assert [one.drawn.token for one in told] == drawn_by_generation(request)
    batch.leave(second)
    assert (batch.texts, batch.free, batch.step()) == (0, 2, [])


def test_long_prompts_do_not_halt_the_others():
    model = network(context=2048)
    batch = Batch(Decoder(model), slots=3)
    first = batch.join(Request(prompt=[1], tokens=100))
    batch.step()
    for _ in range(2):
        batch.join(Request(prompt=[2] * 2000, tokens=1))
    steps = 0
    while batch.texts == 3:
        told = batch.step()
        assert first in {one.slot for one in told}
        steps += 1
    assert steps >= 2000 // scheduling.READ_A_STEP


def test_ids_that_no_text_has_are_not_drawn():
    batch = Batch(DECODER, slots=1, vocabulary=4)
    batch.join(Request(prompt=[49, 20], tokens=60, rules=SamplingSettings(temperature=5, top_k=0), echo=False))
    told = [one.drawn.token for _ in range(60) for one in batch.step()]
    assert set(told) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": []},
        {"prompt": [50]},
        {"prompt": [-1]},
        {"prompt": [1], "tokens": -1},
        {"prompt": [1], "alternatives": -1},
        {"prompt": [1] * 33, "echo": True},
    ],
)
def test_impossible_requests_are_refused(wrong):
    with pytest.raises(UsageError):
        Batch(DECODER, slots=1).join(Request(**{"tokens": 1, **wrong}))


def test_a_batch_needs_a_slot():
    with pytest.raises(UsageError, match="1 slot"):
        Batch(DECODER, slots=0)
