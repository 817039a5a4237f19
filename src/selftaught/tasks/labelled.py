"""Examples with labels, and reading them from TSV, CSV and JSON-lines files by the names of their columns."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from selftaught import compute
from selftaught.errors import InputError
from selftaught.tasks.columns import form_of, read_columns, read_loose_tsv, uncompressed
from selftaught.tasks.rows import malformed

Kind: TypeAlias = Literal["classification", "entailment", "similarity", "choice"]
"""What a task asks (GPT-1 paper, figure 1): the class of a text, of an ordered pair, of an unordered pair, or which of several
answers goes with a text."""
Row: TypeAlias = Mapping[str, Any]
JSON_LINES = ("",)
"""Stands for the header of a file that holds JSON lines whatever its name says."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One example; which parts are filled follows from the kind of task."""

    id: str
    first: str
    """The text, the premise, or the document that a question is about."""
    second: str = ""
    """The hypothesis, the other text, or the question."""
    options: tuple[str, ...] = ()
    """Answers to choose among."""
    label: int | float | None = None
    """Number of the class or of the right answer, or a score; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The examples of a task."""

    train: list[Labelled]
    dev: list[Labelled]
    """Decides which epoch is the best."""
    others: Mapping[str, list[Labelled]] = field(default_factory=dict)
    """Further labelled sets that are measured once, at the end: `test`, `mismatched`, `middle`..."""
    notes: tuple[str, ...] = ()
    """What was done to the files that a result depends on, in words."""


HELD_OUT_SHARE = 0.1
"""Of the training rows, held out to choose the epoch by where a task brings no dev set."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where the parts of an example stand in a row: for each part the names that it may have, the first found counts."""

    first: tuple[str, ...]
    second: tuple[str, ...] = ()
    label: tuple[str, ...] = ("label",)
    options: tuple[str, ...] = ()
    """One name for a list of answers, or one for each answer."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """How labels are read."""

    names: tuple[str, ...] = ()
    """Classes in order; empty for scores and for numbered answers."""
    also: Mapping[str, str] = field(default_factory=dict)
    """Other ways to write a class."""
    low: float = 0.0
    """Of scores."""
    high: float = 0.0
    """Of scores; 0 if labels are classes."""
    unlabelled: frozenset[str] = frozenset(("-", "-1"))
    """Marks of rows on which annotators did not agree, or whose label is kept secret."""

    @property
    def scored(self) -> bool:
        """Whether labels are scores."""
        return self.high > self.low


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task with its examples."""

    name: str
    kind: Kind
    labels: Labels
    measures: tuple[str, ...]
    """The first chooses the epoch."""
    columns: Columns
    splits: Splits


def held_out(examples: Sequence[Labelled], name: str) -> tuple[list[Labelled], list[Labelled]]:
    """Examples without a tenth of them, and that tenth: the same ones each time, wherever they stand."""
    order = list(range(len(examples)))
    random.Random(compute.seed_of("held out", name)).shuffle(order)
    chosen = set(order[: max(1, round(HELD_OUT_SHARE * len(examples)))])
    return (
        [example for number, example in enumerate(examples) if number not in chosen],
        [example for number, example in enumerate(examples) if number in chosen],
    )


def table_rows(path: Path, header: Sequence[str] = ()) -> Iterator[tuple[int, Row]]:
    """Line number and row (column -> value) of a .jsonl, .ndjson, .json or .csv file, or of one with tabs as GLUE writes them.

    `header` names the columns of a file with tabs that has no header; a line may have fewer columns than there are names.
    """
    if header == JSON_LINES or uncompressed(path).suffix == ".json":
        return read_columns(path, "jsonl")
    form = form_of(path)
    return read_loose_tsv(path, header) if form in ("tsv", "lines") else read_columns(path, form)


class ExampleReader:
    """Turns rows into examples and says of each that cannot be one what is wrong with it, by file and line."""

    def __init__(self, columns: Columns, labels: Labels, *, skip_unusable: bool = False) -> None:
        self.columns, self.labels, self.skip_unusable = columns, labels, skip_unusable
        self.unlabelled = self.unusable = 0
        """Rows that were left out so far."""

    def read(self, path: Path, *, labelled: bool = True, header: Sequence[str] = ()) -> list[Labelled]:
        """The examples of a file; with `labelled` those that have a label.

        Raises InputError, naming file and line, for a missing column, an empty text or an unknown label.
        """
        return list(self.examples(path, table_rows(path, header), labelled=labelled))

    def examples(self, path: Path, rows: Iterator[tuple[int, Row]], *, labelled: bool) -> Iterator[Labelled]:
        """The same for rows that were read already."""
        for number, row in rows:
            try:
                example = self._example(path, number, row)
            except InputError:
                if not self.skip_unusable:
                    raise
                self.unusable += 1
                continue
            if labelled and example.label is None:
                self.unlabelled += 1
                continue
            yield example

    def notes(self) -> tuple[str, ...]:
        """What was left out, in words."""
        counted = ((self.unlabelled, "rows without a label left out"), (self.unusable, "unusable rows left out"))
        return tuple(f"{count:,} {words}" for count, words in counted if count)

    def _example(self, path: Path, number: int, row: Row) -> Labelled:
        first = _text(path, number, row, self.columns.first)
        second = _text(path, number, row, self.columns.second) if self.columns.second else ""
        options = self._options(path, number, row) if self.columns.options else ()
        label = self._label(path, number, row, len(options))
        return Labelled(
            id=f"{path.stem if path.stem != '-' else 'row'}-{number}",
            first=first,
            second=second,
            options=options,
            label=label,
        )

    def _options(self, path: Path, number: int, row: Row) -> tuple[str, ...]:
        value = row.get(self.columns.options[0])
        if isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value) and len(value) > 1:
            return tuple(value)
        return tuple(_text(path, number, row, (name,)) for name in self.columns.options)

    def _label(self, path: Path, number: int, row: Row, options: int) -> int | float | None:
        name = next((name for name in self.columns.label if row.get(name) is not None), None)
        if name is None or str(row[name]).strip() in self.labels.unlabelled:
            return None
        value = row[name]
        if self.labels.scored:
            return _score(path, number, value, self.labels)
        if options:
            return _option(path, number, value, options)
        return _class(path, number, value, self.labels)


def _text(path: Path, number: int, row: Row, names: Sequence[str]) -> str:
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        raise malformed(
            path, number, expected=f"a column {' or '.join(names)}", got=f"the columns {', '.join(row) or 'none'}"
        )
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise malformed(
            path, number, expected=f"a text in {name}", got="an empty one" if isinstance(value, str) else repr(value)
        )
    return value.strip()


def _score(path: Path, number: int, value: object, labels: Labels) -> float:
    try:
        score = float(str(value))
    except ValueError:
        score = float("nan")
    if not labels.low <= score <= labels.high:
        raise malformed(path, number, expected=f"a score from {labels.low:g} to {labels.high:g}", got=repr(value))
    return score


def _option(path: Path, number: int, value: object, options: int) -> int:
    """Answers are numbered from 0 or lettered from A."""
    text = str(value).strip()
    place = ord(text.upper()) - ord("A") if len(text) == 1 and text.isalpha() else int(text) if text.isdigit() else -1
    if not 0 <= place < options:
        raise malformed(path, number, expected=f"the number (from 0) or letter of one of {options} answers", got=text)
    return place


def _class(path: Path, number: int, value: object, labels: Labels) -> int:
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    text = labels.also.get(text, text)
    if text in labels.names:
        return labels.names.index(text)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(labels.names):
        return value
    raise malformed(path, number, expected=f"one of the labels {', '.join(labels.names)}", got=repr(value))


def class_names(path: Path, columns: Columns) -> tuple[str, ...]:
    """The labels that stand in a file, in order of their names (numbers by size). Raises InputError if there is only one."""
    found: set[str] = set()
    for number, row in table_rows(path):
        value = next((row[name] for name in columns.label if row.get(name) is not None), None)
        if value is None or not str(value).strip():
            expected = f"a label in a column {' or '.join(columns.label)}"
            raise malformed(path, number, expected=expected, got=f"the columns {', '.join(row)}")
        found.add(str(value).strip())
    if len(found) < 2:
        raise InputError(f"all rows of {path} have one label", expected="at least two", got=", ".join(found))
    return tuple(sorted(found, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)))


def require_classes(examples: Sequence[Labelled], names: Sequence[str], what: str) -> None:
    """Raise InputError if there are no examples, or examples of one class only: from them nothing can be learned."""
    if not examples:
        raise InputError(f"{what} has no labelled examples")
    found = {example.label for example in examples}
    if len(found) < 2:
        label = next(iter(found))
        name = names[label] if isinstance(label, int) and label < len(names) else f"{label}"
        raise InputError(f"all examples of {what} have one label", expected="at least two", got=name)
