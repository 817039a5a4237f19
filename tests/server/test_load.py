"""A crowd: many at once, slow readers, clients that hang up, malformed and huge requests."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from bench import crowd

from selftaught.inference.scheduling import Batch
from selftaught.server.engine import Engine, Job
from tests.server.conftest import PATIENCE_SECONDS, endless, happens, serving

EXPECTED = {
    "stream": {"200 whole"},
    "slow reader": {"200 whole"},
    "hangs up": {"left (200)", "200 whole"},
    "whole": {"200"},
    "malformed": {"400"},
    "huge": {"413"},
}


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Whoever takes so long does not answer at all."""
    monkeypatch.setattr(crowd, "PATIENCE", PATIENCE_SECONDS)


def texts():
    """Those that somebody still holds."""
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) is Job]


@pytest.mark.slow
def test_a_crowd_leaves_no_trace():
    with serving(endless(slots=8, waiting=300)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        things = []
        for number in range(3):
            came = asyncio.run(crowd.come(host, int(port), clients=150, tokens=12, seed=number))
            for kind, counts in came.outcomes.items():
                assert set(counts) <= EXPECTED[kind], (kind, counts)
            assert sum(counts.total() for counts in came.outcomes.values()) == 150
            assert crowd.settled(server.url, PATIENCE_SECONDS)
            assert happens(lambda: not texts())  # the last answers may be on their way out
            things.append(len(gc.get_objects()))
        # Of 150 clients not even ten things each are left; bytes are measured by bench/crowd.py, in a process of its own.
        assert max(things[1:]) - things[0] < 1500
        assert server.service.engine.busy == server.service.engine.waiting == 0
        assert server.ask(prompt="the", max_tokens=3)["choices"]


def test_more_than_can_wait_are_sent_away_and_the_others_served(monkeypatch):
    """Nothing is written before somebody was sent away, so that there is a crowd however slowly it comes."""
    step, patience, crowded = Batch.step, Engine._patience, threading.Event()
    monkeypatch.setattr(Batch, "step", lambda batch: crowded.wait() and step(batch))
    monkeypatch.setattr(Engine, "_patience", lambda *given: crowded.set() or patience(*given))
    with serving(endless(slots=2, waiting=3)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        came = asyncio.run(crowd.come(host, int(port), clients=60, tokens=24, seed=1))
        for kind, counts in came.outcomes.items():
            assert set(counts) <= EXPECTED[kind] | {"429", "left (429)"}, (kind, counts)
        answers = came.outcomes["stream"] + came.outcomes["slow reader"] + came.outcomes["whole"]
        assert answers["429"]
        assert answers["200 whole"] + answers["200"]
        assert crowd.settled(server.url, PATIENCE_SECONDS)
        assert server.ask(prompt="the", max_tokens=3)["choices"]
