"""Fetching from a real server on a loopback port."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from selftaught.corpus import fetching, transport
from selftaught.corpus.documents import Funnel
from selftaught.corpus.fetching import fetch
from selftaught.corpus.links import Link
from selftaught.corpus.pages import read_pages
from selftaught.corpus.politeness import FetchSettings
from selftaught.errors import OutputError

HOST = "site.test"


class Site:
    """A server and what it was asked for."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.more: dict[str, tuple[int, dict[str, str], bytes]] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked[self.path] += 1
                status, headers, body = site.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        html = {"Content-Type": "text/html; charset=utf-8"}
        pages: dict[str, tuple[int, dict[str, str], bytes]] = {
            "/robots.txt": (200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /private"),
            "/good": (200, html, b"<p>good</p>"),
            "/moved": (301, {"Location": "/good"}, b""),
            "/away": (302, {"Location": "http://127.0.0.1:1/secret"}, b""),
            "/circle": (302, {"Location": "/circle"}, b""),
            "/picture": (200, {"Content-Type": "image/png"}, b"png"),
            "/large": (200, html, b"x" * 5000),
            "/private": (200, html, b"secret"),
            "/nowhere": (302, {"Location": "http://[URL]"}, b""),
            "/mapped": (302, {"Location": "http://[::ffff:127.0.0.1]/"}, b""),
            "/never": (503, {"Retry-After": "86400"}, b""),
        } | self.more
        if path == "/flaky":
            return (200, html, b"at last") if self.asked[path] > 1 else (503, {}, b"")
        return pages.get(path, (404, {}, b""))


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def get(site: Site, out: Path, *paths: str) -> dict[str, str]:
    funnel = Funnel()
    links = [Link(url=f"http://{HOST}{path}", karma=3) for path in paths]
    rules = FetchSettings(largest_bytes=1000, timeout_seconds=600, first_pause_seconds=0.01)
    files = fetch(links, out, rules, funnel, places={HOST: ("127.0.0.1", site.server.server_address[1])})
    outcomes = {drop.url.removeprefix(f"http://{HOST}"): drop.reason for drop in funnel.drops}
    return outcomes | {
        page.url.removeprefix(f"http://{HOST}"): page.body.decode() for file in files for page in read_pages(file)
    }


def test_each_page_is_kept_or_has_its_reason(site: Site, tmp_path: Path) -> None:
    paths = (
        *("/good", "/moved", "/away", "/circle", "/picture", "/large", "/private", "/missing", "/flaky"),
        *("/nowhere", "/mapped", "/never"),
    )
    assert get(site, tmp_path, *paths) == {
        "/good": "<p>good</p>",
        "/moved": "<p>good</p>",
        "/away": "private address",
        "/circle": "too many redirects",
        "/picture": "content type image/png",
        "/large": "too large",
        "/private": "robots.txt",
        "/missing": "status 404",
        "/flaky": "at last",
        "/nowhere": "redirect to no web address",
        "/mapped": "private address",
        "/never": "status 503",
    }
    assert site.asked["/private"] == 0
    assert site.asked["/never"] == 1


def test_robots_txt_is_followed_where_it_moved_and_whatever_its_type(site: Site, tmp_path: Path) -> None:
    rules = b"User-agent: *\nDisallow: /good"
    site.more = {
        "/robots.txt": (301, {"Location": "/rules"}, b""),
        "/rules": (200, {"Content-Type": "application/octet-stream"}, rules),
    }
    assert get(site, tmp_path, "/good", "/private") == {"/good": "robots.txt", "/private": "secret"}


def test_pauses_that_robots_txt_asks_for_are_kept_or_the_host_left_alone(site: Site, tmp_path: Path) -> None:
    site.more = {"/robots.txt": (200, {"Content-Type": "text/plain"}, b"User-agent: *\nCrawl-delay: 0.1")}
    assert set(get(site, tmp_path / "short", "/good", "/private").values()) == {"<p>good</p>", "secret"}
    site.more = {"/robots.txt": (200, {"Content-Type": "text/plain"}, b"User-agent: *\nCrawl-delay: 3600")}
    assert get(site, tmp_path / "long", "/good") == {"/good": "robots.txt wants pauses over 60 s"}
    assert site.asked["/good"] == 1


def test_a_robots_txt_that_fails_allows_nothing(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "RETRIES", 0)
    site.more = {"/robots.txt": (500, {}, b"")}
    assert get(site, tmp_path, "/good") == {"/good": "robots.txt: status 500"}
    assert site.asked["/good"] == 0


def test_a_second_start_asks_for_nothing_again(site: Site, tmp_path: Path) -> None:
    first = get(site, tmp_path, "/good", "/missing")
    asked = sum(site.asked.values())
    assert get(site, tmp_path, "/good", "/missing") == first
    assert sum(site.asked.values()) == asked


def test_private_addresses_are_refused(tmp_path: Path) -> None:
    funnel = Funnel()
    hosts = ("127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "224.0.0.1", "localhost")
    links = [Link(url=f"http://{host}/", karma=3) for host in hosts]
    fetch(links, tmp_path, FetchSettings(timeout_seconds=600), funnel)
    assert [drop.reason for drop in funnel.drops] == ["private address"] * len(links)


def test_a_disk_that_is_full_ends_the_run(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OutputError("cannot write", got="No space left on device")

    monkeypatch.setattr(fetching, "_BATCH_LINKS", 2)
    monkeypatch.setattr(fetching.pages, "write_pages", full)
    with pytest.raises(OutputError, match="No space left"):
        get(site, tmp_path, "/good", "/moved", "/missing", "/flaky")
