"""The page: one self-contained HTML file."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from selftaught import storage
from selftaught.report import (
    along,
    axes,
    charts,
    figures,
    finetuning,
    gaps,
    memorization,
    overlapping,
    published,
    tables,
    trends,
)
from selftaught.report.collecting import Material, collect
from selftaught.report.records import RESULTS_FILE

PAGE_FILE = "report.html"
_LONGEST_SAMPLE = 1200
"""Characters of a sample that are shown."""
_LONGEST_PROMPT = 600
_LONGEST_EXCERPT = 700
_MOST_COPIES = 5


def write_report(folder: str | Path) -> Path:
    """Gather every run at and below a folder into results.json and report.html there; returns the page's path.

    An evaluation's own folder keeps its own results.json. Raises InputError if there are no runs.
    """
    folder = Path(folder)
    material = collect(folder)
    if not any(stage.path == folder and stage.record.verb == "evaluate" for stage in material.stages):
        storage.write_json(folder / RESULTS_FILE, material.scores)
    storage.write_text(folder / PAGE_FILE, render(material))
    return folder / PAGE_FILE


def render(material: Material) -> str:
    """The page as HTML. Text from outside is escaped by the template."""
    found = trends.trends(material.scores)
    shown = trends.answers(found)
    columns = tables.models(material.scores)
    names = [column.name for column in columns]
    machines = [stage.record.machine for stage in material.stages if stage.record.machine.get("processor")]
    return str(
        _template().render(
            css=_read("page.css"),
            material=material,
            headline=trends.headline(shown, len(columns)),
            answers=shown,
            columns=columns,
            trained=len(material.curves),
            trends=found,
            numbers=tables.numbers(found, columns),
            size_figures=_drawn(charts.size_figures(found)),
            loss_figures=_drawn(charts.loss_figures(material)),
            along=along,
            along_figures=_drawn(along.all_figures(material.along)),
            overlap_figures=_drawn([figure] if (figure := charts.overlap_figure(material.overlaps)) else []),
            comparisons=tables.comparisons(found, columns),
            published=published,
            continued=tables.continued(material.samples),
            steps=tables.STEPS,
            copies=sorted(material.copies, key=lambda span: -span.words)[:_MOST_COPIES],
            split_columns=overlapping.split_columns(names),
            split_lines=overlapping.split_lines(material.splits, names),
            table_6=overlapping.table_6(material.overlaps),
            table_6_columns=overlapping.TABLE_6_COLUMNS,
            memorized=memorization,
            gaps=gaps,
            memorized_figures=_drawn(
                [*memorization.all_figures(material.memorizations), *gaps.gap_figures(material.memorizations)]
            ),
            finetuning=finetuning,
            layer_figures=_drawn(finetuning.layer_figures(material.finetuned)),
            funnel=tables.funnel(material.funnel),
            seconds=sum(stage.record.seconds for stage in material.stages if stage.record.verb != "demo"),
            machine=machines[0] if machines else {},
        )
    )


def _drawn(wanted: list[figures.Figure]) -> list[tuple[figures.Figure, str]]:
    return [(figure, figures.draw(figure)) for figure in wanted]


def _read(name: str) -> str:
    return resources.files("selftaught.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "value": trends.formatted,
        "metric": trends.metric_name,
        "overlap_name": charts.overlap_name,
        "shaded": lambda pieces: tables.shaded(pieces, _LONGEST_SAMPLE),
        "prompt": lambda text: text if len(text) <= _LONGEST_PROMPT else "... " + text[-_LONGEST_PROMPT:],
        "excerpt": lambda text: text if len(text) <= _LONGEST_EXCERPT else text[:_LONGEST_EXCERPT] + " ...",
        "short": axes.short,
        "spark": _spark,
        "command_line": tables.command_line,
        "duration": duration,
        "mebibytes": lambda size: f"{size / 2**20:,.0f} MiB",
        "count": lambda number: f"{number:,}",
    }
    return environment.from_string(_read("page.html"))


def _spark(trend: trends.Trend) -> str:
    """A trend in the size of a word, drawn so that up is better."""
    sign = -1 if trends.lower_is_better(trend.metric) else 1
    return figures.spark([sign * score.value for score in trend.scores])


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
