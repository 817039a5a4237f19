"""`measure_overlap`: what share of the 8-grams of held-out text, samples and any other text stands in the training text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import console, storage
from selftaught.corpus import documents, local
from selftaught.corpus.documents import Funnel
from selftaught.corpus.ngrams import ngram_hashes
from selftaught.overlap.bloom import Bloom
from selftaught.overlap.plan import OverlapSettings
from selftaught.overlap.spans import longest_copies
from selftaught.report.records import COPIED_FILE, OVERLAP_FILE, SAMPLES_FILE, CopiedSpan, Overlap, Sample

Named = tuple[str, list[str]]
"""A name and texts."""
LookUp = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def measure_overlap(
    corpus: str | Path, tests: Sequence[str | Path] = (), *, out: str | Path, settings: OverlapSettings | None = None
) -> list[Overlap]:
    """Overlap of a corpus' held-out side with its training side, and of each test with both.

    A test is a folder that `selftaught generate` wrote, or files or folders of text. overlap.json, copied.jsonl (the longest
    span of each test's text that stands in the training text) and the training side's Bloom filter go to `out`. n-grams are
    counted with repetition, within documents. Raises InputError where there is no text.
    """
    rules, corpus, out = settings or OverlapSettings(), Path(corpus), Path(out)
    heldout = ("heldout", [row.text for row in documents.read(corpus, "heldout")])
    named = [read_test(Path(test)) for test in tests]
    train = _filter(_texts(corpus, "train"), documents.count(corpus, "train"), rules.words)
    train.save(out, corpus=storage.sha256(documents.split_file(corpus, "train")))
    small = _filter(heldout[1], len(heldout[1]), rules.words)
    rows = [_overlap(one, "train", train, _texts(corpus, "train"), rules) for one in (heldout, *named)]
    rows += [_overlap(one, "heldout", small, heldout[1], rules) for one in named]
    storage.write_jsonl(out / COPIED_FILE, _copies(named, corpus, rules.words))
    storage.write_json(out / OVERLAP_FILE, rows)
    return rows


def _texts(corpus: Path, split: str) -> Iterable[str]:
    return (row.text for row in documents.read(corpus, split))


def read_test(path: Path) -> Named:
    """The texts of one test and its name: generated text alone of a samples folder, documents of anything else."""
    if (path / SAMPLES_FILE).is_file():
        samples = storage.read_lines(path / SAMPLES_FILE, Sample)
        return f"samples {path.name}", [sample.text for sample in samples]
    return path.name, [row.text for row in local.read_documents(local.find_files((path,)), Funnel())]


def _filter(texts: Iterable[str], total: int, n: int) -> Bloom:
    """A filter of the n-grams of all texts, with room for just them."""
    with console.progress("indexing", total, unit="documents") as bar:
        hashes = []
        for text in texts:
            hashes.append(ngram_hashes(text, n))
            bar.advance()
    found = Bloom(max(1, sum(map(len, hashes))))
    for part in hashes:
        found.add(part)
    return found


def _overlap(named: Named, against: str, bloom: Bloom, texts: Iterable[str], rules: OverlapSettings) -> Overlap:
    name, asked = named
    hashes = [ngram_hashes(text, rules.words) for text in asked]
    look_up: LookUp = bloom.contains
    if rules.exact:
        look_up = _exact(np.unique(np.concatenate([*hashes, np.empty(0, np.uint64)])), texts, rules.words)
    hits = [int(look_up(part).sum()) for part in hashes]
    total = sum(map(len, hashes))
    return Overlap(
        name=name,
        against=against,
        documents=len(asked),
        ngrams=total,
        hits=sum(hits),
        share=sum(hits) / total if total else 0.0,
        false_positive_rate=0.0 if rules.exact else bloom.measured_rate(),
        by_document=[hit / len(part) for hit, part in zip(hits, hashes, strict=True) if len(part)],
    )


def _exact(asked: np.ndarray[Any, Any], texts: Iterable[str], n: int) -> LookUp:
    """Look-up in the n-grams that really occur in the texts (equal 64-bit hashes count as equal)."""
    found = np.zeros(len(asked), dtype=np.bool_)
    for text in texts:
        hashes = ngram_hashes(text, n)
        places = np.searchsorted(asked, hashes)
        inside = places < len(asked)
        places = places[inside]
        found[places[asked[places] == hashes[inside]]] = True
    known = asked[found]
    return lambda hashes: np.isin(hashes, known)


def _copies(named: Sequence[Named], corpus: Path, n: int) -> list[CopiedSpan]:
    texts = [(name, text) for name, texts in named for text in texts]
    return longest_copies(texts, documents.read(corpus, "train"), n) if texts else []
