"""The highest learning rate as the GPT-2 paper finds it: short runs, the best by perplexity on 5 % of the training text.

"The learning rate of each model was manually tuned for the best perplexity on a 5% held-out sample of WebText. All models still
underfit WebText" (section 3). Here a grid does it, which grows where the best rate is at its end.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from selftaught import compute, console, storage
from selftaught.errors import DivergedError
from selftaught.report.records import LearningPoint
from selftaught.training.plan import TrainingPlan
from selftaught.training.pretraining import pretrain

RATES_FILE, RUNS_FOLDER = "rates.json", "rates"
HELD_OUT = 0.05
"""Share of the training documents (GPT-2 paper, section 3)."""
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The grid, around the plan's own rate."""
MOST_RATES = 9
"""The grid grows by factors of two up to this many rates."""
MOST_NATS = 700.0
"""A larger loss is divergence, though it is a number: its perplexity would be none."""
SHORT_SHARE, SHORTEST = 0.05, 50
"""Steps of a short run: this share of the plan's, no fewer than these unless the plan itself has fewer."""


@dataclass(frozen=True, kw_only=True)
class TriedRate:
    """A row of rates.json."""

    rate: float
    steps: int
    tokens: int
    perplexity: float | None
    """Of a token of the held-out documents; none where training diverged."""

    @property
    def order(self) -> float:
        """By what rates are compared: the smaller the better."""
        return math.inf if self.perplexity is None else self.perplexity


def tuned(plan: TrainingPlan, *, tokens: str | Path, out: str | Path, steps: int = 0) -> TrainingPlan:
    """The plan with the best rate; the table is kept in `out` as rates.json, and rates that stand there are not tried again.

    Short runs take `steps`, or a twentieth of the plan's. Raises DivergedError if every rate diverges.
    """
    out = Path(out)
    length = min(plan.steps, steps or max(SHORTEST, round(plan.steps * SHORT_SHARE)))
    waiting = [_rounded(plan.peak_rate * factor) for factor in FACTORS]
    found = compute.from_first(lambda: _kept(out, length))
    while waiting:
        rate = waiting.pop(0)
        if rate not in {row.rate for row in found}:
            found = sorted([*found, _tried(plan, rate, length, tokens=Path(tokens), out=out)], key=lambda row: row.rate)
            if compute.rank() == 0:
                storage.write_json(out / RATES_FILE, found)
        if not waiting and len(found) < MOST_RATES:
            waiting = _beyond(found)
    best = min(found, key=lambda row: row.order)
    rows = [(row.rate, row.perplexity or "diverged", "<- best" if row is best else "") for row in found]
    console.table(["peak rate", "held-out perplexity", ""], rows)
    if best.perplexity is None:
        raise DivergedError("training diverged at every rate", got=f"{found[0].rate:g} to {found[-1].rate:g}")
    return replace(plan, peak_rate=best.rate)


def _beyond(found: list[TriedRate]) -> list[float]:
    """The next rate to try, where the best is the lowest or the highest so far."""
    best = min(found, key=lambda row: row.order)
    if best is found[0]:
        return [_rounded(best.rate / 2)]
    return [_rounded(best.rate * 2)] if best is found[-1] else []


def _kept(out: Path, steps: int) -> list[TriedRate]:
    path = out / RATES_FILE
    return [row for row in storage.read_json(path, list[TriedRate]) if row.steps == steps] if path.is_file() else []


def _tried(plan: TrainingPlan, rate: float, steps: int, *, tokens: Path, out: Path) -> TriedRate:
    short = replace(
        plan, peak_rate=rate, steps=steps, warmup_steps=min(plan.warmup_steps, steps // 10), evaluate_every=steps
    )
    folder = out / RUNS_FOLDER / f"{rate:g}"
    console.line(f"trying a peak rate of {rate:g} for {steps:,} steps")
    perplexity: float | None = None
    try:
        pretrain(short, tokens=tokens, out=folder, hold_out=HELD_OUT)
        perplexity = compute.from_first(lambda: _perplexity(folder))
    except DivergedError as problem:
        console.warn(problem.line())
    if compute.rank() == 0:
        # The log stays; what the run has learned is of no use any more.
        for checkpoint in folder.glob("step-*"):
            shutil.rmtree(checkpoint)
    return TriedRate(rate=rate, steps=steps, tokens=short.tokens, perplexity=perplexity)


def _perplexity(folder: Path) -> float | None:
    last = storage.read_lines(folder / storage.LOG_FILE, LearningPoint)[-1]
    loss = last.heldout_loss
    return math.exp(loss) if loss is not None and loss < MOST_NATS else None


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")
