"""The page: one self-contained HTML file."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from selftaught import storage
from selftaught.report import figures, published, tables
from selftaught.report.collecting import Material, collect
from selftaught.report.records import RESULTS_FILE

PAGE_FILE = "report.html"
_LONGEST_SAMPLE = 1200


def write_report(folder: str | Path) -> Path:
    """Gather every run at and below a folder into results.json and report.html there; returns the page's path.

    Raises InputError if there are no runs.
    """
    folder = Path(folder)
    material = collect(folder)
    storage.write_json(folder / RESULTS_FILE, material.scores)
    storage.write_text(folder / PAGE_FILE, render(material))
    return folder / PAGE_FILE


def render(material: Material) -> str:
    """The page as HTML. Text from outside is escaped by the template."""
    trends = tables.trends(material.scores)
    several = [trend for trend in trends if len(trend.scores) > 1]
    return str(
        _template().render(
            css=_read("page.css"),
            material=material,
            trends=trends,
            improving=[trend for trend in several if trend.verdict.startswith("better")],
            several=several,
            sizes=tables.sizes(material),
            size_figures=_drawn(tables.size_figures(material)),
            loss_figures=_drawn([tables.train_heldout_figure(material), tables.learning_figure(material)]),
            overlap_figures=_drawn([tables.overlap_figure(material.overlaps)]),
            comparisons=tables.comparisons(material),
            pairs=tables.sample_pairs(material.samples),
            copies=sorted(material.copies, key=lambda span: -span.words)[:5],
            seconds=sum(stage.record.seconds for stage in material.stages if stage.record.verb != "demo"),
            machine=material.stages[0].record.machine,
            published_sizes=published.SIZES,
        )
    )


def _drawn(wanted: list[figures.Figure | None] | list[figures.Figure]) -> list[tuple[figures.Figure, str]]:
    return [(figure, figures.draw(figure)) for figure in wanted if figure is not None]


def _read(name: str) -> str:
    return resources.files("selftaught.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "value": tables.formatted,
        "metric": tables.metric_name,
        "shaded": tables.shaded,
        "short": figures.short,
        "clipped": lambda pieces: _clipped(pieces, _LONGEST_SAMPLE),
        "duration": _duration,
        "mebibytes": lambda size: f"{size / 2**20:,.0f} MiB",
    }
    return environment.from_string(_read("page.html"))


def _clipped(pieces: list[Any], most: int) -> list[Any]:
    kept, length = [], 0
    for piece in pieces:
        length += len(piece.text)
        if length > most:
            break
        kept.append(piece)
    return kept


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"
