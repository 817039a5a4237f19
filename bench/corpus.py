"""Corpus stages beside their peers, for speed and what they find: links, near duplicates, extraction, language, fetching, WARC.

    python bench/corpus.py [--quick] [--json FILE] [--parts links duplicates extraction language fetching WARC chain]

Speed is rows, documents and pages a second of processor time. Beside it stand the F1 of extracted words on pages with known
main text, and the share of planted near duplicates that is found. Real links, texts and pages come from ../shared/data;
without it links are made up, texts are the sources of Python's standard library, and extraction is left out. Last comes the whole
chain from HTML to token shards, on one process and on two, beside datatrove and Ray.

Peers (pip install w3lib tldextract duckdb rensa datasketch readability-lxml warcio pycld2 httpx scrapy datatrove ray; each is
left out where it is not installed): w3lib is Scrapy's canonicalisation of URLs; rensa and datasketch get 5-word shingles made in
Python, as their own examples do. `--parts` does some of it only.
"""

from __future__ import annotations

import argparse
import json
import sysconfig
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import corpus_duplicates
import corpus_extraction
import corpus_fetching
import corpus_links
import corpus_web
from selftaught.corpus.cleaning import language_of
from side_by_side import SideBySide

DATA = Path(__file__).parents[2] / "shared" / "data"
BUILD = Path(__file__).parents[1] / "build" / "bench"
PARTS = ("links", "duplicates", "extraction", "language", "fetching", "WARC", "chain")
WITHOUT_PAGES = ("links", "duplicates", "language", "fetching")


def main() -> None:
    """Compare and show."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    given, others = parser.parse_known_args()
    bench = SideBySide("corpus", others)
    bodies = list(islice(_bodies(), 60 if bench.quick else 250))

    def texts() -> list[str]:
        return list(islice(_texts(), 1500 if bench.quick else 6000))

    stages: dict[str, Callable[[], None]] = {
        "links": lambda: corpus_links.compare_links(bench, BUILD, DATA),
        "duplicates": lambda: corpus_duplicates.compare_duplicates(bench, texts(), BUILD / "minhash"),
        "extraction": lambda: corpus_extraction.compare_extraction(bench),
        "language": lambda: _compare_languages(bench),
        "fetching": lambda: corpus_fetching.compare_fetching(bench, BUILD / "pages"),
        "WARC": lambda: corpus_web.compare_archives(bench, BUILD, bodies),
        "chain": lambda: corpus_web.compare_chain(bench, BUILD / "chain", bodies, DATA / "vocab" / "gpt2"),
    }
    if not bodies:
        print("../shared/data/html is not there, so all that takes pages is left out")
    for name in given.parts:
        if bodies or name in WITHOUT_PAGES:
            start = time.perf_counter()
            stages[name]()
            print(f"{name}: compared in {time.perf_counter() - start:.0f} s", flush=True)
    bench.finish()


# texts


def _texts() -> Iterator[str]:
    """Different documents of at least 60 words."""
    seen: set[str] = set()
    for text in _documents():
        start = " ".join(text.split()[:20])
        if len(text.split()) >= 60 and start not in seen:
            seen.add(start)
            yield text[:20_000]


def _documents() -> Iterator[str]:
    files = sorted((DATA / "text").glob("*.jsonl"))
    for file in files:
        for line in file.read_bytes().splitlines():
            yield json.loads(line)["text"]
    if not files:
        for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
            yield path.read_text(errors="replace")


# language


def _compare_languages(bench: SideBySide) -> None:
    texts = list(islice(_texts(), 1000 if bench.quick else 4000))
    peers: dict[str, Callable[[], object]] = {}
    if pycld2 := bench.peer("pycld2"):
        peers["pycld2"] = lambda: [pycld2.detect(text, isPlainText=True) for text in texts]
    if peers:
        bench.compare(
            "language", lambda: [language_of(text) for text in texts], peers, amount=len(texts), unit="documents/s"
        )


def _bodies() -> Iterator[bytes]:
    """Real pages, the sets in turns."""
    readers = [corpus_extraction.gold_pages(name) for name in ("cleaneval-dev", "dragnet-part", "readability")]
    while readers:
        for reader in list(readers):
            page = next(reader, None)
            if page is None:
                readers.remove(reader)
            else:
                yield page.body


if __name__ == "__main__":
    main()
