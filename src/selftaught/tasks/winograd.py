"""Winograd schemas: which of two names a pronoun stands for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Literal

from selftaught import storage
from selftaught.tasks.examples import Choice

WSC273_FILE, PDP60_FILE = "winograd/wsc273.jsonl", "winograd/pdp60.jsonl"


@dataclass(frozen=True, kw_only=True)
class _Row:
    id: str
    candidates: list[str]
    label: int
    sentences: list[str]


def read_schemas(path: Path, scoring: Literal["partial", "full"]) -> list[Choice]:
    """Schemas with the pronoun replaced by each candidate (Trinh & Le 2018).

    `full` compares the probabilities of whole sentences; `partial` of what follows the replaced name, given all before it.
    """
    with storage.reading(path) as stream:
        rows = [storage.decode_json(line, _Row, path) for line in stream if line.strip()]
    return [_choice(row, scoring) for row in rows]


def _choice(row: _Row, scoring: Literal["partial", "full"]) -> Choice:
    kept = len(_shared_ending(row.sentences)) if scoring == "partial" else None
    cuts = [0 if kept is None else len(sentence) - kept for sentence in row.sentences]
    return Choice(
        id=row.id,
        contexts=tuple(sentence[:cut] for sentence, cut in zip(row.sentences, cuts, strict=True)),
        continuations=tuple(sentence[cut:] for sentence, cut in zip(row.sentences, cuts, strict=True)),
        candidates=tuple(row.candidates),
        answer=row.label,
    )


def _shared_ending(sentences: list[str]) -> str:
    """The longest ending of all sentences that begins at a blank or a punctuation mark."""
    shortest = min(sentences, key=len)
    equal = takewhile(lambda place: len({sentence[-place] for sentence in sentences}) == 1, range(1, len(shortest) + 1))
    ending = shortest[len(shortest) - len(list(equal)) :]
    inside = next((place for place, sign in enumerate(ending) if not sign.isalnum()), len(ending))
    return ending[inside:]
