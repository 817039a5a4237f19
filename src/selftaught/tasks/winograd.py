"""Winograd schemas: which of two names a pronoun stands for."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Literal, TypeAlias

from selftaught.tasks import schema_files
from selftaught.tasks.examples import Choice
from selftaught.tasks.rows import malformed, read_rows

WSC273_FILE, PDP60_FILE = "winograd/wsc273.jsonl", "winograd/pdp60.jsonl"
WSC273_FILES = (WSC273_FILE, "winograd/WSCollection.xml", "winograd/wsc273*.txt")
PDP60_FILES = (PDP60_FILE, "winograd/pdp-test.xml", "winograd/PDP*.txt")
"""Rows with whole sentences, or the authors' XML, or texts with [MASK]."""
SCHEMAS = 273
"""WSCollection.xml has grown since; the first ones are the challenge."""
Scoring = Literal["partial", "full"]
Form: TypeAlias = Literal["sentences", "harness"]
"""`sentences`: what the sentences end in alike, which leaves out what the names end in alike; `harness`: all that follows the
pronoun, as lm-evaluation-harness has it, where the rows say what that is."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A schema as a line of our files."""

    id: str
    candidates: list[str]
    label: int
    sentences: list[str]
    prefix: str = ""
    """What stands before the pronoun, without the blank between."""
    pronoun: str = ""
    suffix: str = ""
    """What follows the pronoun, without the blank between."""
    candidates_raw: list[str] = field(default_factory=list)
    """The names as the data set prints them."""


def read_schemas(path: Path, scoring: Scoring, form: Form = "sentences") -> list[Choice]:
    """Schemas with the pronoun replaced by each candidate (Trinh & Le 2018; GPT-2 paper, section 3.4).

    `full` compares the probabilities of whole sentences; `partial` of what follows the replaced name, given all before it.
    Raises InputError for a row whose sentences, candidates and label do not fit together.
    """
    return [_choice(row, scoring, form) for row in _rows(path)]


def read_texts(path: Path) -> list[tuple[str, str]]:
    """Name and text of each schema as it may stand elsewhere: with its pronoun, or the right name where that is not told."""
    return [(row.id, _text(row)) for row in _rows(path)]


def _text(row: Row) -> str:
    if not (row.prefix and row.pronoun):
        return row.sentences[row.label]
    return schema_files.joined(row.prefix, row.pronoun, row.suffix)


def _rows(path: Path) -> list[Row]:
    if path.suffix in (".xml", ".txt"):
        found = schema_files.read_collection(path, SCHEMAS) if path.suffix == ".xml" else schema_files.read_masked(path)
        return [row_of(one) for one in found]
    schemas = []
    for number, row in read_rows(path, Row):
        fits = len(row.sentences) == len(row.candidates) >= 2 and 0 <= row.label < len(row.candidates)
        if not fits or not all(row.sentences) or len(set(row.sentences)) < len(row.sentences):
            raise malformed(
                path,
                number,
                expected="a different sentence for each of at least two candidates, and the number of the right one",
            )
        schemas.append(row)
    return schemas


def row_of(schema: schema_files.Schema) -> Row:
    """A schema with its sentences."""
    return Row(
        id=schema.id,
        candidates=schema.candidates,
        label=schema.label,
        sentences=schema.sentences,
        prefix=schema.prefix,
        pronoun=schema.pronoun,
        suffix=schema.suffix,
        candidates_raw=schema.names,
    )


def _choice(row: Row, scoring: Scoring, form: Form) -> Choice:
    if scoring == "partial" and form == "harness" and row.pronoun and len(row.candidates_raw) == len(row.candidates):
        contexts, continuations = _as_the_harness(row)
    else:
        kept = len(_shared_ending(row.sentences)) if scoring == "partial" else 0
        # Where nothing follows the name there is only the whole sentence to compare.
        cuts = [len(sentence) - kept if kept else 0 for sentence in row.sentences]
        contexts = [sentence[:cut] for sentence, cut in zip(row.sentences, cuts, strict=True)]
        continuations = [sentence[cut:] for sentence, cut in zip(row.sentences, cuts, strict=True)]
    return Choice(
        id=f"{row.id}/{scoring}",
        contexts=tuple(contexts),
        continuations=tuple(continuations),
        candidates=tuple(row.candidates),
        answer=row.label,
    )


_POSSESSIVE = frozenset(("my", "his", "her", "our", "their"))
_LOWERED = frozenset(("A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their"))


def _as_the_harness(row: Row) -> tuple[list[str], list[str]]:
    """All that follows the pronoun, with a second blank before it, given the text before and each name.

    A name gets 's for a possessive, and a small letter except after a full stop, however else its sentence began.
    """
    before = f"{row.prefix} " if row.prefix else ""
    after = row.suffix if row.suffix[:1] in ".,;:!?'" else f" {row.suffix}"
    names = [f"{name}'s" if row.pronoun.lower() in _POSSESSIVE else name for name in row.candidates_raw]
    if not before.endswith(". "):
        firsts = [name.split()[0] for name in names]
        names = [
            name.replace(first, first.lower()) if first in _LOWERED else name
            for name, first in zip(names, firsts, strict=True)
        ]
    return [before + name for name in names], [f" {after}"] * len(names)


def _shared_ending(sentences: list[str]) -> str:
    """The longest ending of all sentences that begins at a blank or a punctuation mark."""
    shortest = min(sentences, key=len)
    equal = takewhile(lambda place: len({sentence[-place] for sentence in sentences}) == 1, range(1, len(shortest) + 1))
    ending = shortest[len(shortest) - len(list(equal)) :]
    inside = next((place for place, sign in enumerate(ending) if not sign.isalnum()), len(ending))
    return ending[inside:]
