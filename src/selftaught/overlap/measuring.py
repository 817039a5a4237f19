"""`measure_overlap`: what share of the 8-grams of held-out text, samples and any other text stands in the training text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import storage
from selftaught.corpus import documents
from selftaught.errors import UsageError
from selftaught.overlap.bloom import Bloom
from selftaught.overlap.chunks import Workers, workers
from selftaught.overlap.comparing import Side, Test, measure_set, overlaps
from selftaught.overlap.datasets import DataSet, Example, find
from selftaught.overlap.indexing import filled, filter_of, read_content
from selftaught.overlap.parameters import PARAMETERS_FILE
from selftaught.overlap.plan import OverlapSettings
from selftaught.overlap.sources import corpus_side, text_of
from selftaught.overlap.spans import longest_copies
from selftaught.report.overlap_records import COPIED_FILE, OVERLAP_FILE, CopiedSpan, Overlap
from selftaught.report.records import SAMPLES_FILE, Sample

Array = np.ndarray[Any, Any]


def measure_overlap(
    corpus: str | Path,
    tests: Sequence[str | Path] = (),
    *,
    out: str | Path,
    data: str | Path | None = None,
    settings: OverlapSettings | None = None,
) -> list[Overlap]:
    """Overlap of a corpus' held-out side with its training side, and of each test with both.

    A test is a folder that `selftaught generate` wrote, or files or folders of text. overlap.json, copied.jsonl (the longest
    span of each test's text that stands in the training text) and the training side's Bloom filter go to `out`; a filter of
    the same text that is already there is used. `data`: a folder of data sets, whose test files are looked up in the corpus
    and in their own training files (table 6), example by example: examples-NAME.jsonl. Instead of a corpus an index may be
    given (`selftaught overlap index` or `merge`): then all is looked up in it alone. Raises InputError where there is no text,
    MismatchError if the index holds other n-grams than are asked for.
    """
    rules, corpus, out = settings or OverlapSettings(), Path(corpus), Path(out)
    named = [read_test(Path(test)) for test in tests]
    sets = find(Path(data)) if data else []
    copies: list[CopiedSpan] = []
    with workers(rules.jobs) as threads:
        if (corpus / PARAMETERS_FILE).is_file() and not documents.split_file(corpus, "train").is_file():
            side = _index(corpus, named, sets, rules)
            rows = [row for test in named for row in overlaps(test, [side], rules, threads).rows]
        else:
            side = _training(corpus, out, rules)
            rows, copies = _against_corpus(corpus, side, named, rules, threads)
        for one in sets:
            rows += measure_set(one, side, out, rules, threads)
    storage.write_jsonl(out / COPIED_FILE, copies)
    storage.write_json(out / OVERLAP_FILE, rows)
    return rows


def look_up_examples(name: str, examples: Sequence[Example], index: str | Path, *, out: str | Path) -> Overlap:
    """Count how many n-grams of each example stand in an index; examples-NAME.jsonl in `out` keeps the counts.

    The n-grams are those of the index, within examples. Raises InputError where `index` is no folder with a filter.
    """
    content = read_content(Path(index))
    side = Side(name="index", members=Bloom.load(Path(index)), texts=None)
    rules = OverlapSettings(words=content.words)
    with workers(rules.jobs) as threads:
        return measure_set(DataSet(name=name, test=lambda: examples), side, Path(out), rules, threads)[0]


def _index(folder: Path, named: Sequence[Test], sets: Sequence[DataSet], rules: OverlapSettings) -> Side:
    if not named and not sets:
        raise UsageError("nothing to look up in the index", hint="Name files or folders of text after it, or --data.")
    if rules.exact:
        raise UsageError("an index alone cannot be recounted", hint="Give the corpus folder, or leave --exact out.")
    content = read_content(folder)
    content.united(replace(content, words=rules.words, across=rules.across))
    return Side(name="index", members=Bloom.load(folder), texts=None)


def _training(corpus: Path, out: Path, rules: OverlapSettings) -> Side:
    documents.require_corpus(corpus)
    return Side(name="train", members=filter_of(corpus, out, rules), texts=text_of(corpus))


def _against_corpus(
    corpus: Path, train: Side, named: Sequence[Test], rules: OverlapSettings, threads: Workers
) -> tuple[list[Overlap], list[CopiedSpan]]:
    heldout = Test(name="heldout", texts=corpus_side(corpus, "heldout"))
    sides = [train]
    if named:
        members = filled(heldout.texts, replace(rules, capacity=0))
        sides.append(Side(name="heldout", members=members, texts=heldout.texts))
    rows = overlaps(heldout, [train], rules, threads).rows
    copied: list[tuple[str, str]] = []
    numbers: list[int] = []
    before = 0
    for test in named:
        own = overlaps(test, sides, rules, threads)
        rows += own.rows
        copied += [(test.name, text) for text in own.located.values()]
        numbers += [before + number for number in own.located]
        before += own.rows[0].documents
    rows.sort(key=lambda row: row.against == "heldout")
    spans = longest_copies(copied, documents.read(corpus, "train"), rules.words) if copied else []
    return rows, [replace(span, sample=numbers[span.sample]) for span in spans]


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
