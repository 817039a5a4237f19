"""The tables and figures of the page, from what was measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from selftaught.report import published
from selftaught.report.collecting import Material
from selftaught.report.figures import Figure, Point, Series, short
from selftaught.report.records import LearningPoint, Overlap, Piece, Sample, Score

TITLES = {
    "heldout": "Held-out text",
    "train": "Training text",
    "lastword": "Last words of held-out passages",
    "cloze": "Cloze, ten candidates, held-out text",
    "lambada": "LAMBADA",
    "wikitext2": "WikiText-2",
    "winograd": "Winograd schemas",
    "pdp60": "PDP-60",
    "cbt": "Children's Book Test",
}
METRICS = {
    "bits_per_byte": "bits per byte",
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "accuracy_full": "accuracy, whole sentence",
}
_LOWER_IS_BETTER = frozenset(("bits_per_byte", "perplexity"))
_CHANCE = {"cloze": 0.1, "winograd": 0.5, "cbt": 0.1}
_MAIN = (("heldout", "bits_per_byte"), ("lastword", "accuracy"), ("lastword", "perplexity"), ("cloze", "accuracy"))
"""Shown as figures even when others are not; data sets follow."""


def metric_name(metric: str) -> str:
    """A metric in words."""
    return METRICS.get(metric, metric.replace("accuracy_", "accuracy, "))


def is_share(metric: str) -> bool:
    """Whether a metric is shown in per cent."""
    return metric.startswith("accuracy")


def formatted(value: float, metric: str) -> str:
    """A value as tables show it."""
    if is_share(metric):
        return f"{100 * value:.1f} %"
    return f"{value:.3f}" if metric == "bits_per_byte" else f"{value:,.1f}" if value < 1e4 else f"{value:,.0f}"


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One metric of one task over the sizes."""

    task: str
    metric: str
    title: str
    scores: Sequence[Score]
    """Smallest model first."""

    @property
    def better_steps(self) -> int:
        """How many steps from one size to the next are improvements."""
        sign = -1 if self.metric in _LOWER_IS_BETTER else 1
        return sum(
            sign * (after.value - before.value) > 0 for before, after in zip(self.scores, self.scores[1:], strict=False)
        )

    @property
    def verdict(self) -> str:
        """Whether the task improves with size, in words."""
        if len(self.scores) < 2:
            return ""
        if self.better_steps == len(self.scores) - 1:
            return "better at every step"
        sign = -1 if self.metric in _LOWER_IS_BETTER else 1
        gain = sign * (self.scores[-1].value - self.scores[0].value)
        error = (self.scores[0].error ** 2 + self.scores[-1].error ** 2) ** 0.5
        if gain > 2 * error:
            return "better, not at every step"
        return "no clear change" if gain >= -2 * error else "worse"


def trends(scores: Sequence[Score]) -> list[Trend]:
    """Scores by task and metric, in the order in which tasks were run."""
    groups: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in scores:
        groups[score.task, score.metric].append(score)
    order = {task: number for number, task in enumerate(TITLES)}
    return [
        Trend(
            task=task, metric=metric, title=TITLES.get(task, task), scores=sorted(group, key=lambda one: one.parameters)
        )
        for (task, metric), group in sorted(groups.items(), key=lambda item: order.get(item[0][0], len(order)))
    ]


def size_figures(material: Material) -> list[Figure]:
    """Figure 1 of the paper: each task's score against the number of parameters."""
    return [
        Figure(
            title=trend.title,
            x_label="parameters",
            y_label=metric_name(trend.metric),
            log_x=True,
            percent=is_share(trend.metric),
            chance=_CHANCE.get(trend.task) if is_share(trend.metric) else None,
            series=[Series(label="", points=[_score_point(score) for score in trend.scores])],
            note=f"{trend.scores[0].n:,} items · {trend.verdict}",
        )
        for trend in trends(material.scores)
        if (trend.task, trend.metric) in _MAIN
        or (trend.task not in ("train", "heldout") and trend.metric != "accuracy_full")
    ]


def _score_point(score: Score) -> Point:
    value = formatted(score.value, score.metric)
    return Point(x=score.parameters, y=score.value, error=score.error, title=f"{score.model}: {value}")


def train_heldout_figure(material: Material) -> Figure | None:
    """Figure 4 of the paper: training and held-out text against size."""
    series = [
        Series(label=label, points=[_score_point(score) for score in trend.scores])
        for task, label in (("heldout", "held out"), ("train", "train"))
        for trend in trends(material.scores)
        if (trend.task, trend.metric) == (task, "bits_per_byte")
    ]
    if len(series) < 2:
        return None
    return Figure(
        title="Training and held-out text", x_label="parameters", y_label="bits per byte", log_x=True, series=series
    )


def learning_figure(material: Material) -> Figure | None:
    """Held-out loss while training."""
    series = []
    for name, points in sorted(material.curves.items(), key=lambda item: -_last(item[1])):
        measured = [point for point in points if point.heldout_bits_per_byte is not None]
        series.append(
            Series(
                label=name,
                marks=False,
                points=[Point(x=point.tokens, y=point.heldout_bits_per_byte or 0.0) for point in measured],
            )
        )
    if not any(one.points for one in series):
        return None
    return Figure(
        title="Learning curves",
        x_label="tokens trained on",
        y_label="held-out bits per byte",
        log_x=True,
        series=series,
    )


def _last(points: Sequence[LearningPoint]) -> float:
    measured = [point.heldout_bits_per_byte for point in points if point.heldout_bits_per_byte is not None]
    return measured[-1] if measured else 0.0


def overlap_figure(overlaps: Sequence[Overlap]) -> Figure | None:
    """Figure 5 of the paper: the share of documents whose overlap with the training text is at most x."""
    shown = [overlap for overlap in overlaps if overlap.against == "train" and overlap.by_document]
    if not shown:
        return None
    chosen = list(dict.fromkeys([0, 1, len(shown) - 1])) if len(shown) > 1 else [0]
    return Figure(
        title="8-grams found in the training text",
        x_label="share of a text's 8-grams",
        y_label="share of texts",
        percent=True,
        y_from_zero=True,
        series=[
            Series(label=shown[number].name.removeprefix("samples "), marks=False, points=_cumulated(shown[number]))
            for number in chosen
        ],
    )


def _cumulated(overlap: Overlap) -> list[Point]:
    values = sorted(overlap.by_document)
    points = [Point(x=0.0, y=0.0)]
    for number, value in enumerate(values, start=1):
        points += [Point(x=value, y=(number - 1) / len(values)), Point(x=value, y=number / len(values))]
    return [*points, Point(x=1.0, y=1.0)]


@dataclass(frozen=True, kw_only=True)
class Shaded:
    """A piece of a sample with its shade, 0 (certain) to 9 (less than 1 in 500)."""

    text: str
    shade: int
    title: str


_STEPS = (0.9, 0.7, 0.5, 0.3, 0.15, 0.07, 0.03, 0.01, 0.002)


def shaded(pieces: Sequence[Piece]) -> list[Shaded]:
    """Pieces with shades by probability."""
    return [
        Shaded(
            text=piece.text,
            shade=sum(piece.probability < step for step in _STEPS),
            title=f"{piece.probability:.1%}" if piece.probability >= 0.001 else f"{piece.probability:.1e}",
        )
        for piece in pieces
    ]


def sample_pairs(samples: Sequence[Sample]) -> list[tuple[str, Sample, Sample]]:
    """Prompt, the smallest model's sample and the largest one's, for prompts that both continued."""
    if not samples:
        return []
    small, large = samples[0].model, samples[-1].model
    first: dict[str, Sample] = {}
    last: dict[str, Sample] = {}
    for sample in samples:
        if sample.model == small:
            first.setdefault(sample.prompt, sample)
        if sample.model == large:
            last.setdefault(sample.prompt, sample)
    return [(prompt, first[prompt], last[prompt]) for prompt in first if prompt in last]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Ours and the paper's for one task and metric."""

    title: str
    ours: list[str]
    theirs: list[str]
    protocol: str


def comparisons(material: Material) -> list[Comparison]:
    """Tasks that the paper prints a number for."""
    rows = []
    for trend in trends(material.scores):
        known = {one.size: one for one in published.printed(trend.task, trend.metric)}
        if known:
            rows.append(
                Comparison(
                    title=f"{trend.title}, {metric_name(trend.metric)}",
                    ours=[formatted(score.value, trend.metric) for score in trend.scores],
                    theirs=[
                        formatted(known[size].value, trend.metric) if size in known else "-" for size in published.SIZES
                    ],
                    protocol=f"{trend.scores[0].protocol}; {trend.scores[0].n:,} items",
                )
            )
    return rows


def sizes(material: Material) -> list[str]:
    """The models that were evaluated, smallest first, with their parameters."""
    found = {score.model: score.parameters for score in material.scores}
    return [f"{name} ({short(count)})" for name, count in sorted(found.items(), key=lambda item: item[1])]
