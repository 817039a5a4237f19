"""`selftaught evaluate`: zero-shot tasks, beside the papers' numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import compute, console, settings, storage
from selftaught.errors import SelftaughtError, UsageError
from selftaught.evaluation.protocols import MODES, EvaluateSettings
from selftaught.report.overlap_records import SPLIT_FILE, OverlapSplit
from selftaught.report.records import ALONG_FILE, RESULTS_FILE, Score


@dataclass(frozen=True, kw_only=True)
class Evaluate(settings.Verb):
    """Run zero-shot tasks on a model. Without TASK all that --corpus and --data allow; `selftaught evaluate list` lists them."""

    model: Positional[Path]
    """A model folder, a training run, a folder with several of them (a demo's: all its sizes), a Hugging Face GPT-2 folder, or
    hf://OWNER/NAME."""
    tasks: Positional[tuple[str, ...]] = ()
    """Names of tasks."""
    corpus: Path | None = None
    """Corpus for the tasks made from held-out text."""
    data: Path | None = None
    """Folder of data sets: lambada/, wikitext2/, winograd/, cbt/... (docs/evaluate.md)."""
    hub: bool = False
    """Fetch the data sets of the named tasks from the Hugging Face hub into --data, where they are not there yet."""
    mode: str = "paper"
    """Settings to begin with: `paper`, `harness` (as lm-evaluation-harness computes), `raw` (text as it is, by tokens)."""
    out: Path
    """Folder for scores and answers."""
    overlap: Path | None = None
    """Folder of `selftaught overlap CORPUS [--data DATA]`: each score also on the examples without overlap with the training
    text, and on those with any (GPT-2 paper, section 4)."""
    along: bool = False
    """Evaluate every checkpoint that a training run kept, not only the newest (GPT-1 paper, figure 2, right)."""
    settings: EvaluateSettings = field(default_factory=EvaluateSettings)


def run(argv: Sequence[str]) -> None:
    """Evaluate as `argv` says; under torchrun together with the processes beside this one."""
    if list(argv) == ["list"]:
        _list()
        return
    with compute.joined():
        resolved = compute.from_first(lambda: _resolved(argv))  # what is wrong is said once
        try:
            _evaluate(resolved)
        except SelftaughtError as problem:
            # All processes come upon what is wrong with a data set.
            problem.told = problem.told or compute.rank() > 0
            raise
    if compute.rank() == 0:
        _report(resolved.command)


def _resolved(argv: Sequence[str]) -> settings.Resolved[Evaluate]:
    resolved = settings.resolve(Evaluate, argv, prog="selftaught evaluate", recipes=MODES, chosen_by="mode")
    command = resolved.command
    if command.overlap is not None and command.along:
        raise UsageError("--overlap is of one model", expected="--overlap or --along")
    if command.hub:
        _fetch(command)
    return resolved


def _evaluate(resolved: settings.Resolved[Evaluate]) -> None:
    from selftaught.checkpoint import hub
    from selftaught.evaluation import along, running, sizes

    command, opened = resolved.command, list[storage.Run]()
    several = sizes.models(command.model)
    if several and command.along:
        raise UsageError("--along is of one model", got=f"{len(several)} in {command.model}")
    with ExitStack() as folder:

        def is_finished() -> bool:
            parts = along.steps(command.model) if command.along else several
            folders = [command.out / one.name for one in parts] or [command.out]
            more = any(
                running.unfinished(command.tasks, out=one, corpus=command.corpus, data=command.data) for one in folders
            )
            model = hub.fetched(str(command.model)) or command.model
            given = {"model": model, "corpus": command.corpus, "data": command.data}
            inputs = {name: path for name, path in given.items() if path is not None}
            run = storage.run(
                command.out,
                verb="evaluate",
                plan=command.settings,
                sources=resolved.sources,
                inputs=inputs,
                more=more,
            )
            opened.append(folder.enter_context(run))
            return opened[0].finished

        if compute.from_first(is_finished):
            console.line(f"{command.out} is finished")
            return
        one = along.evaluate_along if command.along else running.evaluate
        ask: Callable[..., object] = sizes.evaluate_sizes if several else one
        ask(
            command.model,
            command.tasks,
            out=command.out,
            corpus=command.corpus,
            data=command.data,
            settings=command.settings,
            group=compute.group(),
        )
        for first in opened:
            first.declare(RESULTS_FILE)
            if command.along:
                first.declare(ALONG_FILE)


def _report(command: Evaluate) -> None:
    scores = storage.read_json(command.out / RESULTS_FILE, list[Score])
    if command.overlap is None:
        _show(scores, json=command.json)
        return
    splits = _splits(command, command.overlap, scores)
    if command.json:
        documents = {
            "scores": list(map(settings.as_document, scores)),
            "by_overlap": list(map(settings.as_document, splits)),
        }
        console.result(documents)
        return
    _show(scores, json=False)
    _show_splits(splits)


def _splits(command: Evaluate, overlap: Path, scores: list[Score]) -> list[OverlapSplit]:
    """Each model's scores in two halves; the folder keeps them."""
    from selftaught.evaluation import contamination, heldout_texts
    from selftaught.overlap.measuring import look_up_examples

    found: list[OverlapSplit] = []
    for model in dict.fromkeys(score.model for score in scores):
        folder = command.out / model if (command.out / model / RESULTS_FILE).is_file() else command.out
        for task in heldout_texts.TASKS:
            if command.corpus and (names := contamination.questions_asked(folder, task)):
                examples = list(heldout_texts.asked(task, names, command.corpus))
                look_up_examples(task, examples, overlap, out=folder)
        found += contamination.by_overlap(folder, overlap, [score for score in scores if score.model == model])
    storage.write_json(command.out / SPLIT_FILE, found)
    return found


def _show_splits(splits: list[OverlapSplit]) -> None:
    def said(value: float | None, error: float | None, n: int) -> str:
        return f"{value:.4g} ±{error:.2g} ({n:,})" if value is not None and error is not None else "none"

    several = len({one.model for one in splits}) > 1
    rows = [
        (
            *([one.model] if several else []),
            one.task,
            one.metric,
            f"{one.value:.4g}",
            said(one.without, one.without_error, one.without_n),
            said(one.within, one.within_error, one.within_n),
        )
        for one in splits
    ]
    columns = ["task", "metric", "all", "without overlap (examples)", "with overlap (examples)"]
    console.table(["model"] * several + columns, rows)


def _fetch(command: Evaluate) -> None:
    from selftaught.evaluation import hub

    if not command.tasks or command.data is None:
        raise UsageError("--hub fetches the data sets of named tasks into a folder", hint="TASK... --data DIR --hub")
    hub.fetch(command.tasks, command.data)


def _changed(difference: float, n: int) -> str:
    return f"{difference:+.2g} ({n:,})"


def _list() -> None:
    from selftaught.evaluation.registry import TASKS

    console.table(
        ["task", "", "made from", ""],
        [
            (name, task.summary, " or ".join(task.files) or "the corpus", "if named" if task.long else "")
            for name, task in TASKS.items()
        ],
    )


def _show(scores: list[Score], *, json: bool) -> None:
    from selftaught.report import footnotes, published

    if json:
        console.result([settings.as_document(score) for score in scores])
        return
    columns = ["task", "metric", "value", "error", "n", "baseline", "paper", "seconds"]
    rows = [
        [
            score.task,
            score.metric,
            f"{score.value:.4g}",
            f"±{score.error:.2g}",
            score.n,
            "" if score.baseline is None else f"{score.baseline:.4g}",
            published.nearest(score.task, score.metric, score.parameters),
            f"{score.seconds:.1f}",
        ]
        for score in scores
    ]
    if len({score.model for score in scores}) > 1:
        columns.insert(0, "model")
        rows = [[score.model, *row] for row, score in zip(rows, scores, strict=True)]
    if any(score.float32_difference is not None for score in scores):
        columns.append("less float32 (on)")
        for row, score in zip(rows, scores, strict=True):
            row.append("" if score.float32_difference is None else _changed(score.float32_difference, score.float32_n))
    console.table(columns, rows)
    for line in footnotes.footnotes(scores):
        console.line(line)
