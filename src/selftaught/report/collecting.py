"""What lies in a folder of runs, gathered for the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from selftaught import console, storage
from selftaught.corpus.documents import FUNNEL_FILE, FunnelRow
from selftaught.errors import InputError, SelftaughtError
from selftaught.report.overlap_records import (
    COPIED_FILE,
    MEMORIZATION_FILE,
    OVERLAP_FILE,
    SPLIT_FILE,
    CopiedSpan,
    Memorization,
    Overlap,
    OverlapSplit,
)
from selftaught.report.records import (
    ALONG_FILE,
    FINETUNED_FILE,
    RESULTS_FILE,
    SAMPLES_FILE,
    FineTuned,
    LearningPoint,
    Sample,
    Score,
    StepScore,
)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run folder and its record."""

    path: Path
    name: str
    """Its place below the folder of the page; empty if it is that folder."""
    record: storage.Record


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that the page can show; empty where nothing was measured."""

    stages: list[Stage]
    """In the order in which they were started."""
    scores: list[Score] = field(default_factory=list)
    """Smallest model first."""
    along: list[StepScore] = field(default_factory=list)
    """Scores of checkpoints."""
    classified: list[Score] = field(default_factory=list)
    """Of `selftaught classify`, every run, in the order in which they were started."""
    curves: dict[str, list[LearningPoint]] = field(default_factory=dict)
    """Name of a trained model -> its log."""
    funnel: list[FunnelRow] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    splits: list[OverlapSplit] = field(default_factory=list)
    """Scores with and without overlap, in the order in which they were measured."""
    copies: list[CopiedSpan] = field(default_factory=list)
    memorizations: list[Memorization] = field(default_factory=list)
    """Smallest model first."""
    finetuned: list[FineTuned] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What could not be read, in words; the page is made of the rest."""


class _Reader:
    """Reads result files of runs and remembers those that are damaged."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def _try(self, read: Any, path: Path, kind: Any) -> Any:
        if not path.is_file():
            return []
        try:
            return read(path, kind)
        except SelftaughtError as problem:
            console.warn(f"left out: {problem.line()}")
            self.problems.append(problem.line())
            return []

    def listed(self, paths: Iterable[Path], name: str, kind: type[T]) -> list[T]:
        """Rows of JSON lists."""
        return [row for path in paths for row in self._try(storage.read_json, path / name, list[kind])]  # type: ignore[valid-type]

    def values(self, paths: Iterable[Path], name: str, kind: type[T]) -> list[T]:
        """JSON files of one value each."""
        found = (self._try(storage.read_json, path / name, kind) for path in paths)
        return [value for value in found if value != []]

    def rows(self, paths: Iterable[Path], name: str, kind: type[T]) -> list[T]:
        """Rows of JSON-lines files."""
        return [row for path in paths for row in self._try(storage.read_lines, path / name, kind)]

    def stages(self, folder: Path) -> Iterator[Stage]:
        """Run folders at and below a folder."""
        for path in sorted(folder.rglob(storage.RUN_FILE)):
            name = path.parent.relative_to(folder).as_posix()
            if record := self._try(storage.read_json, path, storage.Record):
                yield Stage(path=path.parent, name="" if name == "." else name, record=record)


def collect(folder: Path) -> Material:
    """Read the run folders at and below a folder.

    A file that is damaged is left out with a warning and named in `problems`. Raises InputError if there is no run.
    """
    if not folder.is_dir():
        raise InputError(
            f"cannot read {folder}", expected="a folder", got="a file" if folder.exists() else "nothing there"
        )
    reader = _Reader()
    stages = sorted(reader.stages(folder), key=lambda stage: (stage.record.started, stage.name))
    if not stages:
        raise InputError(
            f"no runs in {folder}", expected="folders with run.json", hint="Type: selftaught demo --out DIR"
        )

    def of(verb: str) -> list[Path]:
        return [stage.path for stage in stages if stage.record.verb == verb]

    corpora = [stage.path for stage in stages if (stage.path / FUNNEL_FILE).is_file()]
    samples = reader.rows(of("generate"), SAMPLES_FILE, Sample)
    curves = {path.resolve().name: reader.rows([path], storage.LOG_FILE, LearningPoint) for path in of("train")}
    return Material(
        stages=stages,
        scores=_newest(reader.listed(of("evaluate"), RESULTS_FILE, Score)),
        classified=reader.listed(of("classify"), RESULTS_FILE, Score),
        along=_newest_steps(reader.listed(of("evaluate"), ALONG_FILE, StepScore)),
        curves={name: rows for name, rows in curves.items() if rows},
        funnel=reader.listed(corpora[-1:], FUNNEL_FILE, FunnelRow),
        samples=sorted(samples, key=lambda sample: (sample.parameters, sample.model)),
        splits=_newest_splits(reader.listed(of("evaluate"), SPLIT_FILE, OverlapSplit)),
        overlaps=reader.listed(of("overlap"), OVERLAP_FILE, Overlap),
        copies=reader.rows(of("overlap"), COPIED_FILE, CopiedSpan),
        memorizations=_newest_of_each(reader.values(of("memorize"), MEMORIZATION_FILE, Memorization)),
        finetuned=reader.listed(of("finetune"), FINETUNED_FILE, FineTuned),
        problems=reader.problems,
    )


def _newest(scores: Iterable[Score]) -> list[Score]:
    """Scores by size; of those measured twice for the same model, task and metric, the one of the last run."""
    found = {(score.model, score.parameters, score.task, score.metric): score for score in scores}
    return sorted(found.values(), key=lambda score: (score.parameters, score.model))


def _newest_steps(found: Iterable[StepScore]) -> list[StepScore]:
    """Of checkpoints measured twice for the same task and metric, the score of the last run."""
    return list({(one.score.model, one.step, one.score.task, one.score.metric): one for one in found}.values())


def _newest_splits(found: Iterable[OverlapSplit]) -> list[OverlapSplit]:
    """Of two measurements of one model, task and metric the last one."""
    return list({(one.model, one.task, one.metric): one for one in found}.values())


def _newest_of_each(found: Iterable[Memorization]) -> list[Memorization]:
    """By size; of two measurements of one model the last one."""
    newest = {(one.model, one.parameters): one for one in found}
    return sorted(newest.values(), key=lambda one: (one.parameters, one.model))
