"""`evaluate`: tasks, one after another, each kept when it is done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from selftaught import console, settings, storage
from selftaught.compute import ALONE, Group
from selftaught.errors import InputError, MismatchError, UsageError
from selftaught.evaluation import precision
from selftaught.evaluation.experiments import Question, Task
from selftaught.evaluation.keeping import Keeping, Measure
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.evaluation.registry import TASKS
from selftaught.inference.language_model import LanguageModel
from selftaught.report.records import RESULTS_FILE, Score

PROBE = "The same weights read this sentence the same way every time."
"""Its log-probability tells whether scores that were kept are of the same model."""
_LOOKED_FOR = ", ".join(dict.fromkeys(task.files[0] for task in TASKS.values() if task.files and not task.long))


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What scores-TASK.json holds: the scores of a task and what they were measured on."""

    measure: Measure
    scores: list[Score]


def evaluate(
    model: LanguageModel | str | Path,
    tasks: Sequence[str] | str = (),
    *,
    out: str | Path,
    corpus: str | Path | None = None,
    data: str | Path | None = None,
    settings: EvaluateSettings | None = None,
    group: Group = ALONE,
) -> list[Score]:
    """Run zero-shot tasks (all that `corpus` and `data` allow, but for the long ones, if none are named); return their scores.

    The processes of a `group` (compute.group() under torchrun) all call it alike and share the questions; the first writes.

    Each task leaves answers-TASK.jsonl and scores-TASK.json in `out` and is not run again there; results.json holds all
    scores in `out`. Raises UsageError for an unknown task or one whose text is not given, InputError where there is nothing to
    ask, MismatchError where `out` has scores of another model or under other settings.
    """
    rules = settings or EvaluateSettings()
    sources = _sources(tasks, corpus, data)
    if data and not tasks:
        _tell_what_is_left(sources, Path(data))
    if isinstance(model, LanguageModel):
        loaded = model
    else:
        loaded = LanguageModel.load(model, device=rules.device, precision=rules.precision)
    probe = loaded.log_prob("", PROBE).total
    scores: list[Score] = []
    for name, source in sources.items():
        done = _scores_file(Path(out), name)
        measure = Measure(source=str(source), settings=_document(rules), probe_nats=probe)
        if not group.first(done.is_file):
            keeping = Keeping(folder=Path(out), task=name, measure=measure, group=group)
            found = _run(name, Question(model=loaded, source=source, rules=rules, keeping=keeping))
            if group.rank == 0:
                storage.write_json(done, found)
            keeping.finish()
        kept = group.first(partial(storage.read_json, done, Kept))
        changed = kept.measure.difference(measure)
        if changed:
            raise MismatchError(f"{done} was measured otherwise", got=", ".join(changed), hint="Choose another --out.")
        scores += kept.scores
    group.first(partial(_write_results, Path(out)))
    return scores


def _write_results(out: Path) -> None:
    everything = [_scores_file(out, name) for name in TASKS if _scores_file(out, name).is_file()]
    results = [score for done in everything for score in storage.read_json(done, Kept).scores]
    storage.write_json(out / RESULTS_FILE, results)


def unfinished(
    tasks: Sequence[str] | str, *, out: str | Path, corpus: str | Path | None = None, data: str | Path | None = None
) -> list[str]:
    """The tasks that `evaluate` would have to run in `out`; raises what it would."""
    return [name for name in _sources(tasks, corpus, data) if not _scores_file(Path(out), name).is_file()]


def _scores_file(out: Path, task: str) -> Path:
    return out / f"scores-{task}.json"


def _document(rules: EvaluateSettings) -> dict[str, Any]:
    """Settings as they come back from JSON."""
    return dict(settings.as_document(rules))


def _run(name: str, question: Question) -> Kept:
    started = time.monotonic() - question.keeping.spent()
    answers, measured = TASKS[name].ask(question)
    seconds = time.monotonic() - started
    changed = precision.differences(TASKS[name], question, measured)
    question.keeping.table("answers", answers)
    products = "" if question.model.precision == "float32" else f"; products in {question.model.precision}"
    scores = [
        replace(
            one.score(model=question.model.name, parameters=question.model.parameters, task=name, seconds=seconds),
            protocol=one.protocol + products,
            float32_difference=changed[one.metric].value if one.metric in changed else None,
            float32_n=changed[one.metric].n if one.metric in changed else 0,
        )
        for one in measured
    ]
    return Kept(measure=question.keeping.measure, scores=scores)


def _sources(tasks: Sequence[str] | str, corpus: str | Path | None, data: str | Path | None) -> dict[str, Path]:
    """The tasks to run and where each finds its text."""
    wanted = [tasks] if isinstance(tasks, str) else list(tasks)
    folder = Path(data) if data else None
    for name in wanted:
        _require_text(name, Path(corpus) if corpus else None, folder)
    chosen = {}
    for name, task in TASKS.items():
        source = folder if task.files else Path(corpus) if corpus else None
        if source is not None and (name in wanted or (not wanted and not task.long and _is_there(task, source))):
            chosen[name] = source
    if not chosen and folder is None:
        raise UsageError(
            "nothing to evaluate on",
            hint="Add --corpus DIR for tasks made from held-out text, --data DIR for data sets",
        )
    if not chosen:
        raise InputError(
            f"nothing to run by itself in {folder}", expected=f"one of {_LOOKED_FOR}, or the name of a task"
        )
    return chosen


def _require_text(name: str, corpus: Path | None, data: Path | None) -> None:
    if name not in TASKS:
        raise settings.unknown_name("task", name, TASKS)
    files = TASKS[name].files
    if (data if files else corpus) is None:
        raise UsageError(f"{name} needs its text", hint="Add --data DIR" if files else "Add --corpus DIR")
    if data is not None and files and not _is_there(TASKS[name], data):
        raise InputError(f"{name} is not in {data}", expected=" or ".join(str(data / file) for file in files))


def _tell_what_is_left(chosen: dict[str, Path], data: Path) -> None:
    """Warn of a folder without data sets; name the long tasks that are there."""
    if not any(TASKS[name].files for name in chosen):
        console.warn(f"no data set in {data}; looked for {_LOOKED_FOR}")
    left = [name for name, task in TASKS.items() if task.long and _is_there(task, data)]
    if left:
        console.line(f"also in {data}, and run if named: {', '.join(left)}")


def _is_there(task: Task, source: Path) -> bool:
    return not task.files or bool(task.found(source))
