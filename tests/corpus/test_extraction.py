"""Workers that extract: what a bad page may and may not do to its neighbours."""

from __future__ import annotations

import os
import sys
import time

import pytest

from selftaught.corpus.pages import Page
from selftaught.corpus.workers import Workers


def behave(body: bytes, content_type: str) -> str:
    """What a page does to the worker that reads it."""
    if body == b"crash":
        os._exit(9)
    if body == b"hang":
        time.sleep(60)
    return body.decode()


def pages(*bodies: str) -> list[Page]:
    return [Page(url=body, final_url=body, content_type="text/html", body=body.encode()) for body in bodies]


def test_a_page_that_kills_its_worker_takes_no_other_page_with_it() -> None:
    bodies = ["one", "crash", "two", "", "three", "crash", "four"]
    with Workers(2, behave) as workers:
        found = [(text, reason) for _, text, reason in workers.texts(pages(*bodies))]
    reasons = {"crash": ("", "crash"), "": ("", "no text")}
    assert found == [reasons.get(body, (body, "")) for body in bodies]


def test_a_page_that_hangs_is_stopped() -> None:
    with Workers(1, behave, seconds=0.2) as workers:
        found = [(page.url, reason) for page, _, reason in workers.texts(pages("one", "hang", "two"))]
    assert found == [("one", ""), ("hang", "timeout"), ("two", "")]


def stay_in_c(body: bytes, content_type: str) -> str:
    """Hold the interpreter's lock where no signal handler of Python's gets to run."""
    return str(sum(range(10**11))) if body == b"hang" else body.decode()


def test_a_page_that_no_signal_stops_loses_its_process_only() -> None:
    with Workers(1, stay_in_c, seconds=0.2, grace_seconds=0.3) as workers:
        found = [(page.url, reason) for page, _, reason in workers.texts(pages("one", "hang", "two"))]
    assert found == [("one", ""), ("hang", "crash"), ("two", "")]


def eat_memory(body: bytes, content_type: str) -> str:
    """Ask for far more memory than there is leave for."""
    return str(len(bytearray(1 << 32))) if body == b"hungry" else body.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process may hold")
def test_a_page_that_eats_memory_is_stopped() -> None:
    with Workers(1, eat_memory, memory_bytes=1 << 30) as workers:
        found = [(page.url, reason) for page, _, reason in workers.texts(pages("one", "hungry", "two"))]
    assert found == [("one", ""), ("hungry", "memory"), ("two", "")]
