"""The parts of bench/corpus.py that need pages or a corpus folder: WARC, and the whole chain.

Imported by bench/corpus.py; run by itself this file does nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
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
from selftaught.corpus.pages import Page, read_pages, write_pages
from side_by_side import SideBySide

PAGES_TOGETHER = 50
LINKS = "links.jsonl"
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
    """From HTML to token shards by the clock, each in processes of its own: our commands, a script, datatrove, Ray.

    All starting counts for ours; for the others all but Python's own.
    """
    shutil.rmtree(folder, ignore_errors=True)
    archives = _archives(folder / "few", [*bodies] * (2 if bench.quick else 3))
    works: dict[str, Callable[[], object]] = {
        **_ours(folder / "few", folder / "out", vocabulary),
        "a loop over trafilatura, fast": partial(_scripts, archives, vocabulary),
    }
    if bench.peer("datatrove.executor"):
        works["datatrove, two workers"] = partial(_datatrove, archives, folder / "datatrove", vocabulary)
    if bench.peer("ray"):
        works["Ray, two workers"] = partial(_ray, archives, vocabulary)
    two = partial(_chain, folder / "few", folder / "out", 2, vocabulary)
    _beside(bench, two, works, len(archives) * PAGES_TOGETHER)
    many = _archives(folder / "many", [*bodies] * (4 if bench.quick else 12))
    two = partial(_chain, folder / "many", folder / "out", 2, vocabulary)
    _beside(bench, two, _ours(folder / "many", folder / "out", vocabulary), len(many) * PAGES_TOGETHER)


def _ours(archives: Path, out: Path, vocabulary: Path) -> dict[str, Callable[[], object]]:
    """Ours on less: one process that extracts, beside the one that reads, compares and writes; and all on one core."""
    one = partial(_chain, archives, out, 1, vocabulary)
    found: dict[str, Callable[[], object]] = {"ours on one process": one}
    if hasattr(os, "sched_setaffinity"):
        found["ours on one core"] = partial(_on_one_core, one)
    return found


def _on_one_core(work: Callable[[], object]) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    work()


def _archives(folder: Path, bodies: Sequence[bytes]) -> list[Path]:
    """Files of as many pages each, all different, of the given ones over and over, and the links to them.

    What fills no file is left out.
    """
    paths = []
    for start in range(0, len(bodies) - PAGES_TOGETHER + 1, PAGES_TOGETHER):
        paths.append(folder / f"{start:05}.warc.zst")
        write_pages(paths[-1], [_page(bodies[n], n) for n in range(start, start + PAGES_TOGETHER)])
    storage.write_jsonl(folder / LINKS, ({"url": _address(n), "score": 3} for n in range(len(bodies))))
    return paths


def _address(number: int) -> str:
    return f"http://a{number}.test/"


def _page(body: bytes, number: int) -> Page:
    """The page again, but no duplicate."""
    url, body = _address(number), body.replace(b" the ", b" the%d " % number)
    return Page(url=url, final_url=url, content_type="text/html", body=body)


def _beside(bench: SideBySide, ours: Callable[[], object], peers: dict[str, Callable[[], object]], pages: int) -> None:
    case = f"HTML -> token shards, fast, two processes, {pages} pages"
    named = {"ours": ours, **peers}
    runs: dict[str, list[_Taken]] = {name: [] for name in named}
    for _ in range(1 if bench.quick else 3):
        for name, work in named.items():
            if all(one.finished for one in runs[name]):
                runs[name].append(_alone(work))
    mine, *others = (sorted(taken, key=lambda one: one.seconds)[len(taken) // 2] for taken in runs.values())
    print(f"{case}: {mine.memory_bytes / 1e6:.0f} MB in the largest process")
    for name, taken in zip(peers, others, strict=True):
        told = name if taken.finished else f"{name}, stopped"
        bench.note(case, pages / mine.seconds, pages / taken.seconds, told, unit="pages/s", larger_is_better=True)
        if name.startswith("ours"):
            rates = pages / mine.processor_seconds, pages / taken.processor_seconds
            bench.note(case, *rates, name, unit="pages/s of processor time", larger_is_better=True)


@dataclass(frozen=True)
class _Taken:
    """What something took that ran in a process of its own, with all that it started and waited for."""

    seconds: float
    processor_seconds: float
    memory_bytes: int
    finished: bool = True


_STOPPED = _Taken(LONGEST_SECONDS, LONGEST_SECONDS, 0, finished=False)


def _alone(work: Callable[[], object]) -> _Taken:
    """Run `work` in a process of its own, and end it with all of its group where it takes too long."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(there, work))
    process.start()
    there.close()
    taken = _STOPPED
    with suppress(EOFError):
        taken = here.recv() if here.poll(LONGEST_SECONDS) else taken
    if not taken.finished:
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    return taken


def _report(place: Connection, work: Callable[[], object]) -> None:
    os.setsid()
    compute.follow_parent()
    clock, before = time.perf_counter(), sum(os.times()[:4])
    work()
    seconds, used = time.perf_counter() - clock, sum(os.times()[:4]) - before
    place.send(_Taken(seconds, used, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))


def _datatrove(archives: Sequence[Path], folder: Path, vocabulary: Path) -> None:
    """The steps that it has for this: trafilatura, Gopher's repetitions, its tokenizer."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import GopherRepetitionFilter
    from datatrove.pipeline.tokens import DocumentTokenizer

    from selftaught.tokenizer import files, formats

    shutil.rmtree(folder, ignore_errors=True)  # else it says that all is done
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


def _chain(archives: Path, out: Path, processes: int, vocabulary: Path) -> None:
    """The two commands, as they are typed."""
    shutil.rmtree(out, ignore_errors=True)
    given: list[str | Path] = ["--submissions", archives / LINKS, "--archives", archives, "--heldout", "0.2"]
    kind = ["--extractor", "fast", "--processes", str(processes)]
    _selftaught("corpus", "build", *given, *kind, "--out", out / "corpus")
    _selftaught("pack", out / "corpus", "--tokenizer", vocabulary, "--out", out / "tokens")


def _selftaught(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "selftaught", *words], check=True, stdout=subprocess.DEVNULL)


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
