"""The page's section on fine-tuning: ours beside the GPT-1 paper's tables 2 to 5, and figure 2 on the left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selftaught.report.figures import Figure, Point, Series
from selftaught.report.records import FineTuned

VARIANTS = {
    "full": "full method",
    "no-auxiliary": "without auxiliary loss",
    "from-scratch": "without pre-training",
    "lstm": "LSTM",
}
"""The rows of table 5, here columns."""
COLUMNS = ("Task", "Measure", "Set", "Rows", *VARIANTS.values())
_TITLES = {
    "mnli": "MNLI",
    "snli": "SNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "scitail": "SciTail",
    "sst2": "SST-2",
    "cola": "CoLA",
    "mrpc": "MRPC",
    "qqp": "QQP",
    "stsb": "STS\N{NON-BREAKING HYPHEN}B",
    "race": "RACE",
    "storycloze": "Story Cloze",
    "own": "own files",
}
_METRICS = {"f1": "F1", "macro_f1": "macro-F1", "matthews": "Matthews", "pearson": "Pearson", "spearman": "Spearman"}
_TABLE5 = {
    "cola": (45.4, 47.9, 18.9, 30.3),
    "sst2": (91.3, 92.0, 84.0, 90.5),
    "mrpc": (82.3, 84.9, 79.4, 83.2),
    "stsb": (82.0, 83.2, 30.9, 71.8),
    "qqp": (70.3, 69.8, 65.5, 68.1),
    "mnli": (81.8, 81.1, 75.7, 73.7),
    "qnli": (88.1, 86.9, 71.2, 81.1),
    "rte": (56.0, 54.4, 53.8, 54.6),
}
"""GPT-1 paper, table 5, in the order of `VARIANTS`; MNLI is the mean of matched and mismatched."""
_TABLES2TO4 = {"snli": 89.9, "scitail": 88.3, "storycloze": 86.5, "race": 59.0}
"""GPT-1 paper, tables 2 and 3: tasks that table 5 leaves out."""
_FIRST_METRIC = {"cola": "matthews", "mrpc": "f1", "qqp": "f1", "stsb": "pearson"}
_LAYERS = "layers-"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table; `model` is empty for the paper's."""

    model: str
    cells: tuple[str, ...]


def lines(rows: Sequence[FineTuned]) -> list[Line]:
    """Each measure of each task and set, all variants side by side; below a task's own measure the paper's numbers."""
    found: list[Line] = []
    known = [row for row in rows if row.variant in VARIANTS and row.split != "train"]
    keys = dict.fromkeys((row.model, row.task, row.metric, row.split) for row in known)
    for model, task, metric, split in keys:
        cells = {
            row.variant: row
            for row in known
            if (row.model, row.task, row.metric, row.split) == (model, task, metric, split)
        }
        some = next(iter(cells.values()))
        title = (_TITLES.get(task, task), _METRICS.get(metric, metric), split, f"{some.n:,}")
        found.append(Line(model=model, cells=(*title, *(_cell(cells.get(variant)) for variant in VARIANTS))))
        if metric == _FIRST_METRIC.get(task, "accuracy") and split == _last_split(known, model, task):
            found += _printed(task, title)
    return found


def _last_split(rows: Iterable[FineTuned], model: str, task: str) -> str:
    """The set that the paper's numbers are put below: test where it is labelled."""
    splits = {row.split for row in rows if (row.model, row.task) == (model, task)}
    return "test" if "test" in splits else "dev"


def _printed(task: str, title: Sequence[str]) -> list[Line]:
    values: tuple[float | None, ...] = _TABLE5.get(task, (_TABLES2TO4.get(task), None, None, None))
    if values[0] is None:
        return []
    printed = ("" if value is None else f"{value:.1f}" for value in values)
    return [Line(model="GPT-1 paper, 117 M", cells=(*title[:2], "test", "", *printed))]


def _cell(row: FineTuned | None) -> str:
    """Median of the seeds in per cent, as the paper prints it; on a second line the lowest and the highest."""
    if row is None:
        return ""
    if len(row.by_seed) == 1:
        return f"{100 * row.median:.1f}"
    return f"{100 * row.median:.1f}\n{100 * row.lowest:.1f} to {100 * row.highest:.1f}"


def protocols(rows: Sequence[FineTuned]) -> list[str]:
    """What the numbers of each task depend on, in words."""
    found: dict[tuple[str, str, str], set[int]] = {}
    for row in rows:
        key = _TITLES.get(row.task, row.task), row.model, row.protocol
        found.setdefault(key, set()).add(len(row.by_seed))
    return [
        f"{task}: {model}, {' or '.join(map(str, sorted(seeds)))} seed{'s' * (seeds != {1})}; {words}"
        for (task, model, words), seeds in sorted(found.items(), key=lambda item: item[0])
    ]


def layer_figures(rows: Sequence[FineTuned]) -> list[Figure]:
    """Dev and train against layers transferred (figure 2, left), for each task whose curve was measured."""
    figures = []
    curved = [row for row in rows if row.variant.startswith(_LAYERS) and row.variant.removeprefix(_LAYERS).isdigit()]
    for model, task in dict.fromkeys((row.model, row.task) for row in curved):
        own = [row for row in curved if (row.model, row.task) == (model, task)]
        metric = own[0].metric
        series = [
            Series(label=split, points=[_point(row) for row in _ordered(own, split, metric)])
            for split in ("dev", "train")
        ]
        if len(series[0].points) > 1:
            figures.append(
                Figure(
                    title=f"{_TITLES.get(task, task)}: layers transferred",
                    x_label="layers",
                    y_label=_METRICS.get(metric, metric),
                    percent_y=True,
                    x_ticks=[point.x for point in series[0].points],
                    series=[one for one in series if one.points],
                    note=f"{model}; {own[0].n:,} rows; median of {len(own[0].by_seed)}",
                )
            )
    return figures


def _ordered(rows: Sequence[FineTuned], split: str, metric: str) -> list[FineTuned]:
    wanted = [row for row in rows if (row.split, row.metric) == (split, metric)]
    return sorted(wanted, key=lambda row: int(row.variant.removeprefix(_LAYERS)))


def _point(row: FineTuned) -> Point:
    return Point(
        x=float(row.variant.removeprefix(_LAYERS)),
        y=row.median,
        error=row.error,
        label=f"{100 * row.median:.1f}",
        title=f"{row.variant}: {100 * row.median:.1f} %",
    )
