"""A crowd: many at once, slow readers, clients that hang up, malformed and huge requests."""

from __future__ import annotations

import asyncio
import gc
import re

import pytest
from bench import crowd

from selftaught.server.engine import Job
from selftaught.server.limits import Limits
from tests.server.conftest import serving

EXPECTED = {
    "stream": {"200 whole"},
    "slow reader": {"200 whole"},
    "hangs up": {"left (200)", "200 whole"},
    "whole": {"200"},
    "malformed": {"400"},
    "huge": {"413"},
}


@pytest.mark.slow
def test_a_crowd_leaves_no_trace():
    with serving(Limits(slots=8, waiting=300)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        things = []
        for number in range(3):
            came = asyncio.run(crowd.come(host, int(port), clients=150, tokens=12, seed=number))
            for kind, counts in came.outcomes.items():
                assert set(counts) <= EXPECTED[kind], (kind, counts)
            assert sum(counts.total() for counts in came.outcomes.values()) == 150
            assert crowd.settled(server.url)
            gc.collect()
            assert not [thing for thing in gc.get_objects() if type(thing) is Job]
            things.append(len(gc.get_objects()))
        # Of 150 clients not even ten things each are left; bytes are measured by bench/crowd.py, in a process of its own.
        assert max(things[1:]) - things[0] < 1500
        assert server.service.engine.busy == server.service.engine.waiting == 0
        assert server.ask(prompt="the", max_tokens=3)["choices"]


def test_more_than_can_wait_are_sent_away_and_the_others_served():
    with serving(Limits(slots=2, waiting=3)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        came = asyncio.run(crowd.come(host, int(port), clients=60, tokens=24, seed=1))
        outcomes = {outcome for kind in ("stream", "whole") for outcome in came.outcomes[kind]}
        assert outcomes == {"200 whole", "200", "429"}
        assert not any(re.match("5|hanging|Conn", outcome) for counts in came.outcomes.values() for outcome in counts)
        assert crowd.settled(server.url)
