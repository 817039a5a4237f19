"""The Definite Pronoun Resolution Dataset (Rahman & Ng 2012): which of two noun phrases a pronoun stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from selftaught.errors import InputError
from selftaught.tasks.examples import Choice
from selftaught.tasks.rows import malformed, read_lines
from selftaught.tasks.words import STOP_WORDS

DPRD_FILE = "dprd/test.c.txt"
_POSSESSIVE = ("his", "its", "their")
_ARTICLES = (
    "the",
    "a",
    "an",
    "his",
    "her",
    "its",
    "their",
    "my",
    "our",
    "your",
    "some",
    "this",
    "that",
    "these",
    "those",
)


def read_referents(path: Path) -> list[Choice]:
    """Sentences with the pronoun replaced by each candidate; what follows it is compared, or all where nothing does.

    Four lines a question: sentence, pronoun, candidates with a comma between, the right one; blank lines count for nothing. Where
    the pronoun stands more than once its first place is meant. Raises InputError, by line, for a question that has no such form.
    """
    questions = [_choice(path, number, lines) for number, lines in _fours(path)]
    if not questions:
        raise InputError(f"{path} holds no questions", expected="four lines each")
    return questions


def _fours(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    lines = [(number, line.strip()) for number, line in enumerate(read_lines(path), start=1) if line.strip()]
    if len(lines) % 4:
        raise InputError(f"{path} ends within a question", expected="sentence, pronoun, candidates and answer for each")
    for first in range(0, len(lines), 4):
        some = lines[first : first + 4]
        yield some[0][0], tuple(line for _, line in some)


def _choice(path: Path, number: int, lines: tuple[str, ...]) -> Choice:
    sentence, pronoun, candidates, answer = lines
    names = tuple(name.strip() for name in candidates.split(","))
    lowered = [name.lower() for name in names]
    if len(set(lowered)) != 2 or len(names) != 2 or answer.lower() not in lowered or not all(names):
        raise malformed(path, number, expected="two candidates, one of them the answer", got=f"{candidates} / {answer}")
    places = [
        *re.finditer(rf"\b{re.escape(pronoun)}\b", sentence),
        *re.finditer(rf"(?i)\b{re.escape(pronoun)}\b", sentence),
    ]
    if not places:
        raise malformed(path, number, expected=f"the pronoun {pronoun} in the sentence", got=sentence)
    before, after = sentence[: places[0].start()], sentence[places[0].end() :]
    filled = [_fitting(name, pronoun, before, after) for name in names]
    says_nothing = not any(map(str.isalnum, after))
    contexts = ["" if says_nothing else before + name for name in filled]
    return Choice(
        id=f"{path.stem}-{number}",
        contexts=tuple(contexts),
        continuations=tuple(before + name + after if says_nothing else after for name in filled),
        candidates=names,
        answer=lowered.index(answer.lower()),
    )


def _fitting(name: str, pronoun: str, before: str, after: str) -> str:
    """A candidate as it is written in the pronoun's place: its article small inside a sentence, with 's for a possessive."""
    article, blank, rest = name.partition(" ")
    inside = before.strip() and before.strip()[-1] not in ".!?"
    if article.lower() in _ARTICLES:
        article = article.lower() if inside else article.capitalize()
    written = f"{article}{blank}{rest}"
    following = re.match(r"\s+(\w+)", after)
    possesses = pronoun.lower() in _POSSESSIVE or (
        pronoun.lower() == "her" and following is not None and following.group(1).lower() not in STOP_WORDS
    )
    return f"{written}'" if possesses and written.endswith("s") else f"{written}'s" if possesses else written
