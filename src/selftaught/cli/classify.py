"""`selftaught classify`: labels for texts from a model that was never taught any."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.cli.making import make
from selftaught.errors import UsageError
from selftaught.evaluation.templates import ClassifySettings, parse_labels
from selftaught.report.records import RESULTS_FILE, Score
from selftaught.tasks import columns
from selftaught.tasks.rows import malformed

if TYPE_CHECKING:
    from selftaught.evaluation.classification import Classified
    from selftaught.evaluation.labelling import EntailmentModel
    from selftaught.inference.language_model import LanguageModel

CLASSIFIED_FILE, UNFINISHED_FILE = "classified.jsonl", "classified.unfinished.jsonl"
BLOCK = 256
"""Texts that are scored together, and kept together."""


@dataclass(frozen=True, kw_only=True)
class ClassifyPlan(ClassifySettings):
    """What is classified, and how."""

    labels: str = ""
    """The labels, `a,b,c`, or what stands in the label column and the words for it, `0=bad,1=good`."""
    text_column: str = columns.TEXT
    """Column of the texts; plain lines have one, `text`."""
    label_column: str = ""
    """Column of the right labels; with it accuracy and macro-F1 are told."""
    format: columns.Form = "auto"
    """How rows are written; auto goes by the file's name: .csv, .tsv, .jsonl, else a text a line."""


@dataclass(frozen=True, kw_only=True)
class Classify(settings.Verb):
    """Choose a label for each text by what a language model predicts, without training. Writes a JSON document a line."""

    model: Positional[Path]
    """A model folder, a training run or a Hugging Face GPT-2 folder; for entailment one of `selftaught finetune`."""
    file: Positional[Path]
    """Texts: a line each, or a CSV, TSV or JSON-lines file; - is standard input."""
    out: Path | None = None
    """Folder for the rows and scores; without it rows are printed."""
    settings: ClassifyPlan = field(default_factory=ClassifyPlan)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the result."""

    line: int
    """Of the input."""
    text: str
    label: str | None
    """None for an empty text."""
    expected: str | None
    """What the label column says; None without one, or where it is empty."""
    scores: dict[str, float]
    probabilities: dict[str, float]
    cut: bool
    """Whether only a part of the text was read."""


def run(argv: Sequence[str]) -> None:
    """Classify as `argv` says."""
    resolved = settings.resolve(Classify, argv, prog="selftaught classify")
    command = resolved.command
    if not command.settings.labels:
        raise UsageError("there is nothing to choose from", expected="labels", hint="Add --labels a,b,c")
    if command.out is None:
        _print(command)
        return
    if command.file == columns.STANDARD_INPUT:
        raise UsageError(
            "texts from a pipe cannot be kept with a run", hint="Write them to a file, or leave out --out."
        )

    def work(opened: storage.Run) -> Sequence[str]:
        kept = _Kept(opened.path(UNFINISHED_FILE))
        scores = _classified(command, kept.add, kept.rows, seconds=opened.record.seconds)
        kept.finish(opened.path(CLASSIFIED_FILE))
        storage.write_json(opened.path(RESULTS_FILE), scores)
        return CLASSIFIED_FILE, RESULTS_FILE

    make(resolved, "classify", {"model": command.model, "file": command.file}, work)
    if command.json:
        console.result(storage.read_lines(command.out / CLASSIFIED_FILE, dict))
    _show(storage.read_json(command.out / RESULTS_FILE, list[Score]))


class _Kept:
    """Rows so far, kept as they come, so that another start asks only for those that are missing."""

    def __init__(self, path: Path) -> None:
        self._path, self._waiting = path, bytearray()
        lines = storage.whole_lines(path) if path.is_file() else []
        self.rows = [storage.decode_json(line, Row, path) for line in lines]
        self._count = len(self.rows)

    def add(self, row: Row) -> None:
        """Keep a row, on the disk when its block is whole: blocks are scored together, and the next start begins with one."""
        self._waiting += msgspec.json.encode(row) + b"\n"
        self._count += 1
        if self._count % BLOCK == 0:
            self._write()

    def _write(self) -> None:
        storage.append_line(self._path, bytes(self._waiting[:-1]))
        self._waiting.clear()

    def finish(self, path: Path) -> None:
        """Give the rows their name."""
        if self._waiting:
            self._write()
        storage.write_bytes(path, storage.read_bytes(self._path) if self._count else b"")
        self._path.unlink(missing_ok=True)


def _print(command: Classify) -> None:
    """Rows as they come; what is for people goes to standard error."""
    console.configure(json=True)
    rows: list[Row] = []
    _show(_classified(command, rows.append if command.json else console.row))
    if command.json:
        console.result([settings.as_document(row) for row in rows])


def _classified(
    command: Classify, add: Callable[[Row], Any], kept: Sequence[Row] = (), *, seconds: float = 0.0
) -> list[Score]:
    """Classify all texts but those that are `kept`, hand on a row for each, and return the scores if there are right labels.

    `seconds` were spent on those before.
    """
    from selftaught.evaluation.classification import Classifier, mark

    plan, started = command.settings, time.monotonic()
    asked = dataclasses.replace(plan, template=plan.template.replace("\\n", "\n"))
    model, name, parameters = _loaded(command)
    classifier = Classifier(model, parse_labels(plan.labels), settings=asked)
    reader = _Reader(command.file, plan, classifier.names)
    count: Counter[str] = Counter()
    pairs: list[tuple[str, str]] = []

    def take(row: Row) -> None:
        count.update(texts=1, empty=row.label is None, cut=row.cut)
        if row.expected is not None and row.label is not None:
            pairs.append((row.expected, row.label))

    for row in kept:
        take(row)
    with console.progress("classifying", unit="texts", done=len(kept)) as bar:
        for one in classifier.classify(reader.texts(skipped=len(kept)), rows=BLOCK, advance=bar.advance):
            row = _row(one, *reader.waiting.popleft())
            add(row)
            take(row)
    _tell(count, pairs)
    seconds += time.monotonic() - started
    return [
        one.score(model=name, parameters=parameters, task=command.file.stem, seconds=seconds)
        for one in mark(classifier.names, pairs, classifier.words)
    ]


def _loaded(command: Classify) -> tuple[LanguageModel | EntailmentModel, str, int]:
    """The model, its name and its number of parameters."""
    plan = command.settings
    if plan.method == "entailment":
        from selftaught.finetuning.predicting import FinetunedModel

        tuned = FinetunedModel.load(command.model, device=plan.device, precision=plan.precision)
        weights = sum(one.numel() for one in tuned.model.parameters())
        return tuned, f"{tuned.description.name}, fine-tuned on {tuned.description.task}", weights
    from selftaught.inference.language_model import LanguageModel

    model = LanguageModel.load(command.model, device=plan.device, precision=plan.precision)
    return model, model.name, model.parameters


class _Reader:
    """Gives the texts of a file and remembers, until a row is written, what else its line holds."""

    def __init__(self, path: Path, plan: ClassifyPlan, names: Sequence[str]) -> None:
        self._path, self._plan, self._names = path, plan, names
        self.waiting: deque[tuple[int, str | None]] = deque()
        """Line and right label of the texts that were given."""

    def texts(self, *, skipped: int = 0) -> Iterator[str]:
        """Texts in order but for the first; empty where a row has none.

        Raises InputError for a label that is none of those asked for.
        """
        shown = columns.named(self._path)
        for number, row in islice(columns.read_columns(self._path, self._plan.format), skipped, None):
            text = columns.column(row, self._plan.text_column, shown, number)
            expected = columns.column(row, self._plan.label_column, shown, number) if self._plan.label_column else None
            right = (expected or "").strip() or None
            if right is not None and right not in self._names:
                raise malformed(shown, number, expected=f"one of the labels {', '.join(self._names)}", got=right)
            self.waiting.append((number, right))
            yield text or ""


def _row(one: Classified, line: int, expected: str | None) -> Row:
    return Row(
        line=line,
        text=one.text,
        label=one.label,
        expected=expected,
        scores=one.scores,
        probabilities=one.probabilities,
        cut=one.cut,
    )


def _tell(count: Mapping[str, int], pairs: Sequence[tuple[str, str]]) -> None:
    """What was done to the texts that is easily overlooked."""
    words = [f"{count['texts']:,} texts"]
    words += [f"{count['empty']:,} empty, which have no label and do not count"] * bool(count["empty"])
    words += [f"{count['cut']:,} cut, being longer than the context"] * bool(count["cut"])
    console.line("; ".join(words))
    if pairs and len(rights := {right for right, _ in pairs}) == 1:
        console.warn(
            f"all labelled texts are of the class {rights.pop()}: the accuracy says only how often it is chosen"
        )


def _show(scores: Sequence[Score]) -> None:
    if not scores:
        return
    console.line(scores[0].protocol)
    rows = [
        (one.metric, f"{one.value:.4g}", f"±{one.error:.2g}", one.n, f"{one.baseline or 0:.4g}", f"{one.seconds:.1f}")
        for one in scores
    ]
    console.table(["metric", "value", "", "n", scores[0].baseline_words, "seconds"], rows)
