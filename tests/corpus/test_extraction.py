"""Workers that extract: what a bad page may and may not do to its neighbours."""

from __future__ import annotations

import os
import sys
import time
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selftaught.corpus import workers
from selftaught.corpus.pages import Page
from selftaught.corpus.workers import Workers
from selftaught.errors import SelftaughtError


def behave(body: bytes, content_type: str) -> str:
    """What a page does to the worker that reads it."""
    if body == b"crash":
        os._exit(9)
    if body == b"hang":
        time.sleep(60)
    if body == b"spin":  # in C, with the interpreter's lock held: no signal handler of Python's gets to run
        return str(sum(range(10**12)))
    if body == b"raise":
        raise ValueError(body)
    return body.decode()


def pages(*bodies: str) -> list[Page]:
    return [Page(url=body, final_url=body, content_type="text/html", body=body.encode()) for body in bodies]


def payload(page: Page) -> tuple[bytes, str]:
    return page.body, page.content_type


POISON = {"crash": "crash", "hang": "timeout", "spin": "timeout", "raise": "error"}


@pytest.mark.parametrize("count", [1, 3])
def test_a_bad_page_takes_no_other_page_with_it(count: int) -> None:
    bodies = ["one", "crash", *map(str, range(30)), "hang", "", "two", "crash", "spin", "raise", "three", "hang"]
    with Workers(count, seconds=1.0) as working:
        found = [(page.url, text, reason) for page, text, reason in working.results(behave, pages(*bodies), payload)]
    assert found == [(body, None if body in POISON else body, POISON.get(body, "")) for body in bodies]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what processor time a process had")
def test_a_page_has_its_time_though_all_were_stopped_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-Z while a page is worked on: the clock goes on, nobody else does."""
    clock, wait = [0.0], connection.wait
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def waiting(pipes: list[Connection], seconds: float) -> list[Any]:
        if not (tmp_path / "begun").exists():
            return wait(pipes, 0.01)
        if not clock[0]:
            clock[0] = 1e6
            return []
        (tmp_path / "go on").touch()
        return wait(pipes)

    monkeypatch.setattr(workers, "connection", SimpleNamespace(wait=waiting))
    with Workers(1, seconds=1000) as working:
        found = [
            (text, reason) for _, text, reason in working.results(wait_busily, [str(tmp_path)], lambda one: (one,))
        ]
    assert found == [("done", "")]


def wait_busily(folder: str) -> str:
    """Work until somebody says that it is enough."""
    (Path(folder) / "begun").touch()
    while not (Path(folder) / "go on").exists():
        pass
    return "done"


def test_more_pages_than_may_be_held_and_a_second_list_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selftaught.corpus.workers._AHEAD_BYTES", 100)
    bodies = [str(number) * (number % 50 + 1) for number in range(300)]
    with Workers(2) as working:
        for given in (bodies, bodies[:5], []):
            assert [text for _, text, _ in working.results(behave, pages(*given), payload)] == given


def test_workers_that_cannot_start_are_an_error() -> None:
    with Workers(1, memory_bytes=1 << 20) as working, pytest.raises(SelftaughtError, match="do not start"):
        list(working.results(behave, pages("one"), payload))


def eat_memory(body: bytes, content_type: str) -> str:
    """Ask for far more memory than there is leave for."""
    return str(len(bytearray(1 << 32))) if body == b"hungry" else body.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process may hold")
def test_a_page_that_eats_memory_is_stopped() -> None:
    with Workers(1, memory_bytes=1 << 30) as working:
        given = pages("one", "hungry", "two")
        found = [(page.url, reason) for page, _, reason in working.results(eat_memory, given, payload)]
    assert found == [("one", ""), ("hungry", "memory"), ("two", "")]
