"""The same tasks for every model of a run that trained several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selftaught import console, storage
from selftaught.checkpoint import loading
from selftaught.compute import ALONE, Group
from selftaught.evaluation import running
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.report.records import RESULTS_FILE, Score

MODELS_FOLDER = "models"
"""Where `selftaught demo` keeps its sizes."""


def models(run: str | Path) -> list[Path]:
    """The models in a folder that is no model itself: those in its `models`, or in it. Nothing for a single model."""
    folder = Path(run)
    if not folder.is_dir() or loading.is_model(folder):
        return []
    inside = folder / MODELS_FOLDER if (folder / MODELS_FOLDER).is_dir() else folder
    return sorted(path for path in inside.iterdir() if path.is_dir() and loading.is_model(path))


def evaluate_sizes(
    run: str | Path,
    tasks: Sequence[str] | str = (),
    *,
    out: str | Path,
    corpus: str | Path | None = None,
    data: str | Path | None = None,
    settings: EvaluateSettings | None = None,
    group: Group = ALONE,
) -> list[Score]:
    """Run tasks on every model of a run; return their scores, the smallest model's first.

    Each model has a folder of its own in `out`, as `evaluate` writes it; results.json holds all scores. Raises what `evaluate`
    raises.
    """
    found: list[Score] = []
    for model in models(run):
        console.line(f"model {model.name}")
        found += running.evaluate(
            model, tasks, out=Path(out) / model.name, corpus=corpus, data=data, settings=settings, group=group
        )
    found.sort(key=lambda one: one.parameters)
    if group.rank == 0:
        storage.write_json(Path(out) / RESULTS_FILE, found)
    return found
