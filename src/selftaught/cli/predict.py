"""`selftaught predict`: what a fine-tuned model says of new texts, as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from selftaught import compute, console, settings
from selftaught.errors import UsageError
from selftaught.tasks.columns import STANDARD_INPUT, TEXT, Form, form_of, read_columns
from selftaught.tasks.labelled import Columns, ExampleReader, Labelled, Labels, Row, table_rows

if TYPE_CHECKING:
    from selftaught.finetuning.predicting import FinetunedModel, Prediction


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """Which columns are read, and how."""

    text: str = ""
    """Column of the text, the premise or the document; if not said, the task's own name for it, or `text`."""
    second: str = ""
    """Column of the second text or the question."""
    options: tuple[str, ...] = ()
    """Column with the list of answers, or the columns with one each."""
    label: str = ""
    """Column of the right label; if there is one, predictions are marked."""
    form: Form = "auto"
    """How the file is written; auto goes by its name."""
    precision: compute.PrecisionName = "float32"
    """Format of matrix products."""
    device: compute.DeviceName = "auto"
    """Where to compute."""


@dataclass(frozen=True, kw_only=True)
class Predict(settings.Verb):
    """Write what a fine-tuned model says of each row, one JSON document a line; where rows have labels, how often it is right."""

    model: Positional[Path]
    """Folder of a fine-tuned model, or of a run of `selftaught finetune` with one task and variant."""
    file: Positional[Path]
    """Lines of text, or .csv, .tsv, .jsonl with named columns; - is standard input."""
    settings: PredictSettings = field(default_factory=PredictSettings)


def run(argv: Sequence[str]) -> None:
    """Predict as `argv` says."""
    command = settings.resolve(Predict, argv, prog="selftaught predict").command
    console.configure(json=True)
    from selftaught.finetuning.predicting import FinetunedModel

    model = FinetunedModel.load(command.model, device=command.settings.device, precision=command.settings.precision)
    seen: list[Labelled] = []
    said: list[Prediction] = []
    for prediction in model.stream(_kept(_examples(command, model), seen)):
        console.row(prediction)
        said.append(replace(prediction, probabilities=()))
    _mark(model, seen, said)


def _kept(examples: Iterator[Labelled], seen: list[Labelled]) -> Iterator[Labelled]:
    """Examples as they come; of each is remembered only its label and answers."""
    for example in examples:
        seen.append(replace(example, first="", second=""))
        yield example


def _examples(command: Predict, model: FinetunedModel) -> Iterator[Labelled]:
    about, rules = model.description, command.settings
    form = form_of(command.file) if rules.form == "auto" else rules.form
    if form == "lines" and about.head.kind != "classification":
        raise UsageError(
            f"lines of text are no examples of {about.head.kind}", hint="Give .csv, .tsv or .jsonl with named columns."
        )
    columns = _columns(about.columns, rules)
    labels = Labels(names=about.head.labels, low=about.head.low, high=about.head.high if about.head.scored else 0.0)
    rows: Iterator[tuple[int, Row]]
    if form == "lines":
        rows = ((number, row) for number, row in read_columns(command.file, form) if row[TEXT].strip())
    elif form == "tsv" and command.file != STANDARD_INPUT:
        rows = table_rows(command.file)
    else:
        rows = iter(read_columns(command.file, form))
    yield from ExampleReader(columns, labels).examples(command.file, rows, labelled=False)


def _columns(own: Columns, rules: PredictSettings) -> Columns:
    return Columns(
        first=(rules.text,) if rules.text else (*own.first, TEXT),
        second=(rules.second,) if rules.second else own.second,
        options=rules.options or own.options,
        label=(rules.label,) if rules.label else own.label,
    )


def _mark(model: FinetunedModel, seen: Sequence[Labelled], said: Sequence[Prediction]) -> None:
    """Say how often the predictions are right, where labels are known."""
    pairs = [(one, other) for one, other in zip(seen, said, strict=True) if one.label is not None]
    if not pairs:
        console.line(f"{len(said):,} predictions")
        return
    from selftaught.tasks.agreement import MEASURES

    head = model.description.head
    names = (
        ("pearson", "spearman") if head.scored else ("accuracy",) if head.kind == "choice" else ("accuracy", "macro_f1")
    )
    chosen = [_number(model, example, prediction) for example, prediction in pairs]
    wanted = [example.label or 0 for example, _ in pairs]
    for name in names:
        mark = MEASURES[name](chosen, wanted)
        console.line(f"{name} {mark.value:.4f} ± {mark.error:.4f} on {mark.n:,} labelled rows")


def _number(model: FinetunedModel, example: Labelled, prediction: Prediction) -> float:
    if isinstance(prediction.label, float):
        return prediction.label
    names = example.options if model.description.head.kind == "choice" else model.labels
    return names.index(prediction.label)
