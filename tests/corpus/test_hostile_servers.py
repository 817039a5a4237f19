"""Servers that mean harm or are broken: each page ends as a counted reason, and none of its neighbours is touched."""

from __future__ import annotations

import gzip
import socketserver
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from selftaught.corpus import hosts, transport
from selftaught.corpus.documents import Funnel
from selftaught.corpus.fetching import fetch
from selftaught.corpus.links import Link
from selftaught.corpus.pages import read_pages
from selftaught.corpus.politeness import FetchSettings

PATIENCE_SECONDS = 600.0
"""Only so that nothing waits for ever: a busy machine may take minutes for what takes milliseconds."""
HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
WHOLE = b"<p>all of it</p>"
BOMB = gzip.compress(bytes(30 << 20))
Send = Callable[[bytes], None]


def answer(body: bytes, more: bytes = b"") -> bytes:
    return HTML + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def drip(send: Send) -> None:
    send(HTML + b"Content-Length: 100000\r\n\r\n")
    for _ in range(100_000):
        send(b"x")
        time.sleep(0.05)


def endless(send: Send) -> None:
    send(HTML + b"\r\n")
    while True:
        send(b"x" * 10_000)


class Server(socketserver.ThreadingTCPServer):
    """Answers each path with bytes, or lets a function send them."""

    daemon_threads = True
    request_queue_size = 128
    block_on_close = False
    robots: bytes | Callable[[Send], None] = answer(b"")

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.ranges: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def reply(self, path: str, request: str) -> bytes | Callable[[Send], None]:
        host = request.lower().partition("host: ")[2].partition("\r\n")[0]
        fixed: dict[str, bytes | Callable[[Send], None]] = {
            "/robots.txt": (lambda _: time.sleep(PATIENCE_SECONDS)) if host.startswith("slow-robots") else self.robots,
            "/good": answer(WHOLE),
            "/drip": drip,
            "/endless": endless,
            "/bomb": answer(BOMB, b"Content-Encoding: gzip\r\n"),
            "/short": HTML + b"Content-Length: 1000\r\n\r\ntoo little",
            "/not-gzip": answer(b"plain", b"Content-Encoding: gzip\r\n"),
            "/garbage": b"\x00\x01\x02 this is not HTTP\r\n\r\n",
            "/header": HTML + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",
            "/nul": answer(b"<p>a\0b</p>"),
            "/deep": answer(b"<div>" * 3000),
            "/to-wikipedia": b"HTTP/1.1 302 Found\r\nLocation: https://en.wikipedia.org/wiki/X\r\nContent-Length: 0\r\n\r\n",
        }
        if path == "/busy" and self.asked[path] < 3:
            return b"HTTP/1.1 429 Slow down\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        if path == "/breaks":
            return self._breaking(request)
        return fixed.get(path, answer(WHOLE))

    def _breaking(self, request: str) -> bytes:
        """The first half; the second if that is what is asked for."""
        half, mark = len(WHOLE) // 2, b'Accept-Ranges: bytes\r\nETag: "one"\r\n'
        if "range: bytes=" not in request.lower():
            return HTML + mark + b"Content-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE[:half]
        self.ranges.append(request)
        return answer(WHOLE[half:], mark).replace(b"200 OK", b"206 Partial Content")


class Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n") and (line := self.rfile.readline()):
            request += line
        if not request:
            return
        path = request.split()[1].decode()
        self.server.asked[path] += 1
        reply = self.server.reply(path, request.decode("latin-1"))
        with suppress(OSError):
            if isinstance(reply, bytes):
                self.wfile.write(reply)
            else:
                reply(self.wfile.write)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


class Places(dict[str, Any]):
    """Every name that ends in .test leads to the server."""

    def __init__(self, server: Server) -> None:
        self.here = ("127.0.0.1", server.server_address[1])
        super().__init__({"any": self.here})

    def __contains__(self, host: object) -> bool:
        return str(host).endswith(".test")

    def __getitem__(self, host: str) -> tuple[str, int]:
        return self.here


def get(server: Server, out: Path, *urls: str, **rules: Any) -> dict[str, str]:
    funnel = Funnel()
    usual = {"largest_bytes": 200_000, "timeout_seconds": PATIENCE_SECONDS, "first_pause_seconds": 0.01}
    settings = FetchSettings(**{**usual, **rules})
    files = fetch([Link(url=url, karma=3) for url in urls], out, settings, funnel, places=Places(server))
    assert funnel.counts["fetch", ""] == len(urls)
    kept = {page.url: page.body.decode() for file in files for page in read_pages(file)}
    assert funnel.counts["fetch", "kept"] == len(kept)
    return {drop.url: drop.reason for drop in funnel.drops} | kept


def get_impatiently(
    server: Server, out: Path, *urls: str, done: Callable[[dict[str, str]], bool], **rules: Any
) -> dict[str, str]:
    """Wait for no page for long, but longer where the machine was too busy to do what must be done in that time."""
    for seconds in (0.3, 3.0, 30.0):
        server.asked.clear()
        found = get(server, out / f"{seconds:g}", *urls, timeout_seconds=seconds, **rules)
        if done(found):
            break
    return found


def robots_came(found: dict[str, str]) -> bool:
    return "robots.txt: timeout" not in found.values()


def test_each_way_to_harm_has_its_reason(server: Server, tmp_path: Path) -> None:
    wanted = {
        "/good": WHOLE.decode(),
        "/busy": WHOLE.decode(),
        "/breaks": WHOLE.decode(),
        "/nul": "<p>a\0b</p>",
        "/deep": "<div>" * 3000,
        "/endless": "too large",
        "/bomb": "too large",
        "/short": "cut short",
        "/not-gzip": "wrong encoding",
        "/garbage": "not HTTP",
        "/header": "not HTTP",
        "/to-wikipedia": "redirect to wikipedia",
    }
    found = get(server, tmp_path, *(f"http://h{number}.test{path}" for number, path in enumerate(wanted)))
    assert {url.partition(".test")[2]: what for url, what in found.items()} == wanted
    assert len(server.ranges) == 1
    assert 'if-range: "one"' in server.ranges[0].lower()


def test_pages_that_drip_are_not_waited_for(server: Server, tmp_path: Path) -> None:
    urls = ("http://h1.test/drip", "http://h2.test/drip")
    assert get_impatiently(server, tmp_path, *urls, done=robots_came) == dict.fromkeys(urls, "timeout")


def test_a_host_that_is_busy_is_left_alone_by_all(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one page waits as the host has asked, no other page of it is asked for."""
    asked: list[str] = []

    def reply(self: Server, path: str, _: str) -> bytes:
        if path == "/robots.txt":
            return answer(b"")
        asked.append(path)
        if path == "/0" and asked.count("/0") == 1:
            return b"HTTP/1.1 429 Slow down\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return answer(WHOLE)

    monkeypatch.setattr(Server, "reply", reply)
    paused: list[float] = []
    pause = hosts.Host.pause
    monkeypatch.setattr(hosts.Host, "pause", lambda self, seconds: (paused.append(seconds), pause(self, seconds)))
    found = get(server, tmp_path, *(f"http://busy.test/{number}" for number in range(4)), per_host=1)
    assert set(found.values()) == {WHOLE.decode()}
    assert asked == ["/0", "/0", "/1", "/2", "/3"]
    assert paused == [1.0]


def test_robots_txt_that_does_not_come_allows_nothing_and_no_page_is_asked_for(server: Server, tmp_path: Path) -> None:
    urls = [f"http://slow-robots.test/{number}" for number in range(50)]
    found = get_impatiently(server, tmp_path, *urls, done=lambda _: bool(server.asked))
    assert set(found.values()) <= {"robots.txt: timeout", "host does not answer"}
    assert set(server.asked) == {"/robots.txt"}


def test_a_name_that_leads_elsewhere_once_it_was_looked_at(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that is connected to is looked at, whatever was resolved before."""

    async def resolve(self: Any, host: str, port: int = 0, family: Any = None) -> list[dict[str, Any]]:
        return [{"hostname": host, "host": "127.0.0.1", "port": 1, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr(transport._GuardedResolver, "resolve", resolve)
    assert get(server, tmp_path, "http://rebound.example/") == {"http://rebound.example/": "private address"}
    assert not server.asked


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("224.0.0.1", False),
        ("0.1.2.3", False),
        ("255.255.255.255", False),
        ("192.0.0.170", False),
        ("::", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("::ffff:224.0.0.1", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::7f00:1", False),
        ("2001:0:7f00:1::", False),
        ("2002:808:808::", True),
        ("2606:4700::5efe:a00:1", False),
        ("2606:4700::200:5efe:a00:1", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("fec0::1", False),
        ("ff0e::1", False),
        ("fd00:ec2::254", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert transport.is_public(address) is public


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.216.34", True),
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("::1", True),
        ("fd00::1", True),
        ("::ffff:10.0.0.1", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("255.255.255.255", False),
    ],
)
def test_which_addresses_an_intranet_may_have(address: str, allowed: bool) -> None:
    assert transport.is_allowed(address, private=True) is allowed
    assert transport.is_allowed(address, private=False) is transport.is_public(address)


def test_private_addresses_may_be_allowed_but_for_those_where_clouds_keep_secrets(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data\r\nContent-Length: 0\r\n\r\n"
    monkeypatch.setattr(
        Server, "reply", lambda self, path, _: {"/robots.txt": self.robots, "/away": away}.get(path, answer(WHOLE))
    )
    here = f"http://127.0.0.1:{server.server_address[1]}"
    found = get(server, tmp_path, f"{here}/good", f"{here}/away", allow_private=True)
    assert found == {f"{here}/good": WHOLE.decode(), f"{here}/away": "private address"}


def test_very_many_links_to_one_host_hold_up_nobody_and_may_be_limited(server: Server, tmp_path: Path) -> None:
    many = [f"http://large.test/{number}" for number in range(10_000)]
    found = get(server, tmp_path, *many, "http://small.test/page", most_per_host=200)
    assert Counter(found.values()) == {WHOLE.decode(): 201, "over 200 links to one host": 9800}
    assert found["http://large.test/0"] == found["http://small.test/page"] == WHOLE.decode()


def test_a_host_that_is_dead_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "RETRIES", 0)
    urls = [f"http://dead.test/drip?{number}" for number in range(40)]
    monkeypatch.setattr(Server, "reply", lambda self, path, _: self.robots if "robots" in path else drip)
    found = get_impatiently(server, tmp_path, *urls, per_host=1, done=robots_came)
    assert Counter(found.values()) == {"timeout": 5, "host does not answer": 35}


def test_hosts_are_forgotten_when_there_are_too_many(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "_REMEMBERED", 10)
    found = get(server, tmp_path, *(f"http://h{number % 60}.test/{number}" for number in range(120)), concurrent=4)
    assert set(found.values()) == {WHOLE.decode()}
    assert len(found) == 120


def test_a_bomb_costs_little_memory(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path / "warm", "http://warm.test/good")
    tracemalloc.start()
    try:
        assert list(get(server, tmp_path, "http://b.test/bomb", largest_bytes=4 << 20).values()) == ["too large"]
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
