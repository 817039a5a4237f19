"""What lies in a folder of runs, gathered for the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from selftaught import storage
from selftaught.corpus.documents import FUNNEL_FILE, FunnelRow, read_funnel
from selftaught.errors import InputError
from selftaught.report.records import (
    COPIED_FILE,
    OVERLAP_FILE,
    RESULTS_FILE,
    SAMPLES_FILE,
    CopiedSpan,
    LearningPoint,
    Overlap,
    Sample,
    Score,
)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run folder and its record."""

    path: Path
    name: str
    """Its place below the folder of the page."""
    record: storage.Record


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that the page can show; empty where nothing was measured."""

    stages: list[Stage]
    """In the order in which they were started."""
    scores: list[Score]
    curves: dict[str, list[LearningPoint]]
    funnel: list[FunnelRow]
    samples: list[Sample]
    overlaps: list[Overlap]
    copies: list[CopiedSpan]


def collect(folder: Path) -> Material:
    """Read the run folders at and below a folder. Raises InputError if there is none."""
    stages = sorted(_stages(folder), key=lambda stage: (stage.record.started, stage.name))
    if not stages:
        raise InputError(f"no runs in {folder}", expected="folders with run.json", hint="selftaught demo --out DIR")
    of = {
        verb: [stage.path for stage in stages if stage.record.verb == verb] for verb in {s.record.verb for s in stages}
    }
    corpora = [stage.path for stage in stages if (stage.path / FUNNEL_FILE).is_file()]
    return Material(
        stages=stages,
        scores=sorted(_listed(of.get("evaluate", []), RESULTS_FILE, Score), key=lambda score: score.parameters),
        curves={
            path.name: storage.read_lines(path / storage.LOG_FILE, LearningPoint)
            for path in _logged(of.get("train", []))
        },
        funnel=read_funnel(corpora[0]) if corpora else [],
        samples=sorted(_rows(of.get("generate", []), SAMPLES_FILE, Sample), key=lambda sample: sample.parameters),
        overlaps=_listed(of.get("overlap", []), OVERLAP_FILE, Overlap),
        copies=_rows(of.get("overlap", []), COPIED_FILE, CopiedSpan),
    )


def _stages(folder: Path) -> Iterator[Stage]:
    for path in sorted(folder.rglob(storage.RUN_FILE)):
        name = path.parent.relative_to(folder).as_posix()
        yield Stage(path=path.parent, name=name, record=storage.read_json(path, storage.Record))


def _logged(paths: list[Path]) -> list[Path]:
    return [path for path in paths if (path / storage.LOG_FILE).is_file()]


def _listed(paths: list[Path], name: str, kind: type[T]) -> list[T]:
    found: list[T] = []
    for path in paths:
        if (path / name).is_file():
            found += storage.read_json(path / name, list[kind])  # type: ignore[valid-type]
    return found


def _rows(paths: list[Path], name: str, kind: type[T]) -> list[T]:
    return [row for path in paths if (path / name).is_file() for row in storage.read_lines(path / name, kind)]
