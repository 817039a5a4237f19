"""`measure_overlap`: what share of the 8-grams of held-out text, samples and any other text stands in the training text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import console, storage
from selftaught.corpus import documents
from selftaught.errors import InputError, UsageError
from selftaught.overlap.bloom import PARAMETERS_FILE, Bloom
from selftaught.overlap.chunks import Workers, hashed, pieces, workers
from selftaught.overlap.indexing import filled, filter_of, read_content, text_of
from selftaught.overlap.lookup import Found, look_up
from selftaught.overlap.plan import OverlapSettings
from selftaught.overlap.spans import longest_copies
from selftaught.overlap.wanted import Wanted
from selftaught.report.records import COPIED_FILE, OVERLAP_FILE, SAMPLES_FILE, CopiedSpan, Overlap, Sample

Array = np.ndarray[Any, Any]
Texts = Callable[[], Iterable[str]]


@dataclass(frozen=True, kw_only=True)
class Test:
    """A text, or a set of texts, that is looked up."""

    name: str
    texts: Texts


@dataclass(frozen=True, kw_only=True)
class Side:
    """A text that is looked up in."""

    name: str
    members: Bloom
    texts: Texts | None
    """To recount in; None where only the filter is there."""


def measure_overlap(
    corpus: str | Path, tests: Sequence[str | Path] = (), *, out: str | Path, settings: OverlapSettings | None = None
) -> list[Overlap]:
    """Overlap of a corpus' held-out side with its training side, and of each test with both.

    A test is a folder that `selftaught generate` wrote, or files or folders of text. overlap.json, copied.jsonl (the longest
    span of each test's text that stands in the training text) and the training side's Bloom filter go to `out`; a filter of
    the same text that is already there is used. Instead of a corpus an index may be given (`selftaught overlap index` or
    `merge`): then tests are looked up in it alone. Raises InputError where there is no text, MismatchError if the index holds
    other n-grams than are asked for.
    """
    rules, corpus, out = settings or OverlapSettings(), Path(corpus), Path(out)
    named = [read_test(Path(test)) for test in tests]
    copies: list[CopiedSpan] = []
    with workers(rules.jobs) as threads:
        if (corpus / PARAMETERS_FILE).is_file() and not documents.split_file(corpus, "train").is_file():
            rows = _against_index(corpus, named, rules, threads)
        else:
            rows, copies = _against_corpus(corpus, named, out, rules, threads)
    storage.write_jsonl(out / COPIED_FILE, copies)
    storage.write_json(out / OVERLAP_FILE, rows)
    return rows


def _against_index(folder: Path, named: Sequence[Test], rules: OverlapSettings, threads: Workers) -> list[Overlap]:
    if not named:
        raise UsageError("nothing to look up in the index", hint="Name files or folders of text after it.")
    if rules.exact:
        raise UsageError("an index alone cannot be recounted", hint="Give the corpus folder, or leave --exact out.")
    content = read_content(folder)
    content.united(replace(content, words=rules.words, across=rules.across))
    side = Side(name="index", members=Bloom.load(folder), texts=None)
    return [row for test in named for row in overlaps(test, [side], rules, threads)[0]]


def _against_corpus(
    corpus: Path, named: Sequence[Test], out: Path, rules: OverlapSettings, threads: Workers
) -> tuple[list[Overlap], list[CopiedSpan]]:
    if not documents.split_file(corpus, "train").is_file():
        raise InputError(
            f"{corpus} is not a corpus folder",
            expected="train.jsonl.zst",
            hint="selftaught corpus local TEXT --out DIR",
        )
    heldout = Test(name="heldout", texts=lambda: (row.text for row in documents.read(corpus, "heldout")))
    train = Side(name="train", members=filter_of(corpus, out, rules), texts=text_of(corpus))
    sides = [train]
    if named:
        sides.append(
            Side(name="heldout", members=filled(heldout.texts, replace(rules, capacity=0)), texts=heldout.texts)
        )
    rows = overlaps(heldout, [train], rules, threads)[0]
    copied: list[tuple[str, str]] = []
    numbers: list[int] = []
    before = 0
    for test in named:
        own, located = overlaps(test, sides, rules, threads)
        rows += own
        copied += [(test.name, text) for text in located.values()]
        numbers += [before + number for number in located]
        before += own[0].documents
    rows.sort(key=lambda row: row.against == "heldout")
    spans = longest_copies(copied, documents.read(corpus, "train"), rules.words) if copied else []
    return rows, [replace(span, sample=numbers[span.sample]) for span in spans]


def overlaps(
    test: Test, sides: Sequence[Side], rules: OverlapSettings, threads: Workers
) -> tuple[list[Overlap], dict[int, str]]:
    """A row for each side, and the test's texts, by number, that have n-grams of the first one."""
    found, located = look_up(test.texts(), [side.members.contains for side in sides], rules, threads, held=rules.exact)
    if rules.exact:
        recounted = [_recounted(one, side, rules, threads) for one, side in zip(found, sides, strict=True)]
        found, located = look_up(test.texts(), [known.holds for known in recounted], rules, threads)
    if len(located) < sum(map(bool, found[0].hits)):
        console.warn(f"{test.name}: where copies stand is told for {len(located):,} documents only")
    rates = [0.0 if rules.exact else side.members.measured_rate() for side in sides]
    rows = [one.row(test.name, side.name, rate) for one, side, rate in zip(found, sides, rates, strict=True)]
    return rows, located


def _recounted(found: Found, side: Side, rules: OverlapSettings, threads: Workers) -> Wanted:
    """Of what a filter holds, what its texts really hold."""
    stream = rules.across == "stream"
    held = Wanted(np.concatenate([*found.held, np.empty(0, np.uint64)]))
    assert side.texts is not None  # noqa: S101 - an index alone was refused
    parts = threads.map(
        lambda piece: hashed(piece, rules.words, stream=stream).hashes, pieces(side.texts(), rules.words, stream=stream)
    )
    return Wanted(held.those_among(parts))


def read_test(path: Path) -> Test:
    """One test: generated text alone of a samples folder, documents of anything else.

    Raises InputError where there is no text, before the corpus is indexed for nothing.
    """
    if (path / SAMPLES_FILE).is_file():
        return Test(name=f"samples {path.name}", texts=lambda: _samples(path))
    test = Test(name=path.name, texts=text_of(path))
    next(iter(test.texts()), None)
    return test


def _samples(path: Path) -> Iterable[str]:
    return (sample.text for sample in storage.read_lines(path / SAMPLES_FILE, Sample))
