"""`selftaught train`: pre-train GPT-1 or GPT-2 of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.report.records import LearningPoint
from selftaught.training.plan import RECIPES, TrainingPlan


@dataclass(frozen=True, kw_only=True)
class Train(settings.Verb):
    """Pre-train a network on token shards. Recipes: laptop, gpt1, gpt2-small, gpt2-medium, gpt2-large, gpt2-xl."""

    recipe: Positional[str] = "laptop"
    """Named plan whose values hold where no flag and no --plan says otherwise."""
    tokens: Path
    """Folder of token shards (selftaught pack)."""
    out: Path
    """Folder for checkpoints and log; the same command continues there."""
    settings: TrainingPlan = field(default_factory=TrainingPlan)


def run(argv: Sequence[str]) -> None:
    """Train, or continue, as `argv` says."""
    resolved = settings.resolve(Train, argv, prog="selftaught train", recipes=RECIPES)
    command = resolved.command
    plan = command.settings
    from selftaught.tokens.shards import read_index

    # What cannot be trained is refused before a folder is made for it.
    plan.shape(read_index(command.tokens).vocabulary_size)
    with storage.run(
        command.out, verb="train", plan=plan, sources=resolved.sources, inputs={"tokens": command.tokens}
    ) as opened:
        if opened.finished:
            console.line(f"{command.out} is finished")
        else:
            from selftaught.training.pretraining import pretrain

            opened.declare(pretrain(plan, tokens=command.tokens, out=command.out).name)
    _report(command)


def _report(command: Train) -> None:
    last = storage.read_lines(command.out / storage.LOG_FILE, LearningPoint)[-1]
    if command.json:
        console.result(settings.as_document(last))
    console.line(
        f"step {last.step:,}: loss {last.loss:.3f}, held-out {last.heldout_bits_per_byte or 0:.3f} bits per byte, "
        f"{last.tokens_per_second:,.0f} tokens/s, {last.seconds:.0f} s"
    )
