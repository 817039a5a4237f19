from __future__ import annotations

import pytest

from selftaught.inference.pace import AGAIN, Pace, choices


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


def test_the_fastest_number_is_used_and_the_others_now_and_then():
    used = run(Pace(4), {4: 1.0, 2: 0.5, 1: 0.8}.get, 5 * AGAIN)
    assert 0.9 < used[20:].count(2) / len(used[20:]) < 1
    assert {1, 4} <= set(used[AGAIN:])


def test_it_follows_a_machine_that_gets_busy():
    pace = Pace(2)
    assert run(pace, {2: 1.0, 1: 1.8}.get, 2 * AGAIN)[-9:].count(2) >= 8
    assert run(pace, {2: 9.0, 1: 1.8}.get, AGAIN)[-9:].count(1) >= 8
    assert run(pace, {2: 1.0, 1: 1.8}.get, 30 * AGAIN)[-9:].count(2) >= 8


def test_one_pass_that_was_held_up_changes_nothing():
    pace = Pace(2)
    run(pace, {2: 1.0, 1: 4.0}.get, 20)
    pace.note(2, 1000.0)
    assert pace.threads() == 2


def test_one_thread_has_no_choice():
    assert set(run(Pace(1), lambda threads: 1.0, 200)) == {1}
