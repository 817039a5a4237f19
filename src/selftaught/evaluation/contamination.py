"""Scores on the examples that do and do not overlap with the training text (GPT-2 paper, section 4).

`selftaught overlap CORPUS --data DATA` counts for each example how many of its 8-grams stand in the corpus, and questions made
from held-out text are counted when they have been asked; here the answers that `evaluate` kept are marked again in two halves:
examples of which nothing stands there, and the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from selftaught.corpus.documents import read_rows
from selftaught.errors import InputError
from selftaught.report.overlap_records import EXAMPLES_FILE, ExampleOverlap, OverlapSplit
from selftaught.report.records import Score
from selftaught.tasks import marking

_EQUAL = 1e-6
"""Relative difference up to which answers marked again are said to give the score that was kept."""


class _Answer(msgspec.Struct, frozen=True):
    """What of an answer's row can be marked again; each task's rows have some of it."""

    id: str
    right: bool | None = None
    right_filtered: bool | None = None
    right_last_token: bool | None = None
    said: str | tuple[str, ...] = ""
    word: str | None = None
    nats: float | None = None
    units: int = 1
    f1: float | tuple[float, ...] | None = None
    exact: float | bool | tuple[float, ...] | None = None


Marking: TypeAlias = Callable[[Sequence[_Answer]], marking.Mark]


def _right(name: str) -> Marking:
    return lambda rows: marking.accuracy([bool(getattr(row, name)) for row in rows if getattr(row, name) is not None])


def _said_word(rows: Sequence[_Answer]) -> marking.Mark:
    return marking.accuracy([row.said == row.word for row in rows if row.word is not None])


def _nats(rows: Sequence[_Answer]) -> marking.Mark:
    known = [row for row in rows if row.nats is not None]
    return marking.ratio([row.nats or 0.0 for row in known], [row.units for row in known])


def _mean(name: str) -> Marking:
    """The mean over turns, or over answers; turns of a conversation hang together, conversations do not."""

    def mark(rows: Sequence[_Answer]) -> marking.Mark:
        values = [getattr(row, name) for row in rows if getattr(row, name) is not None]
        if any(isinstance(one, tuple) for one in values):
            return marking.grouped([sum(one) for one in values], [len(one) for one in values])
        return marking.mean([float(one) for one in values])

    return mark


_MARKINGS: dict[str, tuple[Marking, ...]] = {
    "accuracy": (_right("right"), _right("right_filtered"), _right("right_last_token"), _said_word),
    "accuracy_filtered": (_said_word, _right("right_filtered")),
    "accuracy_masked": (_right("right_filtered"),),
    "accuracy_last_token": (_right("right_last_token"),),
    "accuracy_most_confident": (),  # of a hundredth of the questions, which the halves have not
    "perplexity": (lambda rows: marking.perplexity(_nats(rows)),),
    "bits_per_byte": (lambda rows: marking.bits(_nats(rows)),),
    "bits_per_character": (lambda rows: marking.bits(_nats(rows)),),
    "f1": (_mean("f1"),),
    "exact_match": (_mean("exact"),),
}
"""Ways that a metric may have been come to; the one that gives the kept score is taken."""


def by_overlap(out: Path, overlap: Path, scores: Sequence[Score]) -> list[OverlapSplit]:
    """Each score in `out` on the examples without overlap, and on those with any.

    `overlap` is a folder that `selftaught overlap CORPUS --data DATA` wrote; counts that are not there are looked for in `out`.
    Scores whose answers have no examples there, or that are no average over them (BLEU, long texts), are left out. Raises
    InputError if that is all of them.
    """
    if not any(path for folder in (overlap, out) for path in folder.glob(EXAMPLES_FILE.format(name="*"))):
        raise InputError(
            f"no examples in {overlap}",
            expected=EXAMPLES_FILE.format(name="TASK"),
            hint="Type: selftaught overlap CORPUS --data DATA --out DIR",
        )
    found = [split for score in scores if (split := _split(out, overlap, score)) is not None]
    if not found:
        raise InputError(
            f"no score in {out} is of examples in {overlap}", got=", ".join(sorted({s.task for s in scores}))
        )
    return found


def questions_asked(out: Path, task: str) -> set[str]:
    """The names of the questions of a task that answers are kept of in a folder; none if the task was not run."""
    answers = out / f"answers-{task}.jsonl"
    return {row.id for row in read_rows(answers, _Answer)} if answers.is_file() else set()


def _split(out: Path, overlap: Path, score: Score) -> OverlapSplit | None:
    name = EXAMPLES_FILE.format(name=score.task)
    answers = out / f"answers-{score.task}.jsonl"
    examples = next((path for folder in (overlap, out) if (path := folder / name).is_file()), None)
    if not answers.is_file() or examples is None:
        return None
    rows = list(read_rows(answers, _Answer))
    way = _way(rows, score)
    if way is None:
        return None
    mark, asked = way
    found = {one.example: one.in_corpus for one in read_rows(examples, ExampleOverlap)}
    known = [
        (row, hits) for row in asked if (hits := found.get(row.id, found.get(row.id.partition("/")[0]))) is not None
    ]
    if not known:
        return None
    clean = [row for row, hits in known if not hits]
    touched = [row for row, hits in known if hits]
    without, within = (mark(part) if part else None for part in (clean, touched))
    return OverlapSplit(
        model=score.model,
        task=score.task,
        metric=score.metric,
        protocol=score.protocol,
        value=score.value,
        without=without.value if without else None,
        without_error=without.error if without else None,
        without_n=len(clean),
        within=within.value if within else None,
        within_error=within.error if within else None,
        within_n=len(touched),
    )


def _way(rows: Sequence[_Answer], score: Score) -> tuple[Marking, Sequence[_Answer]] | None:
    """How, and of which answers, the kept score comes out; None if no way that we know gives it."""
    kind = score.metric if score.metric in _MARKINGS else score.metric.partition("_")[0]
    for mark in _MARKINGS.get(kind, ()):
        for part in _parts(rows, score.metric):
            try:
                value = mark(part).value
            except ZeroDivisionError:
                continue
            if math.isclose(value, score.value, rel_tol=_EQUAL, abs_tol=_EQUAL):
                return mark, part
    return None


def _parts(rows: Sequence[_Answer], metric: str) -> Iterator[Sequence[_Answer]]:
    """Answers that a metric may be of: those of the kind that its name says (NAME/full, cbt_CN_...), the partial ones, or all."""
    kind = metric.partition("_")[2]
    named = [row for row in rows if kind and (row.id.endswith(f"/{kind}") or f"_{kind}_" in row.id)]
    partial = [row for row in rows if row.id.endswith("/partial")]
    return iter([part for part in (named, partial, rows) if part])
