"""A task of the user's own: CSV, TSV or JSON lines with named columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selftaught.errors import InputError, UsageError
from selftaught.tasks.labelled import (
    Columns,
    ExampleReader,
    Kind,
    Labels,
    Splits,
    Task,
    class_names,
    held_out,
    require_classes,
    table_rows,
)

OWN = "own"
"""Name of the task."""


@dataclass(frozen=True, kw_only=True)
class OwnData:
    """Files and columns of a task of one's own. Without a dev file a tenth of the training rows is held out."""

    train: Path | None = None
    """Training rows: .csv, .tsv or .jsonl (also compressed)."""
    dev: Path | None = None
    """Rows that choose the best epoch."""
    test: Path | None = None
    """Rows that are measured at the end."""
    kind: Kind = "classification"
    """classification of one text; entailment: an ordered pair; similarity: a pair in any order; choice among answers."""
    text: str = "text"
    """Column of the text, the premise, or the document of a choice."""
    second: str = ""
    """Column of the second text, or of the question of a choice."""
    options: tuple[str, ...] = ()
    """Column with the list of answers, or the columns with one each."""
    label: str = "label"
    """Column of the label; for a choice the number (from 0) or letter of the right answer."""
    lowest: float = 0.0
    """Of scores, if labels are scores and not classes."""
    highest: float = 0.0
    """Of scores; 0 if labels are classes."""
    measure: str = "accuracy"
    """accuracy, f1 (of the second class), macro_f1, matthews; pearson or spearman for scores."""


def read_own(data: OwnData, *, skip_unusable: bool = False) -> Task:
    """Read the files. Raises UsageError for columns that a kind needs and that are not named, InputError for unusable rows."""
    _require_names(data)
    if data.train is None:
        raise UsageError("the task needs training rows", hint="Add --train FILE")
    columns = own_columns(data)
    labels = _labels(data, columns)
    reader = ExampleReader(columns, labels, skip_unusable=skip_unusable)
    files = {"train": data.train, "dev": data.dev, "test": data.test}
    found = {name: list(reader.examples(path, table_rows(path), labelled=True)) for name, path in files.items() if path}
    for name, rows in found.items():
        if not rows:
            raise InputError(f"{files[name]} holds no labelled rows", expected=f"a column {data.label}")
    if labels.names:
        require_classes(found["train"], labels.names, str(data.train))
    train, notes = found["train"], reader.notes()
    dev = found.get("dev")
    if dev is None:
        train, dev = held_out(train, OWN)
        notes = (f"no dev file: {len(dev):,} training rows held out to choose the epoch", *notes)
        if not train:
            raise InputError(f"{data.train} holds too few rows", expected="at least two")
    others = {"test": found["test"]} if "test" in found else {}
    return Task(
        name=OWN,
        kind=data.kind,
        labels=labels,
        measures=_measures(data, labels),
        columns=columns,
        splits=Splits(train=train, dev=dev, others=others, notes=notes),
    )


def own_columns(data: OwnData) -> Columns:
    """Where the parts of an example stand."""
    return Columns(
        first=(data.text,),
        second=(data.second,) if data.second else (),
        options=data.options,
        label=(data.label,),
    )


def _require_names(data: OwnData) -> None:
    pair = data.kind in ("entailment", "similarity")
    if pair and not data.second:
        raise UsageError(f"{data.kind} is about two texts", hint="Add --second COLUMN")
    if data.kind == "choice" and not data.options:
        raise UsageError("a choice needs its answers", hint="Add --options COLUMN, or several columns")
    if data.kind == "classification" and data.second:
        raise UsageError("classification is of one text", hint="Add --kind entailment or --kind similarity for two")
    if data.highest > data.lowest and data.kind == "choice":
        raise UsageError("a choice has no scores", got=f"--highest {data.highest:g}")


def _labels(data: OwnData, columns: Columns) -> Labels:
    if data.highest > data.lowest:
        return Labels(low=data.lowest, high=data.highest)
    if data.kind == "choice" or data.train is None:
        return Labels()
    return Labels(names=class_names(data.train, columns), unlabelled=frozenset())


def _measures(data: OwnData, labels: Labels) -> tuple[str, ...]:
    for_scores = data.measure in ("pearson", "spearman")
    if labels.scored and not for_scores:
        return ("pearson", "spearman")
    if for_scores and not labels.scored:
        raise UsageError(f"{data.measure} is for scores", hint="--lowest and --highest say that labels are scores")
    if data.measure in ("f1", "matthews") and len(labels.names) != 2:
        raise UsageError(
            f"{data.measure} is for two classes", got=f"{len(labels.names)}", hint="Add --measure macro_f1"
        )
    if data.measure not in ("accuracy", "f1", "macro_f1", "matthews", "pearson", "spearman"):
        raise UsageError(
            f"unknown measure {data.measure}", expected="accuracy, f1, macro_f1, matthews, pearson, spearman"
        )
    return tuple(dict.fromkeys((data.measure, "accuracy"))) if not labels.scored else (data.measure,)
