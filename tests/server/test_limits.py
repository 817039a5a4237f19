"""What happens at the edges: too many, too large, too slow, gone, not allowed, at the end."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from types import SimpleNamespace

import httpx2
import pytest

from selftaught.errors import UsageError
from selftaught.inference.scheduling import Batch
from selftaught.server import engine
from selftaught.server.limits import Limits
from tests.server.conftest import ENDLESS, PATIENCE_SECONDS, endless, happens, serving


def connection(server, body, path="/v1/completions"):
    """A request on a bare socket, which can be left at any time."""
    host, port = server.url.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-length: {len(data)}\r\n\r\n"
    opened.sendall(head.encode() + data)
    return opened


def until(opened, end):
    """What comes until something has."""
    told = b""
    while end not in told:
        told += (more := opened.recv(1 << 16))
        assert more, told
    return told


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("stream", [True, False])
def test_whoever_hangs_up_frees_the_slot(stream):
    with serving(endless(slots=1)) as server:
        for _ in range(3):
            opened = connection(server, {**ENDLESS, "stream": stream})
            assert happens(lambda: server.service.engine.busy)
            if stream:
                assert opened.recv(10)
            opened.close()
        assert server.ask(prompt="the", max_tokens=2)["choices"]
        assert server.settles()


@pytest.mark.usefixtures("slow")
def test_whoever_leaves_while_waiting_never_has_a_slot():
    with serving(endless(slots=1, waiting=5)) as server:
        first = connection(server, ENDLESS)
        assert happens(lambda: server.service.engine.busy)
        others = [connection(server, ENDLESS) for _ in range(5)]
        assert happens(lambda: server.service.engine.waiting == 5)
        for opened in others:
            opened.close()
        assert happens(lambda: not server.service.engine.waiting)
        assert server.service.engine.busy == 1
        first.close()
        assert server.settles()


@pytest.mark.usefixtures("slow")
def test_too_many_are_told_to_come_back():
    with serving(endless(slots=2, waiting=1)) as server:
        opened = [connection(server, ENDLESS) for _ in range(3)]
        assert happens(lambda: server.service.engine.busy + server.service.engine.waiting == 3)
        answer = server.client.post("/v1/completions", json=ENDLESS)
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.json()["error"]["type"] == "rate_limit_error"
        # The other model has slots of its own.
        assert server.ask(model="1x8", prompt="the", max_tokens=2)["choices"]
        for one in opened:
            one.close()
        assert server.settles()
        assert server.ask(prompt="the", max_tokens=2)["choices"]


@pytest.mark.usefixtures("slow")
def test_a_text_ends_when_its_time_is_up_and_who_waited_as_long_is_sent_away(monkeypatch):
    late = []
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + sum(late)))
    with serving(endless(slots=1, seconds=2 * PATIENCE_SECONDS)) as server:
        refused, told = [], b""
        waiting = threading.Thread(target=lambda: refused.append(server.client.post("/v1/completions", json=ENDLESS)))
        with connection(server, {**ENDLESS, "stream": True, "stream_options": {"include_usage": True}}) as opened:
            told += until(opened, b"data: ")
            waiting.start()
            assert happens(lambda: server.service.engine.waiting)
            late.append(3 * PATIENCE_SECONDS)
            told += until(opened, b"[DONE]")
        waiting.join()
        assert b'"finish_reason":"length"' in told
        assert 0 < int(re.search(rb'"completion_tokens":(\d+)', told)[1]) < 10**9
        assert refused[0].status_code == 429
        assert "no slot became free in time" in refused[0].json()["error"]["message"]
        assert server.settles()


def test_large_bodies_are_refused():
    with serving(endless(slots=1, body_bytes=1000)) as server:
        for size in (1001, 12_000, 50_000):
            answer = server.client.post("/v1/completions", content=b"x" * size)
            assert answer.status_code == 413
            assert "1000" in answer.json()["error"]["message"]
        chunked = server.client.post("/v1/completions", content=(b"x" * 100 for _ in range(50)))
        assert chunked.status_code == 413
        assert server.ask(prompt="the", max_tokens=1)["choices"]


@pytest.mark.parametrize(("size", "more"), [(10**10, ""), (1001, "expect: 100-continue\r\n")])
def test_what_says_that_it_is_too_large_is_not_waited_for(size, more):
    with serving(endless(body_bytes=1000)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as opened:
            head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\n{more}content-length: {size}\r\n\r\n"
            opened.sendall(head.encode())
            assert opened.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(("begun", "told"), [(b"POST /v1/compl", b"HTTP/1.1 408"), (b"", b"")])
def test_late_heads_are_refused(begun, told):
    with serving(endless(body_seconds=2)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as late:
            late.sendall(begun)
            answer = b""
            while more := late.recv(1000):
                answer += more
        assert answer[:12] == told


def test_late_bodies_are_refused():
    with serving(endless(body_seconds=2)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as late:
            late.sendall(f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\ncontent-length: 10\r\n\r\n{{".encode())
            assert late.recv(100).startswith(b"HTTP/1.1 408")
        assert happens(lambda: answers(server))  # whose own head may be late on a busy machine


def answers(server):
    """Whether a new connection is answered."""
    with contextlib.suppress(httpx2.TransportError):
        return server.client.get("/healthz").status_code == 200
    return False


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /%ff%00%2e%2e/ HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
    ],
)
def test_what_is_hardly_http_is_refused(sent):
    with serving() as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as opened:
            opened.sendall(sent)
            opened.shutdown(socket.SHUT_WR)
            answer = opened.recv(100)
        assert not answer or answer.startswith(b"HTTP/1.1 4")
        assert server.client.get("/healthz").status_code == 200


def test_a_key_opens_what_is_behind_it():
    with serving(key="sesame") as server:
        get = server.client.get
        assert get("/healthz").status_code == get("/").status_code == 200
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "sesame"},
            {"authorization": "Bearer é"},
        ):
            sent = {name: value.encode("latin-1") for name, value in headers.items()}
            for path in ("/v1/models", "/metrics"):
                answer = get(path, headers=sent)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
        assert get("/v1/models", headers={"authorization": "Bearer sesame"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:80"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": ""}, 403),
        ({"host": "["}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "localhost:99", "origin": "http://localhost:99"}, 200),
        ({"host": "localhost:99", "origin": "http://localhost:98"}, 403),
    ],
)
def test_pages_of_others_are_not_answered(headers, status):
    with serving() as server:
        assert server.client.get("/healthz", headers=headers).status_code == status


def test_a_failed_step_costs_its_texts_only(monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory, say")

    with serving(complaints=2) as server:
        for name in ("step", "join"):
            with monkeypatch.context() as patched:
                patched.setattr(Batch, name, fail)
                assert server.client.post("/v1/completions", json={"prompt": "the"}).status_code == 500
        assert server.settles()
        assert server.ask(prompt="the", max_tokens=3)["choices"]


@pytest.mark.parametrize(
    "wrong", [{"slots": 0}, {"waiting": -1}, {"seconds": 0}, {"body_bytes": -1}, {"max_tokens": 0}]
)
def test_limits_that_let_nothing_through_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong)).replace("_", "-")):
        Limits(**wrong)


@pytest.mark.parametrize("path", ["/nothing", "/v1/completions", "/"])
@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_bodies_that_are_no_http_are_told_so_and_leave_no_traceback(server, method, path, answered):
    """A length of a chunk that is none, before and after the request has been answered (`server` must not complain)."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as opened:
        head = f"{method} {path} HTTP/1.1\r\nhost: {host}:{port}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        opened.sendall(head + (b"3\r\nabc\r\n" if answered else b"zzz\r\n\r\n"))
        if answered and (method, path) != ("POST", "/v1/completions"):  # which waits for the whole body
            assert opened.recv(12).startswith(b"HTTP/1.1 ")
        if answered:
            opened.sendall(b"zzz\r\n\r\n")
        told = b"".join(iter(lambda: opened.recv(4096), b""))
    if not answered:
        assert told.startswith(b"HTTP/1.1 400")
        assert json.loads(told.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert server.client.get("/healthz").status_code == 200
    assert server.settles()


@pytest.mark.usefixtures("slow")
def test_what_follows_a_request_and_is_no_http_ends_the_connection(server):
    opened = connection(server, {**ENDLESS, "max_tokens": 30, "stream": True})
    assert opened.recv(12) == b"HTTP/1.1 200"
    opened.sendall(b"\xff\xfe\r\n\r\n")
    told = b"".join(iter(lambda: opened.recv(4096), b""))
    opened.close()
    assert b"data: [DONE]" in told
    assert told.count(b"HTTP/1.1") == 1
    assert server.settles()


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("stream", [True, False])
def test_texts_that_outlast_the_server_say_why_they_end(stream):
    with serving(endless(slots=1, grace_seconds=0.2)) as server:
        opened = connection(server, {**ENDLESS, "stream": stream})
        assert happens(lambda: server.service.engine.busy)
        if stream:
            assert opened.recv(12) == b"HTTP/1.1 200"
    told = b"".join(iter(lambda: opened.recv(4096), b""))
    opened.close()
    assert b"the server is stopping" in told
    assert told.endswith(b"\r\n0\r\n\r\n") if stream else told.startswith(b"HTTP/1.1 503")
