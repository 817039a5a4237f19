"""The page's tables: every number, ours beside the paper's, samples side by side, the funnel."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from selftaught import storage
from selftaught.corpus.documents import FunnelRow
from selftaught.report import published
from selftaught.report.records import Piece, Sample, Score
from selftaught.report.trends import Trend, formatted, metric_name

_MOST_PROMPTS = 6


@dataclass(frozen=True, kw_only=True)
class Model:
    """A column of a table of numbers."""

    name: str
    parameters: int


@dataclass(frozen=True, kw_only=True)
class NumbersRow:
    """One metric of one task for every model; None where it was not measured."""

    trend: Trend
    cells: list[Score | None]


def models(scores: Sequence[Score]) -> list[Model]:
    """The models that were evaluated, smallest first."""
    found = {(score.parameters, score.model) for score in scores}
    return [Model(name=name, parameters=parameters) for parameters, name in sorted(found)]


def numbers(found: Sequence[Trend], columns: Sequence[Model]) -> list[NumbersRow]:
    """Every number that was measured."""
    return [NumbersRow(trend=trend, cells=[trend.of(column.name) for column in columns]) for trend in found]


_SAME_FORM = {
    ("lastword", "accuracy"): ("lambada", "accuracy_filtered"),
    ("lastword", "perplexity"): ("lambada", "perplexity"),
}
_SAME_FORM |= {("cloze", "accuracy"): ("cbt", "accuracy_CN")}
"""Tasks made from held-out text -> the data set whose form they have."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Ours and the paper's for one task and metric."""

    ours_title: str
    ours: list[str]
    theirs_title: str
    theirs: list[str]
    source: str
    protocol: str
    same_data: bool
    """Whether both are of one data set, and not only of one form."""


def comparisons(found: Sequence[Trend], columns: Sequence[Model]) -> list[Comparison]:
    """Tasks that the paper prints a number for; those of the same data set first."""
    rows = [_comparison(trend, columns) for trend in found]
    return sorted((row for row in rows if row is not None), key=lambda row: not row.same_data)


def _comparison(trend: Trend, columns: Sequence[Model]) -> Comparison | None:
    same = bool(published.printed(trend.task, trend.metric))
    key = (trend.task, trend.metric)
    task, metric = key if same else _SAME_FORM.get(key, ("", ""))
    known = {one.size: one for one in published.printed(task, metric)}
    if not known:
        return None
    theirs = Trend(task=task, metric=metric, scores=[])
    protocols = dict.fromkeys(f"{score.protocol}; {score.n:,} item{'s' * (score.n != 1)}" for score in trend.scores)
    return Comparison(
        ours_title=f"{trend.title}, {metric_name(trend.metric)}",
        ours=[cell(trend.of(column.name)) for column in columns],
        theirs_title="" if same else f"{theirs.title}, {metric_name(metric)}",
        theirs=[formatted(known[size].value, metric) if size in known else "" for size in published.SIZES],
        source=next(iter(known.values())).source,
        protocol=" / ".join(protocols),
        same_data=same,
    )


def cell(score: Score | None) -> str:
    """A score as tables show it."""
    return formatted(score.value, score.metric) if score is not None else ""


@dataclass(frozen=True, kw_only=True)
class Shaded:
    """A piece of a sample with its shade: 0 (all but certain) to 7 (hardly possible)."""

    text: str
    shade: int
    title: str


STEPS = (0.8, 0.5, 0.25, 0.1, 0.03, 0.01, 0.002)
"""A piece has as many shades as there are steps above its probability."""
_LINE = 40
"""Characters that a line break takes the place of, when the length of a sample is reckoned."""


def shaded(pieces: Sequence[Piece], longest: int) -> list[Shaded]:
    """Pieces with shades by probability, as many as make up `longest` characters, and a mark where more follow."""
    kept: list[Shaded] = []
    length = 0
    for piece in pieces:
        length += len(piece.text) + _LINE * piece.text.count("\n")
        if length > longest:
            return [*kept, Shaded(text=" ...", shade=0, title="the sample goes on")]
        shade = sum(piece.probability < step for step in STEPS)
        kept.append(Shaded(text=piece.text, shade=shade, title=probability_words(piece.probability)))
    return kept


def probability_words(probability: float) -> str:
    """A probability in per cent, or as one in so many where it is tiny."""
    if probability >= 0.001:
        return f"{100 * probability:.3g} %"
    return f"1 in {1 / probability:,.0f}" if probability > 1e-12 else "less than 1 in a million million"


@dataclass(frozen=True, kw_only=True)
class Continued:
    """One prompt and its continuations, the smallest model's first."""

    prompt: str
    samples: list[Sample]


def continued(samples: Sequence[Sample]) -> list[Continued]:
    """Prompts that both the smallest and the largest model continued (or the only one did)."""
    if not samples:
        return []
    ordered = sorted(samples, key=lambda sample: (sample.parameters, sample.model))
    shown = list(dict.fromkeys((ordered[0].model, ordered[-1].model)))
    first: dict[tuple[str, str], Sample] = {}
    for sample in ordered:
        first.setdefault((sample.prompt, sample.model), sample)
    prompts = [sample.prompt for sample in ordered if sample.model == shown[0]]
    both = [prompt for prompt in dict.fromkeys(prompts) if all((prompt, model) in first for model in shown)]
    return [
        Continued(prompt=prompt, samples=[first[prompt, model] for model in shown]) for prompt in both[:_MOST_PROMPTS]
    ]


@dataclass(frozen=True, kw_only=True)
class FunnelLine:
    """One row of the funnel with the share of its bar."""

    stage: str
    text: str
    count: int
    share: float
    """Of the largest count."""
    kind: str
    """`in`, `kept` or `drop`."""


def funnel(rows: Sequence[FunnelRow]) -> list[FunnelLine]:
    """The funnel; in each stage what came in, what was dropped (most first), what was kept."""
    most = max((row.count for row in rows), default=0) or 1
    lines = []
    for stage in dict.fromkeys(row.stage for row in rows):
        own = [row for row in rows if row.stage == stage]
        own.sort(key=lambda row: (_order(row), -row.count))
        for number, row in enumerate(own):
            lines.append(
                FunnelLine(
                    stage="" if number else stage,
                    text=_NAMED.get(row.reason, row.reason),
                    count=row.count,
                    share=row.count / most,
                    kind=("in", "drop", "kept")[_order(row)],
                )
            )
    return lines


_NAMED = {"": "came in", "heldout": "held out"}


def _order(row: FunnelRow) -> int:
    return 0 if not row.reason else 2 if row.reason in ("kept", "train", "heldout") else 1


def command_line(record: storage.Record) -> str:
    """The command of a run as a person would type it."""
    return shlex.join(record.command)
