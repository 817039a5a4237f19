"""The same tasks for every checkpoint that a training run kept: what is learned when (GPT-1 paper, figure 2, right)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selftaught import console, storage
from selftaught.checkpoint import loading
from selftaught.compute import ALONE, Group
from selftaught.errors import DamagedFileError, InputError
from selftaught.evaluation import running
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.report.records import ALONG_FILE, RESULTS_FILE, LearningPoint, StepScore


def evaluate_along(
    run: str | Path,
    tasks: Sequence[str] | str = (),
    *,
    out: str | Path,
    corpus: str | Path | None = None,
    data: str | Path | None = None,
    settings: EvaluateSettings | None = None,
    group: Group = ALONE,
) -> list[StepScore]:
    """Run tasks on every checkpoint in a training run's folder, oldest first; return their scores.

    Each checkpoint has a folder of its own in `out`, as `evaluate` writes it, and is not evaluated again; along.json holds all
    scores, results.json those of the newest. A damaged checkpoint is left out with a warning. Raises InputError where there is
    no checkpoint, and what `evaluate` raises.
    """
    found: list[StepScore] = []
    per_step = _tokens_per_step(Path(run))
    problem: DamagedFileError | None = None
    for folder in steps(run):
        step = int(folder.name.removeprefix("step-"))
        try:
            scores = running.evaluate(
                folder, tasks, out=Path(out) / folder.name, corpus=corpus, data=data, settings=settings, group=group
            )
        except DamagedFileError as damage:
            console.warn(damage.line())
            problem = damage
            continue
        found += [StepScore(step=step, tokens=round(step * per_step), score=score) for score in scores]
        console.line(f"step {step:,}: {', '.join(f'{one.task} {one.metric} {one.value:.4g}' for one in scores)}")
    if not found and problem is not None:
        raise problem
    last = max(one.step for one in found)
    if group.rank == 0:
        storage.write_json(Path(out) / ALONG_FILE, found)
        storage.write_json(Path(out) / RESULTS_FILE, [one.score for one in found if one.step == last])
    return found


def steps(run: str | Path) -> list[Path]:
    """The checkpoints of a training run, oldest first. Raises InputError where there are none."""
    folders = loading.checkpoints(Path(run))
    if not folders:
        raise InputError(
            f"no checkpoints in {run}",
            expected="a training run's folder, with step-...",
            hint="Keep more of them: selftaught train ... --checkpoints-kept 100 --checkpoint-seconds 30",
        )
    return folders


def _tokens_per_step(run: Path) -> float:
    """Tokens that a step was trained on, by the run's log; 0 where that is not there."""
    log = run / storage.LOG_FILE
    rows = storage.read_lines(log, LearningPoint) if log.is_file() else []
    return rows[-1].tokens / rows[-1].step if rows else 0.0
