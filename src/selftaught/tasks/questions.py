"""Natural Questions in the short-answer form (GPT-2 paper, section 3.8)."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from selftaught import compute
from selftaught.errors import InputError
from selftaught.tasks import answers
from selftaught.tasks.rows import malformed, read_rows

NQ_FILE, NQ_EXAMPLES_FILE = "nq_open/NQ-open.dev.jsonl", "nq_open/NQ-open.train.jsonl"
QUESTION_WORDS = ("who", "whose", "what", "which", "when", "where", "why", "how many", "how much", "how")
BINS = 10
"""Of equal width, by which answers are put together by their probability."""
MOST_CONFIDENT = 0.01
"""Share of the questions: the paper gives the accuracy of the 1 % that a model is most sure of."""


@dataclass(frozen=True, kw_only=True)
class Trivia:
    """A question and its accepted answers."""

    id: str
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Quiz:
    """The questions that count, those that are shown as examples, and those that tell which answers are frequent."""

    asked: list[Trivia]
    examples: list[Trivia]
    known: list[Trivia]
    trained: bool
    """There is a training set, from which the examples and the frequent answers are."""
    words: str
    """Where the examples are from."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    question: str
    answer: list[str]


def read_questions(data: Path, *, examples: int, seed: int) -> Quiz:
    """The development set and examples from the training set.

    Where there is no training set, they are from the development set and do not count there. Raises InputError for a
    question without an answer, and where there are too few.
    """
    asked = _read(data / NQ_FILE, "nq")
    known = _read(data / NQ_EXAMPLES_FILE, "train") if (data / NQ_EXAMPLES_FILE).is_file() else asked
    if examples + 1 > len(known):
        raise InputError(f"{data} has too few questions", expected=f"more than {examples}", got=str(len(known)))
    chosen = random.Random(compute.seed_of("questions", seed)).sample(known, examples)
    taken = {one.id for one in chosen}
    trained = known is not asked
    where = "the training set" if trained else "the development set, where they do not count"
    return Quiz(
        asked=[one for one in asked if one.id not in taken],
        examples=chosen,
        known=known,
        trained=trained,
        words=f"{examples} example questions drawn from {where}, seed {seed}",
    )


def _read(path: Path, name: str) -> list[Trivia]:
    found = []
    for number, row in read_rows(path, _Row):
        if not row.question.strip() or not any(map(str.strip, row.answer)):
            raise malformed(path, number, expected='{"question": ..., "answer": [at least one]}')
        found.append(Trivia(id=f"{name}-{number}", question=row.question.strip(), answers=tuple(row.answer)))
    return found


def prompt(examples: Sequence[Trivia], question: str) -> str:
    """Lines `Q: ...` and `A: ...` of the examples, then the question and a bare `A:`."""
    shown = "".join(f"Q: {one.question}\nA: {one.answers[0]}\n" for one in examples)
    return f"{shown}Q: {question}\nA:"


def question_word(question: str) -> str:
    """The question word that stands first in a question, or ""."""
    words = f" {' '.join(answers.normal(question).split())} "
    places = {word: words.find(f" {word} ") for word in QUESTION_WORDS}
    found = [word for word in QUESTION_WORDS if places[word] >= 0]
    return min(found, key=lambda word: (places[word], -len(word)), default="")


def frequent_answers(known: Iterable[Trivia]) -> dict[str, str]:
    """The most frequent first answer for each question word: what can be said without reading the question."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in known:
        counts[question_word(one.question)][answers.normal(one.answers[0])] += 1
    return {word: count.most_common(1)[0][0] for word, count in counts.items()}


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Answers of similar confidence."""

    low: float
    high: float
    answers: int
    confidence: float
    """Mean probability of these answers."""
    accuracy: float


def reliability(probabilities: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """Answers by their probability, in `BINS` intervals of equal width that are closed above; empty ones are left out."""
    found: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for probability, one in zip(probabilities, right, strict=True):
        place = next(number for number in range(BINS) if probability <= (number + 1) / BINS or number == BINS - 1)
        found[place].append((probability, one))
    return [
        Bin(
            low=place / BINS,
            high=(place + 1) / BINS,
            answers=len(rows),
            confidence=sum(probability for probability, _ in rows) / len(rows),
            accuracy=sum(one for _, one in rows) / len(rows),
        )
        for place, rows in sorted(found.items())
    ]


def calibration_error(curve: Sequence[Bin]) -> float:
    """Mean distance of accuracy from confidence, by the number of answers (expected calibration error)."""
    total = sum(one.answers for one in curve)
    return sum(one.answers * abs(one.accuracy - one.confidence) for one in curve) / total


def calibration(rows: Sequence[tuple[float, bool]]) -> float:
    """The calibration error of answers given as their probability and whether they are right."""
    return calibration_error(reliability([sure for sure, _ in rows], [right for _, right in rows]))


def most_confident(probabilities: Sequence[float]) -> list[int]:
    """The questions answered with the highest probability, at least one; the first of equals."""
    count = max(1, round(MOST_CONFIDENT * len(probabilities)))
    return sorted(range(len(probabilities)), key=lambda number: -probabilities[number])[:count]
