"""The part of bench/corpus.py that fetches: pages of a hundred loopback hosts, by ours and by Scrapy, httpx and aiohttp.

Imported by bench/corpus.py; run by itself this file does nothing. Ours and Scrapy ask for robots.txt and limit what one host is
asked for; ours also guards addresses and writes WARC. httpx and aiohttp are bare loops that do none of this and keep nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from selftaught import compute
from selftaught.corpus.documents import Funnel
from selftaught.corpus.links import Link
from selftaught.corpus.politeness import FetchSettings
from side_by_side import SideBySide

HOSTS, CONCURRENT, PER_HOST = 100, 64, 8
ADDRESSES = [f"127.0.1.{number + 1}" for number in range(HOSTS)]
BODY = b"<html><body>" + b"<p>A paragraph of some words, as pages have them.</p>" * 300 + b"</body></html>"


def compare_fetching(bench: SideBySide, folder: Path) -> None:
    """Pages a second of processor time."""
    from selftaught.corpus import fetching  # not above: whatever is there, every process of the chains imports too

    count = 600 if bench.quick else 3000
    with _serving() as port:
        places = {f"h{number}.test": (address, port) for number, address in enumerate(ADDRESSES)}
        links = [Link(url=f"http://h{number % HOSTS}.test/{number}", karma=3) for number in range(count)]
        urls = [f"http://{ADDRESSES[number % HOSTS]}:{port}/{number}" for number in range(count)]

        def ours() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            funnel = Funnel()
            fetching.fetch(
                links, folder, FetchSettings(concurrent=CONCURRENT, per_host=PER_HOST), funnel, places=places
            )
            assert funnel.counts["fetch", "kept"] == count

        loops: dict[str, Callable[[Sequence[str]], Awaitable[None]]] = {"aiohttp, bare": _by_aiohttp}
        if bench.peer("httpx"):
            loops["httpx, bare"] = _by_httpx
        case = f"fetch {count} pages of {HOSTS} hosts"
        peers = {name: lambda loop=loop: asyncio.run(loop(urls)) for name, loop in loops.items()}
        bench.compare(case, ours, peers, amount=count, unit="pages/s", repeats=3)
        if bench.peer("scrapy"):
            taken = statistics.median(_scrapy_seconds(urls) for _ in range(1 if bench.quick else 3))
            mine = bench.records[-1].ours
            bench.note(case, mine, count / taken, "Scrapy", unit="pages/s", larger_is_better=True)


@contextmanager
def _serving() -> Iterator[int]:
    """A server in a process of its own that answers any request; gives its port."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _serve(place: Connection) -> None:
    compute.follow_parent()
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    robots = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    class Pages(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            for request in data.split(b"\r\n\r\n")[:-1]:
                self.transport.write(robots if request.startswith(b"GET /robots.txt") else page)

    async def serve() -> None:
        with socket.socket() as free:
            free.bind((ADDRESSES[0], 0))
            port = free.getsockname()[1]
        server = await asyncio.get_running_loop().create_server(Pages, ADDRESSES, port, backlog=512)
        place.send(port)
        await server.serve_forever()

    asyncio.run(serve())


async def _by_aiohttp(urls: Sequence[str]) -> None:
    import aiohttp

    slots = asyncio.Semaphore(CONCURRENT)
    async with aiohttp.ClientSession() as session:

        async def one(url: str) -> None:
            async with slots, session.get(url) as response:
                assert await response.read() == BODY

        await asyncio.gather(*map(one, urls))


async def _by_httpx(urls: Sequence[str]) -> None:
    import httpx

    slots = asyncio.Semaphore(CONCURRENT)
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=CONCURRENT)) as client:

        async def one(url: str) -> None:
            async with slots:
                assert (await client.get(url)).content == BODY

        await asyncio.gather(*map(one, urls))


def _scrapy_seconds(urls: Sequence[str]) -> float:
    """Processor time of a crawl by Scrapy, which starts its event loop but once in a process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_scrapy, args=(there, urls), daemon=True)
    process.start()
    there.close()
    seconds, pages = here.recv()
    process.join()
    assert pages == len(urls)
    return float(seconds)


def _scrapy(place: Connection, urls: Sequence[str]) -> None:
    compute.follow_parent()
    import scrapy
    from scrapy.crawler import CrawlerProcess

    pages = 0

    class Pages(scrapy.Spider):  # type: ignore[misc]  # Scrapy is not there for mypy
        name = "pages"

        def parse(self, response: Any) -> None:
            nonlocal pages
            pages += response.body == BODY

    crawler = CrawlerProcess(
        {
            "CONCURRENT_REQUESTS": CONCURRENT,
            "CONCURRENT_REQUESTS_PER_DOMAIN": PER_HOST,
            "DOWNLOAD_DELAY": 0,
            "ROBOTSTXT_OBEY": True,
            "LOG_ENABLED": False,
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    start = time.process_time()
    crawler.crawl(Pages, start_urls=list(urls))
    crawler.start()
    place.send((time.process_time() - start, pages))
