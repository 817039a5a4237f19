"""`selftaught track`: a training run's log in TensorBoard, Weights & Biases or trackio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings
from selftaught.training import tracking


@dataclass(frozen=True, kw_only=True)
class Track(settings.Verb):
    """Show the log of a training run elsewhere. Each tracker is an extra."""

    run: Positional[Path]
    """A training run's folder."""
    to: tracking.Name = "tensorboard"
    """Where to."""
    out: Path = Path("runs/tensorboard")
    """With tensorboard: folder for event files, one folder a run below it."""
    follow: bool = False
    """Go on until the run ends, though it may not have begun."""


def run(argv: Sequence[str]) -> None:
    """Show the run that `argv` names."""
    command = settings.resolve(Track, argv, prog="selftaught track").command
    count = tracking.track(command.run, command.to, out=command.out, follow=command.follow)
    console.line(f"{count:,} rows of {command.run} shown in {command.to}")
    if command.to == "tensorboard":
        console.line(f"tensorboard --logdir {command.out}")
    if command.json:
        console.result({"run": str(command.run), "to": command.to, "rows": count})
