"""The twelve tasks of GPT-1's fine-tuning (paper, tables 1 to 4): their official files, labels and measures.

Each also reads JSON lines with GLUE's field names: `train*.jsonl`, `dev*.jsonl`, `test*.jsonl` in the task's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from selftaught.errors import InputError
from selftaught.settings import unknown_name
from selftaught.tasks import reading
from selftaught.tasks.labelled import (
    JSON_LINES,
    Columns,
    ExampleReader,
    Kind,
    Labelled,
    Labels,
    Splits,
    Task,
    held_out,
    require_classes,
)

_PAIR = Columns(first=("sentence1", "premise", "#1 String"), second=("sentence2", "hypothesis", "#2 String"))
_NLI_LABELS = ("entailment", "neutral", "contradiction")
_JSONL = {"train": ("train*.jsonl*",), "dev": ("dev*.jsonl*", "validation*.jsonl*"), "test": ("test*.jsonl*",)}


@dataclass(frozen=True, kw_only=True)
class GlueTask:
    """One task: where its rows stand, how they are read and marked."""

    kind: Kind
    folders: tuple[str, ...]
    """Names that its folder has; the first is GLUE's."""
    columns: Columns
    labels: Labels = field(default_factory=lambda: Labels(names=("0", "1")))
    measures: tuple[str, ...] = ("accuracy",)
    """The first is the one the paper prints, and chooses the epoch."""
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Split -> patterns of official files, the first that exists counts; what is neither train nor dev is measured at the end."""
    headers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Pattern -> column names, for files without a header."""
    glue: bool = False
    """Whether it counts in GLUE's average."""


def _labels(*names: str, **also: str) -> Labels:
    return Labels(names=names, also=also)


def _split_files(pattern: str) -> dict[str, tuple[str, ...]]:
    return {split: (pattern.format(split),) for split in ("train", "dev", "test")}


_COLA_ROW = ("source", "label", "star", "sentence")
TASKS: dict[str, GlueTask] = {
    "mnli": GlueTask(
        kind="entailment",
        folders=("MNLI", "multinli_1.0"),
        columns=Columns(first=_PAIR.first, second=_PAIR.second, label=("gold_label", "label")),
        labels=_labels(*_NLI_LABELS),
        files={
            "train": ("train.tsv", "multinli_1.0_train.jsonl", "multinli_1.0_train.txt"),
            "dev": ("dev_matched.tsv", "multinli_1.0_dev_matched.jsonl", "dev-matched.jsonl"),
            "mismatched": ("dev_mismatched.tsv", "multinli_1.0_dev_mismatched.jsonl", "dev-mismatched.jsonl"),
        },
        glue=True,
    ),
    "snli": GlueTask(
        kind="entailment",
        folders=("SNLI", "snli_1.0"),
        columns=Columns(first=_PAIR.first, second=_PAIR.second, label=("gold_label", "label")),
        labels=_labels(*_NLI_LABELS),
        files=_split_files("snli_1.0_{}.jsonl"),
    ),
    "qnli": GlueTask(
        kind="entailment",
        folders=("QNLI",),
        columns=Columns(first=("question",), second=("sentence",)),
        labels=_labels("entailment", "not_entailment"),
        files=_split_files("{}.tsv"),
        glue=True,
    ),
    "rte": GlueTask(
        kind="entailment",
        folders=("RTE",),
        columns=_PAIR,
        labels=_labels("entailment", "not_entailment"),
        files=_split_files("{}.tsv"),
        glue=True,
    ),
    "scitail": GlueTask(
        kind="entailment",
        folders=("SciTail", "SciTailV1.1"),
        columns=Columns(first=_PAIR.first, second=_PAIR.second, label=("gold_label", "label")),
        labels=_labels("entailment", "neutral", entails="entailment"),
        files={
            split: (
                f"tsv_format/scitail_1.0_{split}.tsv",
                f"scitail_1.0_{split}.tsv",
                f"snli_format/scitail_1.0_{split}.txt",
            )
            for split in ("train", "dev", "test")
        },
        headers={"scitail_1.0_*.tsv": ("premise", "hypothesis", "label"), "scitail_1.0_*.txt": JSON_LINES},
    ),
    "sst2": GlueTask(
        kind="classification",
        folders=("SST-2",),
        columns=Columns(first=("sentence",)),
        labels=_labels("negative", "positive", **{"0": "negative", "1": "positive"}),
        files=_split_files("{}.tsv"),
        glue=True,
    ),
    "cola": GlueTask(
        kind="classification",
        folders=("CoLA",),
        columns=Columns(first=("sentence",)),
        labels=_labels("unacceptable", "acceptable", **{"0": "unacceptable", "1": "acceptable"}),
        measures=("matthews", "accuracy"),
        files={"train": ("train.tsv", "in_domain_train.tsv"), "dev": ("dev.tsv", "in_domain_dev.tsv")},
        headers={"*.tsv": _COLA_ROW},
        glue=True,
    ),
    "mrpc": GlueTask(
        kind="similarity",
        folders=("MRPC", "MSRParaphraseCorpus"),
        columns=Columns(first=_PAIR.first, second=_PAIR.second, label=("label", "Quality")),
        labels=_labels("different", "paraphrase", **{"0": "different", "1": "paraphrase"}),
        measures=("f1", "accuracy"),
        files={
            "train": ("train.tsv", "msr_paraphrase_train.txt"),
            "dev": ("dev.tsv",),
            "test": ("msr_paraphrase_test.txt", "test.tsv"),
        },
        glue=True,
    ),
    "qqp": GlueTask(
        kind="similarity",
        folders=("QQP",),
        columns=Columns(
            first=("question1", "sentence1"), second=("question2", "sentence2"), label=("is_duplicate", "label")
        ),
        labels=_labels("different", "duplicate", **{"0": "different", "1": "duplicate"}),
        measures=("f1", "accuracy"),
        files=_split_files("{}.tsv"),
        glue=True,
    ),
    "stsb": GlueTask(
        kind="similarity",
        folders=("STS-B",),
        columns=Columns(first=_PAIR.first, second=_PAIR.second, label=("score", "label")),
        labels=Labels(low=0.0, high=5.0),
        measures=("pearson", "spearman"),
        files=_split_files("{}.tsv"),
        glue=True,
    ),
    "race": GlueTask(
        kind="choice",
        folders=("RACE",),
        columns=Columns(first=("article",), second=("question",), options=("options",), label=("answer",)),
        labels=Labels(),
    ),
    "storycloze": GlueTask(
        kind="choice",
        folders=("StoryCloze", "ROCStories", "storycloze"),
        columns=Columns(
            first=("story",), options=("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2"), label=("answer",)
        ),
        labels=Labels(),
    ),
}
"""Name -> task."""


def task(name: str) -> GlueTask:
    """A task by its name. Raises UsageError for an unknown one, with the nearest."""
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def read_task(name: str, data: Path, *, skip_unusable: bool = False) -> Task:
    """A task with its examples from its folder below `data` (or from `data` itself, if that is the folder).

    Raises InputError where the files are missing, or for a row that is wrong, with file and line.
    """
    one = task(name)
    folder = next((data / inner for inner in one.folders if (data / inner).is_dir()), data)
    reader = ExampleReader(one.columns, one.labels, skip_unusable=skip_unusable)
    if name == "race":
        splits = reading.race(folder, reader)
    elif name == "storycloze":
        splits = reading.story_cloze(folder, reader)
    else:
        splits = _from_files(name, one, folder, reader)
    if not splits.train:
        raise InputError(f"no training examples of {name} in {folder}", expected=_expected(one))
    if not splits.dev:
        splits = _with_held_out(name, splits)
    if one.labels.names:
        require_classes(splits.train, one.labels.names, f"{name}'s training set")
    return Task(
        name=name,
        kind=one.kind,
        labels=one.labels,
        measures=one.measures,
        columns=one.columns,
        splits=replace(splits, notes=(*splits.notes, *reader.notes())),
    )


def read_split(name: str, data: Path, split: str) -> list[Labelled]:
    """The labelled examples of one split of a task that comes in plain files.

    Raises InputError where there are none, or for a row that is wrong, with file and line.
    """
    one = task(name)
    folder = next((data / inner for inner in one.folders if (data / inner).is_dir()), data)
    patterns = (*one.files.get(split, ()), *_JSONL.get(split, ()))
    reader = ExampleReader(one.columns, one.labels)
    paths = reading.first_found(folder, patterns)
    found = [example for path in paths for example in reader.read(path, header=_header(one, path))]
    if not found:
        raise InputError(f"no labelled {split} examples of {name} in {folder}", expected=" or ".join(patterns))
    return found


def _from_files(name: str, one: GlueTask, folder: Path, reader: ExampleReader) -> Splits:
    found: dict[str, list[Labelled]] = {}
    for split in dict.fromkeys((*one.files, *_JSONL)):
        paths = reading.first_found(folder, (*one.files.get(split, ()), *_JSONL.get(split, ())))
        examples = [example for path in paths for example in reader.read(path, header=_header(one, path))]
        if examples:
            found[split] = examples
    if "train" not in found:
        raise InputError(f"no training examples of {name} in {folder}", expected=_expected(one))
    train, dev = found.pop("train"), found.pop("dev", [])
    return Splits(train=train, dev=dev, others=found)


def _header(one: GlueTask, path: Path) -> Sequence[str]:
    return next((names for pattern, names in one.headers.items() if path.match(pattern)), ())


def _expected(one: GlueTask) -> str:
    patterns = [*one.files.get("train", ()), *_JSONL["train"]]
    return f"{' or '.join(patterns)} in a folder {' or '.join(one.folders)}"


def _with_held_out(name: str, splits: Splits) -> Splits:
    """Hold a tenth of the training rows out, drawn by their ids."""
    train, dev = held_out(splits.train, name)
    note = f"no dev set: {len(dev):,} of {len(splits.train):,} training rows held out to choose the epoch"
    return Splits(train=train, dev=dev, others=splits.others, notes=(*splits.notes, note))
