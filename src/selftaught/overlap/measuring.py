"""`measure_overlap`: what share of the 8-grams of held-out text, samples and any other text stands in the training text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import storage
from selftaught.corpus import documents, local
from selftaught.corpus.documents import Funnel
from selftaught.corpus.ngrams import ngram_hashes
from selftaught.errors import InputError
from selftaught.overlap.bloom import Bloom
from selftaught.overlap.indexing import filled, training_filter
from selftaught.overlap.plan import OverlapSettings
from selftaught.overlap.spans import longest_copies
from selftaught.overlap.wanted import Wanted
from selftaught.report.records import COPIED_FILE, OVERLAP_FILE, SAMPLES_FILE, CopiedSpan, Overlap, Sample

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Texts that are looked up, and the hashes of their n-grams text by text."""

    name: str
    texts: list[str]
    hashes: list[Array]

    @classmethod
    def of(cls, name: str, texts: list[str], n: int) -> Asked:
        """Hash the texts."""
        return cls(name=name, texts=texts, hashes=[ngram_hashes(text, n) for text in texts])


def measure_overlap(
    corpus: str | Path, tests: Sequence[str | Path] = (), *, out: str | Path, settings: OverlapSettings | None = None
) -> list[Overlap]:
    """Overlap of a corpus' held-out side with its training side, and of each test with both.

    A test is a folder that `selftaught generate` wrote, or files or folders of text. overlap.json, copied.jsonl (the longest
    span of each test's text that stands in the training text) and the training side's Bloom filter go to `out`; a filter of
    the same text that is already there is used. n-grams are counted with repetition, within documents. Raises InputError
    where there is no text.
    """
    rules, corpus, out = settings or OverlapSettings(), Path(corpus), Path(out)
    n = rules.words
    if not documents.split_file(corpus, "train").is_file():
        raise InputError(
            f"{corpus} is not a corpus folder",
            expected="train.jsonl.zst",
            hint="selftaught corpus local TEXT --out DIR",
        )
    named = [Asked.of(*read_test(Path(test)), n) for test in tests]
    heldout = Asked.of("heldout", list(_texts(corpus, "heldout")), n)
    train = training_filter(corpus, out, n)
    rows = overlaps([heldout, *named], "train", train, lambda: _texts(corpus, "train"), rules)
    if named:
        rows += overlaps(named, "heldout", filled(heldout.hashes), lambda: heldout.texts, rules)
    storage.write_jsonl(out / COPIED_FILE, _copies(named, corpus, n))
    storage.write_json(out / OVERLAP_FILE, rows)
    return rows


def _texts(corpus: Path, split: str) -> Iterable[str]:
    return (row.text for row in documents.read(corpus, split))


def read_test(path: Path) -> tuple[str, list[str]]:
    """The name and the texts of one test: generated text alone of a samples folder, documents of anything else.

    Raises InputError where there is no text, with what was found instead.
    """
    if (path / SAMPLES_FILE).is_file():
        samples = storage.read_lines(path / SAMPLES_FILE, Sample)
        return f"samples {path.name}", [sample.text for sample in samples]
    funnel = Funnel()
    texts = [row.text for row in local.read_documents(local.find_files((path,)), funnel)]
    if not texts:
        dropped = ", ".join(f"{row.count} {row.reason}" for row in funnel.rows() if row.reason not in ("", "kept"))
        raise InputError(f"no text in {path}", expected='text, or JSON lines with a field "text"', got=dropped)
    return path.name, texts


def overlaps(
    asked: Sequence[Asked], against: str, bloom: Bloom, texts: Callable[[], Iterable[str]], rules: OverlapSettings
) -> list[Overlap]:
    """Look texts up in a filter, and with `exact` what it holds in the texts that it was made of."""
    found = [[bloom.contains(part) for part in one.hashes] for one in asked]
    if rules.exact:
        # Only what the filter holds can be there; of that, what the texts really hold.
        pairs = [pair for one, masks in zip(asked, found, strict=True) for pair in zip(one.hashes, masks, strict=True)]
        held = np.concatenate([part[mask] for part, mask in pairs] or [np.empty(0, np.uint64)])
        known = Wanted(Wanted(held).those_in(texts(), rules.words))
        found = [[known.holds(part) for part in one.hashes] for one in asked]
    rate = 0.0 if rules.exact else bloom.measured_rate()
    return [_row(one, against, masks, rate) for one, masks in zip(asked, found, strict=True)]


def _row(one: Asked, against: str, found: Sequence[Array], rate: float) -> Overlap:
    total, hits = sum(map(len, one.hashes)), sum(int(part.sum()) for part in found)
    return Overlap(
        name=one.name,
        against=against,
        documents=len(one.texts),
        ngrams=total,
        hits=hits,
        share=hits / total if total else 0.0,
        false_positive_rate=rate,
        by_document=[int(part.sum()) / len(part) for part in found if len(part)],
    )


def _copies(named: Sequence[Asked], corpus: Path, n: int) -> list[CopiedSpan]:
    texts = [(one.name, text) for one in named for text in one.texts]
    return longest_copies(texts, documents.read(corpus, "train"), n) if texts else []
