"""Ten candidates for a missing word: the Children's Book Test, and questions of the same form made from any text."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from selftaught import compute
from selftaught.errors import InputError
from selftaught.tasks.detokenizers import close_up
from selftaught.tasks.examples import Choice
from selftaught.tasks.rows import malformed, read_lines, read_rows
from selftaught.tasks.words import STOP_WORDS, sentences

CONTEXT_SENTENCES, CANDIDATES = 20, 10
CBT_FILES = ("cbt/cbtest_*_valid_2000ex.txt", "cbt/cbt_*_examples.jsonl")
"""The official files (validation: The Jungle Book, of the test set, is in WebText), and rows of examples."""
Join: TypeAlias = Literal["blank", "newline"]
_GAP = "XXXXX"
_WORD = re.compile(r"(?<!\w)[A-Za-z]{4,}(?!\w)")


def make_questions(
    texts: Iterable[tuple[str, str]], *, seed: int, step: int = CONTEXT_SENTENCES + 1
) -> Iterator[Choice]:
    """Questions from 21 sentences of (id, text): 20 are the context, a word of the last one is to be found.

    They begin every `step` sentences: with fewer than 21 contexts overlap, but no sentence is asked about twice.

    The answer and the nine other candidates are words of the context of the same class: at least four letters, no stop word,
    all capitalised or all not, and the others those nearest to the answer in length and in how often the context has them, so
    that neither tells which is right. Which word of the last sentence is asked for is drawn by the seed.
    """
    for name, text in texts:
        found = sentences(text)
        for start in range(0, len(found) - CONTEXT_SENTENCES, step):
            context = " ".join(found[start : start + CONTEXT_SENTENCES])
            draw = random.Random(compute.seed_of("cloze", seed, name, start))
            question = _question(f"{name}@{start}", context, found[start + CONTEXT_SENTENCES], draw)
            if question is not None:
                yield question


def passage(text: str, start: int) -> str:
    """The sentences of a question that begins at one of a text's sentences."""
    return " ".join(sentences(text)[start : start + CONTEXT_SENTENCES + 1])


def _question(name: str, context: str, query: str, draw: random.Random) -> Choice | None:
    known = Counter(word for word in _WORD.findall(context) if word.lower() not in STOP_WORDS)
    asked = [match for match in _WORD.finditer(query) if match.start() > 0 and match.group() in known]
    if not asked:
        return None
    match = draw.choice(asked)
    answer = match.group()
    others = sorted(
        word for word in known if word.lower() != answer.lower() and word[0].isupper() == answer[0].isupper()
    )
    if len(others) < CANDIDATES - 1:
        return None
    draw.shuffle(others)
    others.sort(key=lambda word: abs(len(word) - len(answer)) + abs(known[word] - known[answer]))
    candidates = [*others[: CANDIDATES - 1], answer]
    draw.shuffle(candidates)
    return _choice(name, f"{context} {query[: match.start()]}", query[match.end() :], candidates, answer)


def _choice(name: str, before: str, after: str, candidates: list[str], answer: str) -> Choice:
    """The candidates with the rest of the sentence, given all before (GPT-2 paper, section 3.2)."""
    context, blank = (before[:-1], " ") if before.endswith(" ") else (before, "")
    return Choice(
        id=name,
        contexts=(context,) * len(candidates),
        continuations=tuple(f"{blank}{candidate}{after}" for candidate in candidates),
        candidates=tuple(candidates),
        answer=candidates.index(answer),
    )


def most_frequent(question: Choice) -> int:
    """The candidate that stands most often in the text before: an answer that needs no model."""
    known = Counter(_WORD.findall(question.contexts[0]))
    return max(range(len(question.candidates)), key=lambda number: known[question.candidates[number]])


@dataclass(frozen=True, kw_only=True)
class _Row:
    task: str
    context: list[str]
    question: str
    answer: str
    candidates: list[str]


def read_cbt(data: Path, join: Join = "blank") -> dict[str, list[Choice]]:
    """Questions of the Children's Book Test by category (CN, NE, V, P), Penn Treebank's spacing undone.

    Raises InputError for a question without a gap, without text before it, with fewer than two candidates, or whose answer is
    none of them. A candidate that is given twice counts where it stands first, an empty one not at all.
    """
    found: dict[str, list[Choice]] = {}
    paths = sorted(path for pattern in CBT_FILES for path in data.glob(pattern))
    for path in paths:
        rows = read_rows(path, _Row) if path.suffix == ".jsonl" else _official_rows(path)
        for number, row in rows:
            if _GAP not in row.question or row.answer not in row.candidates:
                raise malformed(path, number, expected=f"a question with {_GAP} and its answer among the candidates")
            if not row.task.strip() or not row.context or len(set(filter(str.strip, row.candidates))) < 2:
                raise malformed(path, number, expected="a category, sentences before, and at least two candidates")
            found.setdefault(row.task, []).append(_cbt_choice(f"{path.stem}-{number}", row, join))
    return found


def _cbt_choice(name: str, row: _Row, join: Join) -> Choice:
    before, _, after = row.question.partition(_GAP)
    if join == "blank":
        context = close_up(" ".join([*row.context, before])).rstrip() + " "
    else:
        lines = [close_up(sentence).strip() for sentence in [*row.context, before]]
        context = "\n".join(lines) + (" " if lines[-1] else "")
    rest = close_up(f"X{after}").rstrip()[1:]
    candidates = list(dict.fromkeys(filter(str.strip, row.candidates)))
    return replace(_choice(name, context, rest, candidates, row.answer), repeated=len(row.candidates) - len(candidates))


def _official_rows(path: Path) -> Iterator[tuple[int, _Row]]:
    """Lines "1 sentence" to "20 sentence", then "21 question<TAB>answer<TAB><TAB>one|two|..."; a blank line between questions."""
    category = path.name.split("_")[1]
    context: list[str] = []
    for number, line in enumerate(read_lines(path), start=1):
        place, _, rest = line.strip().partition(" ")
        if not place:
            continue
        if place == str(len(context) + 1) and len(context) < CONTEXT_SENTENCES:
            context.append(rest)
            continue
        fields = rest.split("\t")
        if place != str(CONTEXT_SENTENCES + 1) or len(context) < CONTEXT_SENTENCES or len(fields) != 4:
            raise malformed(path, number, expected=f"sentence {len(context) + 1} of a question", got=line[:60])
        question, answer, _, candidates = fields
        row = _Row(task=category, context=context, question=question, answer=answer, candidates=candidates.split("|"))
        yield number, row
        context = []
    if context:
        raise InputError(f"{path} ends within a question")
