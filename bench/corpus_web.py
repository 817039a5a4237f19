"""The parts of bench/corpus.py that need a web or a corpus folder: fetching from loopback, WARC, and the whole chain.

Imported by bench/corpus.py; run by itself this file does nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from selftaught import compute, storage
from selftaught.corpus import documents, extraction, fetching, finishing
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.extraction import ExtractionSettings
from selftaught.corpus.links import Link
from selftaught.corpus.pages import Page, read_pages, write_pages
from selftaught.corpus.politeness import FetchSettings
from side_by_side import SideBySide

HOSTS, CONCURRENT = 100, 64
BODY = b"<html><body>" + b"<p>A paragraph of some words, as pages have them.</p>" * 300 + b"</body></html>"


@contextmanager
def serving() -> Iterator[int]:
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
        server = await asyncio.get_running_loop().create_server(Pages, "127.0.0.1", 0, backlog=512)
        place.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def compare_fetching(bench: SideBySide, folder: Path) -> None:
    """Pages a second of processor time, robots.txt, guard and WARC included in ours; the peer is a bare loop."""
    count = 600 if bench.quick else 3000
    urls = [f"http://h{number % HOSTS}.test/{number}" for number in range(count)]
    links = [Link(url=url, karma=3) for url in urls]
    rules = FetchSettings(concurrent=CONCURRENT, per_host=8)
    with serving() as port:
        places = {f"h{number}.test": ("127.0.0.1", port) for number in range(HOSTS)}

        def ours() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            funnel = Funnel()
            fetching.fetch(links, folder, rules, funnel, places=places)
            assert funnel.counts["fetch", "kept"] == count

        bench.compare(
            f"fetch {count} pages of {HOSTS} hosts",
            ours,
            {"aiohttp, bare": lambda: asyncio.run(_bare(port, count))},
            amount=count,
            unit="pages/s",
            repeats=3,
        )


async def _bare(port: int, count: int) -> None:
    import aiohttp

    slots = asyncio.Semaphore(CONCURRENT)
    async with aiohttp.ClientSession() as session:

        async def one(number: int) -> bytes:
            async with slots, session.get(f"http://127.0.0.1:{port}/{number}") as response:
                return await response.read()

        await asyncio.gather(*map(one, range(count)))


def compare_archives(bench: SideBySide, folder: Path, bodies: Sequence[bytes]) -> None:
    """Writing WARC, beside warcio."""
    pages = [
        Page(url=f"http://a.test/{n}", final_url=f"http://a.test/{n}", content_type="text/html", body=body)
        for n, body in enumerate(bodies)
    ]
    megabytes = sum(map(len, bodies)) / 1e6
    warcio = bench.peer("warcio")
    if warcio is None:
        return
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    def theirs() -> None:
        with (folder / "peer.warc.gz").open("wb") as stream:
            writer = WARCWriter(stream, gzip=True)
            for page in pages:
                head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
                body = BytesIO(page.body)
                writer.write_record(writer.create_warc_record(page.url, "response", payload=body, http_headers=head))

    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("gz", "zst"):
        path = folder / f"ours.warc.{kind}"
        work = _writer(path, pages)
        bench.compare(f"write WARC, {kind}", work, {"warcio, gz": theirs}, amount=megabytes, unit="MB/s")


def _writer(path: Path, pages: Sequence[Page]) -> Callable[[], object]:
    return lambda: write_pages(path, pages)


def compare_chain(bench: SideBySide, folder: Path, bodies: Sequence[bytes], vocabulary: Path) -> None:
    """From HTML to token shards: ours on one process and on two, beside a short script, datatrove and Ray; start included."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = [
        Page(url=f"http://a{n}.test/", final_url=f"http://a{n}.test/", content_type="text/html", body=_varied(body, n))
        for n, body in enumerate([*bodies] * (2 if bench.quick else 3))
    ]
    archives = [folder / f"{start:05}.warc.zst" for start in range(0, len(pages), 64)]
    for number, path in enumerate(archives):
        write_pages(path, pages[number * 64 : number * 64 + 64])
    rules = ExtractionSettings(extractor="fast", processes=1)
    taken = {
        "ours on one process": _timed(lambda: _chain(archives, folder / "one", rules, vocabulary)),
        "a loop over trafilatura, fast": _timed(lambda: [_script(path, vocabulary) for path in archives]),
    }
    if datatrove := bench.peer("datatrove.executor"):
        taken["datatrove, two workers"] = _timed(
            lambda: _datatrove(datatrove, archives, folder / "datatrove", vocabulary)
        )
    if ray := bench.peer("ray"):
        taken["Ray, two workers"] = _timed(lambda: _ray(ray, archives, vocabulary))
    two = _timed(lambda: _chain(archives, folder / "two", replace(rules, processes=2), vocabulary))
    for name, others in taken.items():
        for unit, mine, theirs in zip(("pages/s", "pages/s and core"), two, others, strict=True):
            case = f"HTML -> token shards, fast, two processes, {len(pages)} pages"
            bench.note(case, len(pages) / mine, len(pages) / theirs, name, unit=unit, larger_is_better=True)
    print(f"the chain's first process held {compute.peak_memory_bytes() / 1e6:.0f} MB at most")


def _datatrove(datatrove: Any, archives: Sequence[Path], folder: Path, vocabulary: Path) -> None:
    """The steps that it has for this: trafilatura, Gopher's repetitions, its tokenizer."""
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import GopherRepetitionFilter
    from datatrove.pipeline.tokens import DocumentTokenizer

    from selftaught.tokenizer import files, formats

    storage.write_json(folder / "tokenizer.json", formats.plain_document(files.read(vocabulary)))
    steps = [
        partial(_their_documents, archives),
        Trafilatura(favour_precision=False, timeout=5, fast=True),
        GopherRepetitionFilter(),
        DocumentTokenizer(str(folder / "tokens"), tokenizer_name_or_path=str(folder / "tokenizer.json")),
    ]
    datatrove.LocalPipelineExecutor(steps, tasks=2, workers=2, logging_dir=str(folder / "logs")).run()


def _their_documents(archives: Sequence[Path], _: object, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
    from datatrove.data import Document as TheirDocument

    for path in archives[rank::world_size]:
        for page in read_pages(path):
            yield TheirDocument(text=page.body.decode("utf-8", "replace"), id=page.url)


def _ray(ray: Any, archives: Sequence[Path], vocabulary: Path) -> None:
    """The script's loop as Ray's tasks, one for each archive."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        task = ray.remote(_script)
        ray.get([task.remote(path, vocabulary) for path in archives])
    finally:
        ray.shutdown()


def _varied(body: bytes, number: int) -> bytes:
    """The page again, but no duplicate."""
    return body.replace(b" the ", b" the%d " % number)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and seconds of processor time with that of all processes that were started."""
    clock, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - clock, sum(after[:4]) - sum(before[:4])


def _chain(archives: Sequence[Path], out: Path, rules: ExtractionSettings, vocabulary: Path) -> None:
    from selftaught.tokenizer.tokenizer import Tokenizer
    from selftaught.tokens.packing import pack

    funnel = Funnel()
    extraction.extract(archives, out / "documents.jsonl.zst", funnel, rules)
    rows = documents.read_rows(out / "documents.jsonl.zst", Document)
    finishing.finish(rows, out / "corpus", funnel, finishing.FinishingSettings(heldout=0.2))
    pack(out / "corpus", Tokenizer.load(vocabulary), out / "tokens")


def _script(archive: Path, vocabulary: Path) -> int:
    """What a short script does: extract and encode, one page after the other."""
    import trafilatura

    from selftaught.tokenizer.tokenizer import Tokenizer

    tokenizer = _script.__dict__.setdefault("tokenizer", None) or Tokenizer.load(vocabulary)
    _script.__dict__["tokenizer"] = tokenizer
    return sum(len(tokenizer.encode(trafilatura.extract(page.body, fast=True) or "")) for page in read_pages(archive))
