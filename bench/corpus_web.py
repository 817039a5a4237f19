"""The parts of bench/corpus.py that need pages or a corpus folder: WARC, and the whole chain.

Imported by bench/corpus.py; run by itself this file does nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from selftaught import compute, storage
from selftaught.corpus import documents, extraction, finishing
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.extraction import ExtractionSettings
from selftaught.corpus.pages import Page, read_pages, write_pages
from side_by_side import SideBySide

PAGES_TOGETHER = 50
LONGEST_SECONDS = 200
"""A chain that takes longer is stopped, and what it has reached at most is noted."""


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
    """From HTML to token shards by the clock, each in a process of its own, start included: ours, a script, datatrove, Ray."""
    shutil.rmtree(folder, ignore_errors=True)
    archives = _archives(folder / "few", [*bodies] * (2 if bench.quick else 3))
    works: dict[str, Callable[[], object]] = {
        "ours on one process": partial(_chain, archives, folder / "one", 1, vocabulary),
        "a loop over trafilatura, fast": partial(_scripts, archives, vocabulary),
    }
    if bench.peer("datatrove.executor"):
        works["datatrove, two workers"] = partial(_datatrove, archives, folder / "datatrove", vocabulary)
    if bench.peer("ray"):
        works["Ray, two workers"] = partial(_ray, archives, vocabulary)
    _beside(bench, partial(_chain, archives, folder / "two", 2, vocabulary), works, len(archives) * PAGES_TOGETHER)
    many = _archives(folder / "many", [*bodies] * (4 if bench.quick else 12))
    one, two = (partial(_chain, many, folder / f"many, {count}", count, vocabulary) for count in (1, 2))
    _beside(bench, two, {"ours on one process": one}, len(many) * PAGES_TOGETHER)


def _archives(folder: Path, bodies: Sequence[bytes]) -> list[Path]:
    """Files of as many pages each, all different, of the given ones over and over; what fills no file is left out."""
    paths = []
    for start in range(0, len(bodies) - PAGES_TOGETHER + 1, PAGES_TOGETHER):
        paths.append(folder / f"{start:05}.warc.zst")
        write_pages(paths[-1], [_page(bodies[n], n) for n in range(start, start + PAGES_TOGETHER)])
    return paths


def _page(body: bytes, number: int) -> Page:
    """The page again, but no duplicate."""
    url, body = f"http://a{number}.test/", body.replace(b" the ", b" the%d " % number)
    return Page(url=url, final_url=url, content_type="text/html", body=body)


def _beside(bench: SideBySide, ours: Callable[[], object], peers: dict[str, Callable[[], object]], pages: int) -> None:
    case = f"HTML -> token shards, fast, two processes, {pages} pages"
    mine = _alone(ours)
    print(
        f"{case}: {mine.memory_bytes / 1e6:.0f} MB in the first process and {mine.workers_bytes / 1e6:.0f} in each other"
    )
    for name, work in peers.items():
        taken = _alone(work)
        named = name if taken.finished else f"{name}, stopped"
        bench.note(case, pages / mine.seconds, pages / taken.seconds, named, unit="pages/s", larger_is_better=True)
        if name.startswith("ours"):
            rates = pages / mine.processor_seconds, pages / taken.processor_seconds
            bench.note(case, *rates, name, unit="pages/s of processor time", larger_is_better=True)


@dataclass(frozen=True)
class _Taken:
    """What something took that ran in a process of its own, with all that it started and waited for."""

    seconds: float
    processor_seconds: float
    memory_bytes: int
    workers_bytes: int
    finished: bool


def _alone(work: Callable[[], object]) -> _Taken:
    """Run `work` in a process of its own, and end it with all of its group where it takes too long."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    clock, before = time.perf_counter(), os.times()
    process = context.Process(target=_report, args=(there, work))
    process.start()
    there.close()
    memory = (0, 0)
    with suppress(EOFError):
        memory = here.recv() if here.poll(LONGEST_SECONDS) else memory
    if not memory[0]:
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return _Taken(time.perf_counter() - clock, used, *memory, finished=bool(memory[0]))


def _report(place: Connection, work: Callable[[], object]) -> None:
    os.setsid()
    compute.follow_parent()
    work()
    place.send((compute.peak_memory_bytes(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))


def _datatrove(archives: Sequence[Path], folder: Path, vocabulary: Path) -> None:
    """The steps that it has for this: trafilatura, Gopher's repetitions, its tokenizer."""
    from datatrove.executor import LocalPipelineExecutor
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
    LocalPipelineExecutor(steps, tasks=2, workers=2, logging_dir=str(folder / "logs")).run()


def _their_documents(archives: Sequence[Path], _: object, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
    from datatrove.data import Document as TheirDocument

    for path in archives[rank::world_size]:
        for page in read_pages(path):
            yield TheirDocument(text=page.body.decode("utf-8", "replace"), id=page.url)


def _ray(archives: Sequence[Path], vocabulary: Path) -> None:
    """The script's loop as Ray's tasks, one for each archive."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        task = ray.remote(_script)
        ray.get([task.remote(path, vocabulary) for path in archives])
    finally:
        ray.shutdown()


def _chain(archives: Sequence[Path], out: Path, processes: int, vocabulary: Path) -> None:
    from selftaught.tokenizer.tokenizer import Tokenizer
    from selftaught.tokens.packing import pack

    funnel, rules = Funnel(), ExtractionSettings(extractor="fast", processes=processes)
    with extraction.start(rules) as workers:
        extraction.extract(archives, out / "documents.jsonl.zst", funnel, rules, workers=workers)
        rows = documents.read_rows(out / "documents.jsonl.zst", Document)
        finishing.finish(rows, out / "corpus", funnel, finishing.FinishingSettings(heldout=0.2), workers=workers)
    pack(out / "corpus", Tokenizer.load(vocabulary), out / "tokens")


def _scripts(archives: Sequence[Path], vocabulary: Path) -> None:
    for path in archives:
        _script(path, vocabulary)


def _script(archive: Path, vocabulary: Path) -> int:
    """What a short script does: extract and encode, one page after the other."""
    import trafilatura

    from selftaught.tokenizer.tokenizer import Tokenizer

    tokenizer = _script.__dict__.setdefault("tokenizer", None) or Tokenizer.load(vocabulary)
    _script.__dict__["tokenizer"] = tokenizer
    return sum(len(tokenizer.encode(trafilatura.extract(page.body, fast=True) or "")) for page in read_pages(archive))
