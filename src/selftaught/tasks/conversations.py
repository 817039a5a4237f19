"""CoQA: questions about a story, each after those before it (GPT-2 paper, section 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError
from selftaught.tasks.rows import malformed, read_rows

COQA_FILE = "coqa/coqa_dev.jsonl"
COQA_FILES = (COQA_FILE, "coqa/coqa-dev-v1.0.json")
"""Rows, or the authors' file."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A question; the first answer is the main reference."""

    question: str
    answers: list[str]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A story and the turns about it."""

    id: str
    source: str
    story: str
    turns: list[Turn]


@dataclass(frozen=True, kw_only=True)
class Laid:
    """A turn as it is put to a model."""

    prompt: str
    turns_left_out: int
    """Of the turns before it, those for which there was no room: the oldest."""
    story_cut: bool
    """There was no room for the end of the story."""


def read_coqa(data: Path) -> list[Conversation]:
    """The conversations of the development set.

    Raises InputError for a row without a story, turns or answers, and for an id that is there twice.
    """
    path = next((data / file for file in COQA_FILES if (data / file).exists()), data / COQA_FILE)
    found: dict[str, Conversation] = {}
    for number, row in _official(path) if path.suffix == ".json" else read_rows(path, Conversation):
        whole = row.story.strip() and row.turns and all(turn.question.strip() and turn.answers for turn in row.turns)
        if not whole or row.id in found:
            raise malformed(path, number, expected="an id of its own, a story, and turns with a question and answers")
        found[row.id] = row
    return list(found.values())


@dataclass(frozen=True, kw_only=True)
class _Said:
    input_text: str


@dataclass(frozen=True, kw_only=True)
class _Story:
    id: str
    source: str
    story: str
    questions: list[_Said]
    answers: list[_Said]
    additional_answers: dict[str, list[_Said]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _File:
    data: list[_Story]


def _official(path: Path) -> Iterator[tuple[int, Conversation]]:
    """Number and value of each conversation of coqa-dev-v1.0.json."""
    try:
        stories = storage.read_json(path, _File).data
    except DamagedFileError as problem:
        raise InputError(f"{path} cannot be used", expected="CoQA as published", got=problem.got) from problem
    for number, one in enumerate(stories, start=1):
        others = [one.additional_answers[key] for key in sorted(one.additional_answers)]
        if any(len(each) != len(one.questions) for each in (one.answers, *others)):
            raise InputError(f"{path}, story {number} cannot be used", expected="an answer to each question")
        turns = [
            Turn(question=question.input_text, answers=[answer.input_text for answer in given])
            for question, *given in zip(one.questions, one.answers, *others, strict=True)
        ]
        yield number, Conversation(id=one.id, source=one.source, story=one.story, turns=turns)


def lay(
    conversation: Conversation,
    number: int,
    history: Sequence[str],
    *,
    room: int,
    length: Callable[[str], int],
    beginning: Callable[[str, int], str],
) -> Laid:
    """Turn `number` after the story, a blank line and lines `Q: ...` and `A: ...` with the answers of `history`.

    What has more than `room` tokens (by `length`) loses its oldest turns, then the end of its story.
    """
    turns = [
        f"Q: {turn.question}\nA: {answer}\n" for turn, answer in zip(conversation.turns, history[:number], strict=False)
    ]
    question = f"Q: {conversation.turns[number].question}\nA:"
    story = conversation.story.strip()
    sizes = [length(turn) for turn in turns]
    free = room - length(f"{story}\n\n{question}")
    first = len(turns)
    while first and sum(sizes[first - 1 :]) <= free:
        first -= 1
    prompt = f"{story}\n\n{''.join(turns[first:])}{question}"
    cut = False
    # Tokens across the seams are few, but may be one more than was counted.
    while (over := length(prompt) - room) > 0:
        if first < len(turns):
            first += 1
        else:
            cut = True
            shorter = beginning(story, length(story) - over).rstrip()
            story = shorter if len(shorter) < len(story) else story[:-1]
        prompt = f"{story}\n\n{''.join(turns[first:])}{question}"
        if not story:
            break
    return Laid(prompt=prompt, turns_left_out=first, story_cut=cut)
