"""The part of bench/corpus.py that extracts: ours beside its peers on pages whose main text is known.

    python bench/corpus_extraction.py [--quick] [--json FILE]

Two marks for each set of pages. `words` is the mean over pages of F1 of words. `shingles` is the mark of scrapinghub's article
extraction benchmark: precision and recall of runs of four words on each page, both averaged over pages, and F1 of these two. The
set trafilatura-part has no texts but strings that must and must not be found; its mark is F1 over all of them.

Peers (pip install readability-lxml newspaper4k; each is left out where it is not installed). Speed is pages a second of processor
time, each page read once, after one that loads what the extractor needs. The pages come from ../shared/data.
"""

from __future__ import annotations

import gc
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from selftaught.corpus.encoding import decoded
from selftaught.corpus.extractors import ExtractorName, extract_text
from side_by_side import SideBySide

PAGES = Path(__file__).parents[2] / "shared" / "data" / "html"
TEXTS = ("readability", "cleaneval-dev", "dragnet-part")
STRINGS = "trafilatura-part"
SHINGLE = 4
Extractor = Callable[[bytes], str]


@dataclass(frozen=True)
class GoldPage:
    """A page and its main text; or strings of which it must have some and must not have others."""

    body: bytes
    text: str
    must: Sequence[str] = ()
    must_not: Sequence[str] = ()


def gold_pages(name: str) -> Iterator[GoldPage]:
    """The pages of one set; none where it is not there."""
    for gold in sorted((PAGES / name).glob("gold*.jsonl")):
        for line in gold.read_bytes().splitlines():
            row = json.loads(line)
            body = gzip.decompress((gold.parent / row["file"]).read_bytes())
            yield GoldPage(body, row["gold_text"] or "", row.get("must_contain", ()), row.get("must_not_contain", ()))


def compare_extraction(bench: SideBySide) -> None:
    """Marks on each set and pages a second."""
    sets = {name: list(islice(gold_pages(name), 20 if bench.quick else None)) for name in (*TEXTS, STRINGS)}
    ours: dict[str, Extractor] = {
        f"ours, {name}": partial(extract_text, content_type="text/html", extractor=name)
        for name in get_args(ExtractorName)
    }
    # Peers first: ours makes trafilatura faster for its process.
    marks = {name: _marks(extractor, sets) for name, extractor in {**_peers(bench), **ours}.items()}
    for own in ours:
        for peer in marks:
            if peer not in ours:
                for case, mark in marks[own].items():
                    unit = case.partition(", ")[2]
                    bench.note(f"{own}: {case}", mark, marks[peer][case], peer, unit=unit, larger_is_better=True)
    _show(marks)


def _marks(extractor: Extractor, sets: Mapping[str, Sequence[GoldPage]]) -> dict[str, float]:
    marks: dict[str, float] = {}
    pages, seconds = 0, 0.0
    _safely(extractor, b"<p>")
    gc.collect()
    gc.freeze()  # what the peers before this one loaded is not its work
    for name, gold in sets.items():
        start = time.process_time()
        found = [_safely(extractor, page.body) for page in gold]
        seconds, pages = seconds + time.process_time() - start, pages + len(gold)
        if name == STRINGS:
            marks[f"{name}, F1 of strings"] = _f1_of_strings(found, gold)
        else:
            marks[f"{name}, F1 of words"] = _mean(
                f1(_words(text.lower()), _words(page.text.lower())) for text, page in zip(found, gold, strict=True)
            )
            marks[f"{name}, F1 of shingles"] = _f1_of_shingles(found, [page.text for page in gold])
    return {**marks, "all, pages/s": pages / max(seconds, 1e-9)}


def _safely(extractor: Extractor, body: bytes) -> str:
    try:
        return extractor(body)
    except Exception:  # noqa: BLE001 - a peer that raises on a page has found nothing on it
        return ""


def _mean(values: Iterator[float]) -> float:
    numbers = list(values)
    return sum(numbers) / max(1, len(numbers))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def f1(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    """Of things found, counted with their number."""
    shared = (Counter(found) & Counter(wanted)).total()
    return 2 * shared / max(1, len(found) + len(wanted))


def _f1_of_shingles(found: Sequence[str], wanted: Sequence[str]) -> float:
    precision = recall = 0.0
    for one, other in zip(map(_shingles, found), map(_shingles, wanted), strict=True):
        shared = (one & other).total()
        precision += shared / one.total() if one else float(not other)
        recall += shared / other.total() if other else float(not one)
    return 2 * precision * recall / max(1e-9, precision + recall) / max(1, len(found))


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = _words(text)
    return Counter(tuple(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1)) if words)


def _f1_of_strings(found: Sequence[str], gold: Sequence[GoldPage]) -> float:
    plain = [" ".join(text.split()) for text in found]
    right = sum(" ".join(one.split()) in text for text, page in zip(plain, gold, strict=True) for one in page.must)
    wrong = sum(" ".join(one.split()) in text for text, page in zip(plain, gold, strict=True) for one in page.must_not)
    return 2 * right / max(1, right + wrong + sum(len(page.must) for page in gold))


def _peers(bench: SideBySide) -> dict[str, Extractor]:
    """Each as its documentation says; all but `as it comes` without the comments of readers, and with our decoding."""
    import trafilatura

    def by_trafilatura(body: bytes, **options: bool) -> str:
        return trafilatura.extract(decoded(body), **options) or ""

    found: dict[str, Extractor] = {
        "trafilatura as it comes": by_trafilatura,
        "trafilatura fast": partial(by_trafilatura, fast=True, include_comments=False),
        "trafilatura precise": partial(by_trafilatura, favor_precision=True, include_comments=False),
    }
    if readability := bench.peer("readability"):
        import lxml.html

        found["readability-lxml"] = lambda body: str(
            lxml.html.fromstring(readability.Document(decoded(body)).summary()).text_content()
        )
    if resiliparse := bench.peer("resiliparse.extract.html2text"):
        found["resiliparse"] = lambda body: str(
            resiliparse.extract_plain_text(decoded(body), main_content=True, alt_texts=False)
        )
    if newspaper := bench.peer("newspaper"):

        def by_newspaper(body: bytes) -> str:
            article = newspaper.Article("http://example.org/", fetch_images=False)
            article.download(input_html=decoded(body))
            article.parse()
            return str(article.text)

        found["newspaper4k"] = by_newspaper
    return found


def _show(marks: Mapping[str, Mapping[str, float]]) -> None:
    columns = list(next(iter(marks.values())))
    print("  ".join(["extractor".ljust(24), *(column.replace(", ", " ").replace("F1 of ", "") for column in columns)]))
    for name, values in marks.items():
        cells = (f"{value:.3f}" if value <= 1 else f"{value:.0f}" for value in values.values())
        widths = (len(column.replace(", ", " ").replace("F1 of ", "")) for column in columns)
        print("  ".join([name.ljust(24), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]))


if __name__ == "__main__":
    only = SideBySide("corpus_extraction")
    compare_extraction(only)
    only.finish()
