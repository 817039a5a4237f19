"""A server that really listens, on a loopback port, with two tiny models."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed: pip install 'selftaught[serve]'")

import httpx2
import uvicorn

from selftaught.inference.language_model import LanguageModel
from selftaught.inference.scheduling import Batch
from selftaught.server import running
from selftaught.server.api import application
from selftaught.server.limits import Limits
from selftaught.server.protocol import Server, timed
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference.networks import network

PATIENCE_SECONDS = 600.0
"""Only so that nothing waits for ever: a busy machine may take minutes for what takes seconds."""
TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h"), (b"th", b"e"), (b" ", b"the"), (b"o", b"o"), (b"f", b"oo")]))


def models():
    size = TOKENIZER.vocabulary_size
    shapes = {"1x8": {"layers": 1, "channels": 8, "heads": 1}, "2x16": {}}
    return {
        name: LanguageModel(network(vocabulary=size, **shape), TOKENIZER, name=name) for name, shape in shapes.items()
    }


class Running:
    """A server in a thread, and how to ask it."""

    def __init__(self, server, service, url):
        self.server, self.service, self.url = server, service, url
        self.client = httpx2.Client(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False)

    def ask(self, **body):
        answer = self.client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def settles(self):
        """Whether all slots become free."""
        return happens(lambda: self.service.engine.idle)


def happens(something):
    """Whether something becomes true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := something()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def endless(**changes):
    """Limits of which none is a matter of time, and texts that do not end by themselves."""
    return Limits(**{"max_tokens": 10**9, "seconds": 1e9, "body_seconds": 1e9, **changes})


ENDLESS = {"prompt": "the", "max_tokens": 10**9, "temperature": 0}


class Heard(logging.Handler):
    """What server and libraries complain of."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.complaints = []

    def emit(self, record):
        self.complaints.append(self.format(record))


@contextlib.contextmanager
def listening_to_complaints():
    """Hear all complaints; who listened before, to a server that goes on meanwhile, hears none of them."""
    heard = Heard()
    loggers = [logging.getLogger(name) for name in ("selftaught.server", "uvicorn.error", "asyncio")]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [*(one for one in logger.handlers if not isinstance(one, Heard)), heard]
    try:
        yield heard.complaints
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers = handlers


@contextlib.contextmanager
def serving(limits=None, key=None, loaded=None, complaints=0):
    """A server that runs; it must complain (a traceback, an unfinished answer) as often as is said, by default never."""
    with listening_to_complaints() as heard, _serving(limits, key, loaded) as started:
        yield started
    assert len(heard) == complaints, heard


@contextlib.contextmanager
def _serving(limits, key, loaded):
    app = application(loaded or models(), limits=limits or Limits(slots=3), key=key)
    listening = running.listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        http=timed((limits or Limits(body_seconds=PATIENCE_SECONDS)).body_seconds),
        ws="none",
        timeout_graceful_shutdown=int(PATIENCE_SECONDS),
    )
    seconds = min(1, (limits or Limits()).grace_seconds)
    server = Server(config, grace_seconds=seconds, end=app.state.service.engine.stop)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        with contextlib.closing(Running(server, app.state.service, running.address(listening))) as started:
            yield started
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        listening.close()
        assert not thread.is_alive()


Running.close = lambda self: self.client.close()


class Steps:
    """Lets the engine take so many steps; then it waits, however long, until it is allowed more."""

    def __init__(self):
        self._left, self._changed = math.inf, threading.Condition()

    def allow(self, count=math.inf):
        with self._changed:
            self._left = count
            self._changed.notify_all()

    def take(self):
        with self._changed:
            self._changed.wait_for(lambda: self._left > 0)
            self._left -= 1


@pytest.fixture
def steps(monkeypatch):
    """How many steps the engine takes."""
    found, step = Steps(), Batch.step

    def counted(batch):
        found.take()
        return step(batch)

    monkeypatch.setattr(Batch, "step", counted)
    yield found
    found.allow()


@pytest.fixture
def slow(monkeypatch):
    """Steps that take their time, so that texts without end do not become long."""
    step = Batch.step

    def slowly(batch):
        time.sleep(0.005)
        return step(batch)

    monkeypatch.setattr(Batch, "step", slowly)


@pytest.fixture(scope="module")
def server():
    with serving() as started:
        yield started
        assert started.settles()
