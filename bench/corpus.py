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
import gzip
import json
import re
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import get_args

import corpus_duplicates
import corpus_fetching
import corpus_links
import corpus_web
from selftaught.corpus.cleaning import language_of
from selftaught.corpus.extractors import ExtractorName, extract_text
from side_by_side import SideBySide

DATA = Path(__file__).parents[2] / "shared" / "data"
BUILD = Path(__file__).parents[1] / "build" / "bench"
PARTS = ("links", "duplicates", "extraction", "language", "fetching", "WARC", "chain")
WITHOUT_PAGES = ("links", "duplicates", "language", "fetching")
Extractor = Callable[[bytes], str]


def main() -> None:
    """Compare and show."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    given, others = parser.parse_known_args()
    bench = SideBySide("corpus", others)
    pages = list(islice(_gold_pages(), 60 if bench.quick else 250))
    bodies = [body for body, _ in pages]

    def texts() -> list[str]:
        return list(islice(_texts(), 1500 if bench.quick else 6000))

    stages: dict[str, Callable[[], None]] = {
        "links": lambda: corpus_links.compare_links(bench, BUILD, DATA),
        "duplicates": lambda: corpus_duplicates.compare_duplicates(bench, texts(), BUILD / "minhash"),
        "extraction": lambda: _compare_extraction(bench, pages),
        "language": lambda: _compare_languages(bench),
        "fetching": lambda: corpus_fetching.compare_fetching(bench, BUILD / "pages"),
        "WARC": lambda: corpus_web.compare_archives(bench, BUILD, bodies),
        "chain": lambda: corpus_web.compare_chain(bench, BUILD / "chain", bodies, DATA / "vocab" / "gpt2"),
    }
    if not pages:
        print("../shared/data/html is not there, so all that takes pages is left out")
    for name in given.parts:
        if pages or name in WITHOUT_PAGES:
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


# extraction


def _compare_extraction(bench: SideBySide, pages: Sequence[tuple[bytes, str]]) -> None:
    peers = _extractors(bench)
    bodies = [body for body, _ in pages]
    ours: dict[ExtractorName, Extractor] = {
        name: partial(extract_text, content_type="text/html", extractor=name) for name in get_args(ExtractorName)
    }
    bench.compare(
        "extraction, quality",
        _each(ours["quality"], bodies),
        {name: _each(extractor, bodies) for name, extractor in {"ours, fast": ours["fast"], **peers}.items()},
        amount=len(pages),
        unit="pages/s",
        repeats=1 if bench.quick else 3,
        warm=False,
    )
    found = {name: _mean_f1(extractor, pages) for name, extractor in peers.items()}
    for chosen, extractor in ours.items():
        own = _mean_f1(extractor, pages)
        for name, value in found.items():
            bench.note(f"extraction, {chosen}, F1 of words", own, value, name, unit="F1", larger_is_better=True)


def _compare_languages(bench: SideBySide) -> None:
    texts = list(islice(_texts(), 1000 if bench.quick else 4000))
    peers: dict[str, Callable[[], object]] = {}
    if pycld2 := bench.peer("pycld2"):
        peers["pycld2"] = lambda: [pycld2.detect(text, isPlainText=True) for text in texts]
    if peers:
        bench.compare(
            "language", lambda: [language_of(text) for text in texts], peers, amount=len(texts), unit="documents/s"
        )


def _gold_pages() -> Iterator[tuple[bytes, str]]:
    """Pages whose main text people marked, the sets in turns."""
    sets = ("cleaneval-dev", "dragnet-part", "readability")
    readers = [_gold_rows(gold) for name in sets for gold in (DATA / "html" / name).glob("gold*.jsonl")]
    while readers:
        for reader in list(readers):
            page = next(reader, None)
            if page is None:
                readers.remove(reader)
            else:
                yield page


def _gold_rows(gold: Path) -> Iterator[tuple[bytes, str]]:
    for line in gold.read_bytes().splitlines():
        row = json.loads(line)
        yield gzip.decompress((gold.parent / row["file"]).read_bytes()), row["gold_text"]


def _extractors(bench: SideBySide) -> Mapping[str, Extractor]:
    import trafilatura

    found: dict[str, Extractor] = {"trafilatura as it comes": lambda body: trafilatura.extract(body) or ""}
    if readability := bench.peer("readability"):
        import lxml.html

        def by_readability(body: bytes) -> str:
            summary = readability.Document(body.decode("utf-8", "replace")).summary()
            return str(lxml.html.fromstring(summary).text_content())

        found["readability-lxml"] = by_readability
    if resiliparse := bench.peer("resiliparse.extract.html2text"):
        found["resiliparse"] = lambda body: str(
            resiliparse.extract_plain_text(body.decode("utf-8", "replace"), main_content=True, alt_texts=False)
        )
    return found


def _each(extractor: Extractor, bodies: Sequence[bytes]) -> Callable[[], object]:
    return lambda: [_safely(extractor, body) for body in bodies]


def _safely(extractor: Extractor, body: bytes) -> str:
    try:
        return extractor(body)
    except Exception:  # noqa: BLE001 - a peer that raises on a page has found nothing on it
        return ""


def _mean_f1(extractor: Extractor, pages: Sequence[tuple[bytes, str]]) -> float:
    return sum(_f1(_safely(extractor, body), gold) for body, gold in pages) / len(pages)


def _f1(found: str, gold: str) -> float:
    """F1 of the words found, counted with their number."""
    one, other = (Counter(re.findall(r"\w+", text.lower())) for text in (found, gold))
    shared = sum((one & other).values())
    return 2 * shared / max(1, one.total() + other.total())


if __name__ == "__main__":
    main()
