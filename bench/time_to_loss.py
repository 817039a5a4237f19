"""Tokens and time to the same held-out loss: the modern recipe beside the papers', same network, batches and text.

    python bench/time_to_loss.py --text FOLDER --out FOLDER [--quick] [--json FILE]

For each size of a small ladder and each seed: the papers' style (AdamW, cosine to a tenth, the best of two rates by held-out
loss) on N tokens, then the modern style on several shorter lengths, each with its schedule as long as itself. The length that
reaches the papers' loss is interpolated between those (the loss is taken as a straight line in the logarithm of the tokens).
Time is processor time of the training alone, all threads, so that foreign load does not count. Runs are kept in the folder: a
second start goes on where the first was stopped, and a longer list of seeds adds to it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from selftaught import storage
from selftaught.cli import stages
from selftaught.report.records import LearningPoint
from selftaught.training.plan import TrainingPlan, modern, papers_style
from selftaught.training.pretraining import pretrain

RATES = (4e-3, 8e-3)
"""The papers' style is given the better of these (first seed); the modern one has its one rate."""
SHARES = (0.2, 0.35, 0.5)
"""Lengths of the modern runs, as shares of N."""
VOCABULARY = 4096


@dataclass(frozen=True, kw_only=True)
class Size:
    """A rung of the ladder and its length."""

    layers: int
    channels: int
    steps: int

    @property
    def name(self) -> str:
        """How it is called in the table."""
        return f"{self.layers}x{self.channels}"

    def plan(self, seed: int) -> TrainingPlan:
        """The network and its batches, before a style is put on it."""
        return TrainingPlan(
            layers=self.layers,
            heads=self.channels // 32,
            channels=self.channels,
            batch_size=8,
            micro_batch_size=8,
            steps=self.steps,
            seed=seed,
            evaluate_tokens=1 << 15,
        )


SIZES = (Size(layers=2, channels=64, steps=600), Size(layers=3, channels=128, steps=600))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run."""

    size: str
    style: str
    seed: int
    rate: float
    tokens: int
    heldout_bits_per_byte: float
    cpu_seconds: float
    curve: list[tuple[int, float]]
    """Tokens and held-out bits per byte."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What one size and seed needed."""

    size: str
    seed: int
    paper_bits_per_byte: float
    paper_tokens: int
    modern_tokens: float
    """To the same loss, interpolated; infinite if no length reached it."""
    token_share: float
    time_share: float


def prepared(text: Path, out: Path) -> Path:
    """Token shards of the text."""
    tokens = out / "tokens"
    stages.run_verb(["corpus", "local", str(text), "--heldout", "0.1", "--out", str(out / "corpus")])
    size = str(VOCABULARY)
    stages.run_verb(
        ["tokenizer", "learn", str(out / "corpus"), "--vocabulary-size", size, "--out", str(out / "tokenizer")]
    )
    stages.run_verb(["pack", str(out / "corpus"), "--tokenizer", str(out / "tokenizer"), "--out", str(tokens)])
    return tokens


def trained(plan: TrainingPlan, style: str, *, size: Size, tokens: Path, out: Path) -> Outcome:
    """Train, or read what an earlier start trained."""
    folder = out / "runs" / f"{size.name}-{style}-{plan.steps}-{plan.peak_rate:g}-{plan.seed}"
    kept = folder / "outcome.json"
    if kept.is_file():
        return storage.read_json(kept, Outcome)
    plan = replace(plan, warmup_steps=max(1, plan.steps // 20), evaluate_every=max(1, plan.steps // 12))
    started = time.process_time()
    pretrain(plan, tokens=tokens, out=folder)
    seconds = time.process_time() - started
    points = storage.read_lines(folder / storage.LOG_FILE, LearningPoint)
    curve = [(point.tokens, point.heldout_bits_per_byte) for point in points if point.heldout_bits_per_byte is not None]
    found = Outcome(
        size=size.name,
        style=style,
        seed=plan.seed,
        rate=plan.peak_rate,
        tokens=plan.tokens,
        heldout_bits_per_byte=curve[-1][1],
        cpu_seconds=seconds,
        curve=curve,
    )
    storage.write_json(kept, found)
    print(f"{folder.name}: {found.heldout_bits_per_byte:.4f} bits per byte, {seconds:.0f} CPU s", flush=True)
    return found


def reached(target: float, runs: list[Outcome]) -> float:
    """Tokens after which runs of growing length would have the target loss."""
    ordered = sorted(runs, key=lambda run: run.tokens)
    if ordered[0].heldout_bits_per_byte <= target:
        return float(ordered[0].tokens)
    for before, after in pairwise(ordered):
        if after.heldout_bits_per_byte <= target:
            gained = before.heldout_bits_per_byte - after.heldout_bits_per_byte
            share = (before.heldout_bits_per_byte - target) / gained
            return math.exp(math.log(before.tokens) * (1 - share) + math.log(after.tokens) * share)
    return math.inf


def compared(size: Size, seeds: range, *, tokens: Path, out: Path) -> list[Comparison]:
    """All runs of a size."""
    found: list[Comparison] = []
    rate = 0.0
    for seed in seeds:
        base = papers_style(size.plan(seed))
        tried = [
            trained(replace(base, peak_rate=one), "paper", size=size, tokens=tokens, out=out)
            for one in (RATES if not rate else (rate,))
        ]
        paper = min(tried, key=lambda run: run.heldout_bits_per_byte)
        rate = paper.rate
        runs = [
            trained(
                replace(modern(size.plan(seed)), steps=round(size.steps * share)),
                "modern",
                size=size,
                tokens=tokens,
                out=out,
            )
            for share in SHARES
        ]
        wanted = reached(paper.heldout_bits_per_byte, runs)
        per_token = statistics.median(run.cpu_seconds / run.tokens for run in runs)
        found.append(
            Comparison(
                size=size.name,
                seed=seed,
                paper_bits_per_byte=paper.heldout_bits_per_byte,
                paper_tokens=paper.tokens,
                modern_tokens=wanted,
                token_share=wanted / paper.tokens,
                time_share=wanted * per_token / paper.cpu_seconds,
            )
        )
    return found


def main() -> None:
    """Train what is missing and show the table."""
    parser = argparse.ArgumentParser(prog="bench/time_to_loss.py")
    parser.add_argument("--text", type=Path, required=True, help="folder or file of text")
    parser.add_argument("--out", type=Path, required=True, help="folder for tokens and runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the smallest size and one seed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    tokens = prepared(given.text, given.out)
    sizes, seeds = (SIZES[:1], 1) if given.quick else (SIZES, given.seeds)
    rows = [row for size in sizes for row in compared(size, range(1, seeds + 1), tokens=tokens, out=given.out)]
    print("size   seed  paper's loss  tokens  modern's tokens  share  processor time")
    for row in rows:
        print(
            f"{row.size:<6} {row.seed:>4}  {row.paper_bits_per_byte:>12.4f}  {row.paper_tokens:>6,}  "
            f"{row.modern_tokens:>15,.0f}  {row.token_share:>5.2f}  {row.time_share:>14.2f}"
        )
    if given.json:
        storage.write_json(given.json, rows)


if __name__ == "__main__":
    main()
