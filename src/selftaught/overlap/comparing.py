"""One test, looked up in one or several texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import console, storage
from selftaught.overlap.bloom import Bloom
from selftaught.overlap.chunks import Workers, hashed, pieces
from selftaught.overlap.datasets import DataSet
from selftaught.overlap.indexing import filled
from selftaught.overlap.lookup import Found, look_up
from selftaught.overlap.plan import OverlapSettings
from selftaught.overlap.sources import Texts
from selftaught.overlap.wanted import Wanted
from selftaught.report.overlap_records import EXAMPLES_FILE, ExampleOverlap, Overlap

Array = np.ndarray[Any, Any]


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


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What was found, text by text that was looked up in."""

    rows: list[Overlap]
    found: list[Found]
    located: dict[int, str]
    """The test's texts, by number, that have n-grams of the first text."""


def overlaps(test: Test, sides: Sequence[Side], rules: OverlapSettings, threads: Workers) -> Compared:
    """Look a test up in several texts, in each exactly if that is asked for."""
    found, located = look_up(test.texts(), [side.members.contains for side in sides], rules, threads, held=rules.exact)
    if rules.exact:
        recounted = [_recounted(one, side, rules, threads) for one, side in zip(found, sides, strict=True)]
        found, located = look_up(test.texts(), [known.holds for known in recounted], rules, threads)
    if len(located) < sum(map(bool, found[0].hits)):
        console.warn(f"{test.name}: where copies stand is told for {len(located):,} documents only")
    rates = [0.0 if rules.exact else side.members.measured_rate() for side in sides]
    rows = [one.row(test.name, side.name, rate) for one, side, rate in zip(found, sides, rates, strict=True)]
    return Compared(rows=rows, found=found, located=located)


def _recounted(found: Found, side: Side, rules: OverlapSettings, threads: Workers) -> Wanted:
    """Of what a filter holds, what its texts really hold."""
    stream = rules.across == "stream"
    held = Wanted(np.concatenate([*found.held, np.empty(0, np.uint64)]))
    assert side.texts is not None  # noqa: S101 - an index alone was refused
    parts = threads.map(
        lambda piece: hashed(piece, rules.words, stream=stream).hashes, pieces(side.texts(), rules.words, stream=stream)
    )
    return Wanted(held.those_among(parts))


def measure_set(one: DataSet, corpus: Side, out: Path, rules: OverlapSettings, threads: Workers) -> list[Overlap]:
    """Table 6 for one data set: its test set against the corpus and against its own training text, example by example."""
    rules = replace(rules, across=one.across)
    sides = [corpus]
    if one.own is not None:
        sides.append(Side(name=one.own_name, members=filled(one.own, replace(rules, capacity=0)), texts=one.own))
    test = Test(name=one.name, texts=lambda: (text for _, text in one.test()))
    compared = overlaps(test, sides, rules, threads)
    in_corpus, in_own = compared.found[0], compared.found[1] if len(sides) > 1 else None
    storage.write_jsonl(
        out / EXAMPLES_FILE.format(name=one.name),
        (
            ExampleOverlap(
                example=name,
                ngrams=in_corpus.totals[number],
                in_corpus=in_corpus.hits[number],
                in_own=in_own.hits[number] if in_own else None,
            )
            for number, (name, _) in enumerate(one.test())
        ),
    )
    return compared.rows
