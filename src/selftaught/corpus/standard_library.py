"""The default web: the documentation that every Python carries, served on a loopback port and linked to as on Reddit.

`pydoc` renders a page for each module and topic. The submissions give a module as many points as modules of the standard
library import it, and a topic as many as other topics mention it: real signals of curation for the rule of 3 karma to work on.
"""

from __future__ import annotations

import ast
import multiprocessing
import pkgutil
import pydoc_data.topics
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import unquote, urlsplit

from selftaught import compute, console, storage

HOST, OLD_HOST = "pydoc.test", "old.pydoc.test"
"""Names under a domain reserved for tests (RFC 6761), so that URLs, and with them the split, do not depend on the port."""
SUBMISSIONS_FILE = "submissions.jsonl"
_NOT_RENDERED = frozenset(("antigravity", "this", "idlelib", "lib2to3", "test", "turtledemo", "__phello__", "__main__"))
"""Modules that open a browser, print a poem, want a screen, or test."""


def module_names() -> list[str]:
    """Modules and packages of the standard library, with their public submodules."""
    found = []
    for name in sorted(sys.stdlib_module_names - _NOT_RENDERED):
        found.append(name)
        found += _submodules(name)
    return found


def _submodules(name: str) -> list[str]:
    folder = Path(pkgutil.__file__).parent / name
    if not (folder / "__init__.py").is_file():
        return []
    names = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return [f"{name}.{module}" for module in names if module not in ("__main__", "tests", "test")]


def importers() -> Counter[str]:
    """For each module, how many modules of the standard library import it."""
    counts: Counter[str] = Counter()
    root = Path(pkgutil.__file__).parent
    for name in module_names():
        path = root.joinpath(*name.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                counts.update(_imported(file, name if file.stem == "__init__" else name.rpartition(".")[0]))
    return counts


def _imported(file: Path, package: str) -> set[str]:
    found: set[str] = set()
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [package if node.level else "", node.module or ""]))
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def mentions() -> Counter[str]:
    """For each help topic, in how many other topics its name stands."""
    topics = pydoc_data.topics.topics
    words = {name: set(re.findall(r"\w+", text)) for name, text in topics.items()}
    named = {name: set(re.findall(r"\w+", name)) for name in topics}
    return Counter({name: sum(named[name] <= words[other] for other in topics if other != name) for name in topics})


def submissions() -> list[dict[str, object]]:
    """Rows in the format of a Reddit dump: every module and topic, and links that a corpus must not keep."""
    known = importers()
    linked = [(f"http://{HOST}/{name}.html", known[name], f"pydoc: {name}") for name in module_names()]
    linked += [(f"http://{HOST}/topic/{name}", score, f"help topic: {name}") for name, score in mentions().items()]
    linked += [
        (f"http://{HOST.upper()}:80/json.html?utm_source=feed#details", 12, "the same page again"),
        (f"http://{OLD_HOST}/json.html", 9, "a mirror of the same page"),
        (f"http://{HOST}/removed.html", 7, "a page that is gone"),
        (f"http://{HOST}/broken", 7, "a page that fails"),
        (f"http://{HOST}/private/notes.html", 5, "a page that robots.txt keeps for its owner"),
        ("ftp://pydoc.test/archive", 8, "not a web address"),
        ("https://en.wikipedia.org/wiki/Python_(programming_language)", 40, "an encyclopedia"),
        (f"http://{HOST}/logo.png", 6, "a picture"),
    ]
    return [_row(number, *link) for number, link in enumerate(linked)]


def _row(number: int, url: str, score: int, title: str) -> dict[str, object]:
    return {
        "id": f"s{number}",
        "url": url,
        "score": score,
        "title": title,
        "subreddit": "Python",
        "author": "pydoc",
        "created_utc": 1_134_000_000 + 3600 * number,
        "over_18": False,
        "is_self": False,
    }


def write_submissions(path: Path) -> None:
    """Write the submissions file."""
    console.line("reading the standard library to see which modules import which")
    storage.write_jsonl(path, list(submissions()))


@contextmanager
def serving() -> Iterator[dict[str, tuple[str, int]]]:
    """Serve the pages from a process of their own; gives the place of each host, as `fetching.fetch` wants it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        port = here.recv()
        yield {HOST: ("127.0.0.1", port), OLD_HOST: ("127.0.0.1", port)}
    finally:
        process.terminate()
        process.join()


def _serve(place: Connection) -> None:
    compute.follow_parent()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        place.send(server.server_address[1])
        server.serve_forever()


class _Pages(BaseHTTPRequestHandler):
    """Renders a page when it is asked for."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/robots.txt":
            self._answer(200, "User-agent: *\nDisallow: /private/\n", "text/plain")
        elif path == "/broken":
            self._answer(500, "broken")
        else:
            self._render(path)

    def _render(self, path: str) -> None:
        try:
            page = render(path)
        except Exception:  # noqa: BLE001 - a module that cannot be imported here is a page that fails
            self._answer(410, "this module cannot be shown on this machine")
            return
        self._answer(200 if page else 404, page or "no such page")

    def _answer(self, status: int, text: str, kind: str = "text/html") -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the fetcher's progress bar tells."""


def render(path: str) -> str:
    """The HTML of `/MODULE.html` or `/topic/NAME`, "" if there is no such page. May raise whatever importing MODULE raises."""
    import importlib
    import pydoc

    html = pydoc.HTMLDoc()
    kind, _, name = path.strip("/").rpartition("/")
    if kind == "topic" and name in pydoc_data.topics.topics:
        return html.page(name, f"<h1>{name}</h1>{_paragraphs(pydoc_data.topics.topics[name])}")
    module = name.removesuffix(".html")
    if kind or module not in module_names():
        return ""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return html.page(module, html.docmodule(importlib.import_module(module)))


def _paragraphs(text: str) -> str:
    import html

    return "".join(f"<p>{html.escape(part)}</p>" for part in text.split("\n\n") if part.strip())
