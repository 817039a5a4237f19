"""Winograd schemas: which of two names a pronoun stands for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Literal

from selftaught.tasks.examples import Choice
from selftaught.tasks.rows import malformed, read_rows

WSC273_FILE, PDP60_FILE = "winograd/wsc273.jsonl", "winograd/pdp60.jsonl"
Scoring = Literal["partial", "full"]


@dataclass(frozen=True, kw_only=True)
class _Row:
    id: str
    candidates: list[str]
    label: int
    sentences: list[str]


def read_schemas(path: Path, scoring: Scoring) -> list[Choice]:
    """Schemas with the pronoun replaced by each candidate (Trinh & Le 2018; GPT-2 paper, section 3.4).

    `full` compares the probabilities of whole sentences; `partial` of what follows the replaced name, given all before it.
    Raises InputError for a row whose sentences, candidates and label do not fit together.
    """
    schemas = []
    for number, row in read_rows(path, _Row):
        fits = len(row.sentences) == len(row.candidates) >= 2 and 0 <= row.label < len(row.candidates)
        if not fits or not all(row.sentences) or len(set(row.sentences)) < len(row.sentences):
            raise malformed(
                path,
                number,
                expected="a different sentence for each of at least two candidates, and the number of the right one",
            )
        schemas.append(_choice(row, scoring))
    return schemas


def _choice(row: _Row, scoring: Scoring) -> Choice:
    kept = len(_shared_ending(row.sentences)) if scoring == "partial" else 0
    # Where nothing follows the name there is only the whole sentence to compare.
    cuts = [len(sentence) - kept if kept else 0 for sentence in row.sentences]
    return Choice(
        id=f"{row.id}/{scoring}",
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
