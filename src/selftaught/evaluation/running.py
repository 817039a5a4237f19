"""`evaluate`: tasks, one after another, each kept when it is done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from selftaught import console, settings, storage
from selftaught.errors import InputError, UsageError
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.evaluation.registry import TASKS, Question, Task
from selftaught.inference.language_model import LanguageModel
from selftaught.report.records import RESULTS_FILE, Score


def evaluate(
    model: LanguageModel | str | Path,
    tasks: Sequence[str] | str = (),
    *,
    out: str | Path,
    corpus: str | Path | None = None,
    data: str | Path | None = None,
    settings: EvaluateSettings | None = None,
) -> list[Score]:
    """Run zero-shot tasks (all that `corpus` and `data` allow, if none are named) and return their scores.

    Each task leaves answers-TASK.jsonl and scores-TASK.json in `out` and is not run again there; results.json holds all
    scores. Raises UsageError for an unknown task or one whose text is not given, InputError where there is nothing to ask.
    """
    rules = settings or EvaluateSettings()
    wanted = [tasks] if isinstance(tasks, str) else list(tasks)
    sources = _sources(wanted, Path(corpus) if corpus else None, Path(data) if data else None)
    loaded = model if isinstance(model, LanguageModel) else LanguageModel.load(model)
    scores = []
    for name, source in sources.items():
        done = Path(out) / f"scores-{name}.json"
        if not done.is_file():
            storage.write_json(done, _run(name, Question(model=loaded, source=source, rules=rules), Path(out)))
        scores += storage.read_json(done, list[Score])
    storage.write_json(Path(out) / RESULTS_FILE, scores)
    return scores


def _run(name: str, question: Question, out: Path) -> list[Score]:
    started = time.monotonic()
    answers, measured = TASKS[name].ask(question)
    seconds = time.monotonic() - started
    storage.write_jsonl(out / f"answers-{name}.jsonl", answers)
    return [
        Score(
            model=question.model.name,
            parameters=question.model.parameters,
            task=name,
            protocol=one.protocol,
            metric=one.metric,
            value=one.mark.value,
            error=one.mark.error,
            n=one.mark.n,
            seconds=seconds,
        )
        for one in measured
    ]


def _sources(wanted: Sequence[str], corpus: Path | None, data: Path | None) -> dict[str, Path]:
    """The tasks to run and where each finds its text."""
    for name in wanted:
        if name not in TASKS:
            raise settings.unknown_name("task", name, TASKS)
        if (data if TASKS[name].file else corpus) is None:
            raise UsageError(f"{name} needs its text", hint="--data DIR" if TASKS[name].file else "--corpus DIR")
        if data is not None and TASKS[name].file and not _is_there(TASKS[name], data):
            raise InputError(f"{name} is not in {data}", expected=str(data / TASKS[name].file))
    chosen = {}
    for name, task in TASKS.items():
        source = data if task.file else corpus
        if source is not None and (name in wanted or (not wanted and _is_there(task, source))):
            chosen[name] = source
    if data is not None and not wanted and not any(TASKS[name].file for name in chosen):
        console.warn(
            f"no data set in {data}; looked for {', '.join(task.file for task in TASKS.values() if task.file)}"
        )
    if not chosen:
        raise UsageError(
            "nothing to evaluate on", hint="--corpus DIR for tasks made from held-out text, --data DIR for data sets"
        )
    return chosen


def _is_there(task: Task, source: Path) -> bool:
    return not task.file or any(source.glob(task.file))
