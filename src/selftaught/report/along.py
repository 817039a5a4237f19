"""Scores along pre-training: figures and a table beside what the GPT-1 paper shows (section 5, figure 2, right)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from selftaught.report.figures import Figure, Point, Series
from selftaught.report.records import StepScore
from selftaught.report.trends import TITLES, formatted, is_share, lower_is_better, metric_name

_MOST_MARKS = 12
"""Points of a line that are drawn with their errors; more are a line alone."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a task's score is measured by: 0 is guessing, 1 the best that others had reached by training for the task."""

    metric: str
    guessing: float
    best: float
    source: str
    read_off: float | None = None
    """Where the paper's figure ends, for 117M parameters after 10^6 updates, as read off by a third party."""


SCALES = {
    "sst2": Scale(
        metric="accuracy", guessing=0.5, best=0.932, source="sparse byte mLSTM (GPT-1, table 4)", read_off=0.68
    ),
    "cola": Scale(
        metric="matthews", guessing=0.0, best=0.35, source="BiLSTM with ELMo (GPT-1, table 4)", read_off=0.43
    ),
    "race": Scale(
        metric="accuracy", guessing=0.25, best=0.533, source="nine BiAttention MRUs (GPT-1, table 3)", read_off=0.25
    ),
    "winograd-mean": Scale(
        metric="accuracy", guessing=0.5, best=0.637, source="Trinh & Le (GPT-2, section 3.4)", read_off=0.55
    ),
}
"""The paper divides by the best single model before it and prints no constants: these are our reading, from its own tables."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One metric of one task along one run."""

    model: str
    task: str
    metric: str
    points: Sequence[StepScore]
    """Earliest first."""

    @property
    def title(self) -> str:
        """The task in words."""
        return TITLES.get(self.task, self.task)

    @property
    def scale(self) -> Scale | None:
        """What it is normalised by, if anything."""
        found = SCALES.get(self.task)
        return found if found is not None and found.metric == self.metric else None

    def normalised(self, value: float) -> float | None:
        """A value between guessing (0) and what others reached by training for the task (1)."""
        scale = self.scale
        return (value - scale.guessing) / (scale.best - scale.guessing) if scale is not None else None

    @property
    def normalised_error(self) -> float:
        """The standard error of the last score on the same scale; 0 where there is none."""
        scale = self.scale
        return self.points[-1].score.error / (scale.best - scale.guessing) if scale is not None else 0.0

    @property
    def best(self) -> StepScore:
        """The checkpoint that did best, the earliest of equals."""
        sign = -1 if lower_is_better(self.metric) else 1
        return max(self.points, key=lambda one: sign * one.score.value)


def lines(found: Sequence[StepScore]) -> list[Line]:
    """Scores by run, task and metric, in the order in which they were measured."""
    groups: dict[tuple[str, str, str], list[StepScore]] = defaultdict(list)
    for one in found:
        groups[one.score.model, one.score.task, one.score.metric].append(one)
    return [
        Line(model=model, task=task, metric=metric, points=sorted(points, key=lambda one: one.step))
        for (model, task, metric), points in groups.items()
    ]


def all_figures(found: Sequence[StepScore]) -> list[Figure]:
    """The normalised scores of each run together, then each task's first metric alone."""
    shown = [line for line in lines(found) if len(line.points) > 1]
    models = dict.fromkeys(line.model for line in shown)
    first: dict[tuple[str, str], Line] = {}
    for line in shown:
        first.setdefault((line.model, line.task), line)
    together = (_together(model, [one for one in shown if one.model == model and one.scale]) for model in models)
    return [*(figure for figure in together if figure is not None), *map(_alone, first.values())]


def _together(model: str, shown: Sequence[Line]) -> Figure | None:
    if not shown:
        return None
    return Figure(
        title=f"Untaught tasks along the training of {model}",
        x_label=_x_label(shown),
        y_label="0: guessing, 1: best trained for the task",
        log_x=True,
        level=0.0,
        level_label="",
        series=[
            Series(
                label=line.title.removesuffix(", zero-shot"),
                marks=False,
                points=[Point(x=_x(one), y=line.normalised(one.score.value) or 0.0) for one in line.points],
            )
            for line in shown
        ],
        note="standard errors at the end: " + ", ".join(f"{line.title} {line.normalised_error:.2f}" for line in shown),
    )


def _alone(line: Line) -> Figure:
    baseline = line.points[-1].score.baseline
    return Figure(
        title=f"{line.title} along the training of {line.model}",
        x_label=_x_label([line]),
        y_label=f"{metric_name(line.metric)}, {'lower' if lower_is_better(line.metric) else 'higher'} is better",
        log_x=True,
        percent_y=is_share(line.metric),
        level=baseline,
        level_label="no model",
        series=[Series(marks=len(line.points) <= _MOST_MARKS, points=[_point(one) for one in line.points])],
        note=f"{line.points[-1].score.n:,} items; the standard error at the end is "
        f"{formatted(line.points[-1].score.error, line.metric)}",
    )


def _point(one: StepScore) -> Point:
    score = one.score
    value = formatted(score.value, score.metric)
    return Point(x=_x(one), y=score.value, error=score.error, title=f"step {one.step:,}: {value}")


def _x(one: StepScore) -> float:
    return float(one.tokens or one.step)


def _x_label(shown: Sequence[Line]) -> str:
    return "tokens trained on" if all(one.tokens for line in shown for one in line.points) else "steps"
