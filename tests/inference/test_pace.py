from __future__ import annotations

import pytest

from selftaught.inference.pace import AGAIN, COUNTED, WARM, Pace, choices


@pytest.mark.parametrize(("most", "expected"), [(1, [1]), (2, [2, 1]), (6, [6, 3, 1]), (16, [16, 8, 4, 2, 1])])
def test_fewer_threads_are_tried_by_halves(most, expected):
    assert list(choices(most)) == expected


def run(pace, seconds, passes):
    used = []
    for _ in range(passes):
        threads = pace.threads()
        used.append(threads)
        pace.note(threads, seconds(threads))
    return used


def test_the_fastest_number_is_used_and_its_neighbours_now_and_then():
    used = run(Pace(8), {8: 2.0, 4: 0.5, 2: 0.8, 1: 1.0}.get, 20 * AGAIN[1])
    assert {8, 4, 2, 1} == set(used[:20])
    assert 0.9 < used[20:].count(4) / len(used[20:]) < 1
    assert {8, 4, 2} == set(used[20:])


def test_it_follows_a_machine_that_gets_busy():
    pace = Pace(2)
    assert run(pace, {2: 1.0, 1: 1.8}.get, 2 * AGAIN[1])[-9:].count(2) == 9
    assert run(pace, {2: 9.0, 1: 1.8}.get, 20)[-9:].count(1) == 9
    assert run(pace, {2: 1.0, 1: 1.8}.get, 2 * AGAIN[1])[-9:].count(2) == 9


def test_times_of_another_moment_are_not_compared():
    """Memory gets half as fast, for one thread as for two; that one thread was faster before than two are now says nothing."""
    pace = Pace(2)
    for slowness in (1.0, 1.4, 2.0, 2.8):
        used = run(pace, {2: slowness, 1: 1.2 * slowness}.get, AGAIN[1] + 20)
        assert used.count(2) > 0.93 * len(used)


def test_memory_that_was_slow_while_more_threads_were_tried_decides_nothing():
    pace = Pace(2)
    trial = WARM + COUNTED
    assert run(pace, {2: 1.3, 1: 1.0}.get, trial) == [2] * trial
    assert run(pace, {2: 0.8, 1: 1.0}.get, trial) == [1] * trial
    assert run(pace, {2: 0.8, 1: 1.0}.get, 3 * trial).count(1) == trial
    assert run(pace, {2: 0.8, 1: 1.0}.get, AGAIN[0] - trial).count(1) == 0


def test_by_a_little_fewer_are_not_taken():
    assert run(Pace(2), {2: 1.0, 1: 0.95}.get, 2 * AGAIN[1])[-9:].count(2) == 9
    assert run(Pace(2), {2: 1.0, 1: 0.85}.get, 2 * AGAIN[1])[-9:].count(1) == 9


def test_one_pass_that_was_held_up_changes_nothing():
    pace = Pace(2)
    run(pace, {2: 1.0, 1: 4.0}.get, 20)
    pace.note(2, 1000.0)
    assert pace.threads() == 2


def test_one_thread_has_no_choice():
    assert set(run(Pace(1), lambda threads: 1.0, 200)) == {1}
