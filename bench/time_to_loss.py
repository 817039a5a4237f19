"""Tokens and time to the same held-out loss: the modern recipe beside the papers', same network, batches and text.

    python bench/time_to_loss.py --text FOLDER --out FOLDER [--quick] [--json FILE]

For each size of a small ladder and each seed: the papers' style (AdamW, cosine to a tenth, the best of three rates by held-out
loss) on N tokens, then the modern style on several shorter lengths, each with its schedule as long as itself. The length that
reaches the papers' loss is interpolated between those (the loss is taken as a straight line in the logarithm of the tokens).
Time is processor time of a step of each style, measured apart on random tokens, so that foreign load and measurements do not
count. Runs are kept in the folder: a
second start goes on where the first was stopped, and a longer list of seeds adds to it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from selftaught import compute, storage
from selftaught.cli import stages
from selftaught.model.transformer import Transformer
from selftaught.report.figures import Figure, Point, Series, draw
from selftaught.report.records import LearningPoint
from selftaught.tokens.shards import INDEX_FILE
from selftaught.training.optimizer import Optimizer
from selftaught.training.plan import TrainingPlan, modern, papers_style
from selftaught.training.pretraining import pretrain
from selftaught.training.step import train_step

RATES = (4e-3, 8e-3, 1.6e-2)
"""The papers' style is given the better of these (first seed); the modern one has its one rate."""
SHARES = (0.2, 0.35, 0.5)
"""Lengths of the modern runs, as shares of N."""
VOCABULARY = 4096
STYLE = (
    "<style>svg{background:#fff;font:12.5px sans-serif}text{fill:#444}.grid{stroke:#ddd}.axis{stroke:#444}.line{fill:none;"
    "stroke-width:2}.d2{stroke-dasharray:7 4}.d3{stroke-dasharray:2 4}.d4{stroke-dasharray:9 3 2 3}"
    + "".join(
        f".line.k{n}{{stroke:{colour}}}.dot.k{n},.label.k{n}{{fill:{colour}}}"
        for n, colour in enumerate(("#1f5fa8", "#b3431e", "#2e7d4f", "#7a4aa0"), start=1)
    )
    + "</style>"
)
"""The page's figures have theirs from the page."""


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


SIZES = tuple(Size(layers=layers, channels=channels, steps=600) for layers, channels in ((1, 32), (2, 64), (3, 128)))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run."""

    size: str
    style: str
    seed: int
    rate: float
    tokens: int
    heldout_bits_per_byte: float
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
    """Token shards of the text, made once."""
    tokens = out / "tokens"
    if (tokens / INDEX_FILE).is_file():
        return tokens
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
    pretrain(plan, tokens=tokens, out=folder)
    points = storage.read_lines(folder / storage.LOG_FILE, LearningPoint)
    curve = [(point.tokens, point.heldout_bits_per_byte) for point in points if point.heldout_bits_per_byte is not None]
    found = Outcome(
        size=size.name,
        style=style,
        seed=plan.seed,
        rate=plan.peak_rate,
        tokens=plan.tokens,
        heldout_bits_per_byte=curve[-1][1],
        curve=curve,
    )
    storage.write_json(kept, found)
    print(f"{folder.name}: {found.heldout_bits_per_byte:.4f} bits per byte", flush=True)
    return found


def step_seconds(plan: TrainingPlan, repeats: int = 15) -> float:
    """Processor time of a step: the median of some, after a few to warm up."""
    machine = compute.machine("auto", plan.precision)
    model = Transformer(plan.shape(VOCABULARY)).to(machine.device).train()
    optimizer, times = Optimizer(model, plan, machine.dtype), []
    ids = torch.randint(VOCABULARY, (plan.batch_size, plan.context + 1), generator=compute.generator("ids"))
    for _ in range(repeats + 3):
        started = time.process_time()
        train_step(
            model,
            optimizer,
            [(ids[:, :-1], ids[:, 1:])],
            tokens=plan.step_tokens,
            rate=plan.peak_rate,
            clip=plan.clip,
            machine=machine,
        )
        times.append(time.process_time() - started)
    return statistics.median(times[3:])


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
    rate, first = 0.0, size.plan(seeds[0])
    slower = step_seconds(modern(first)) / step_seconds(papers_style(first))
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
        found.append(
            Comparison(
                size=size.name,
                seed=seed,
                paper_bits_per_byte=paper.heldout_bits_per_byte,
                paper_tokens=paper.tokens,
                modern_tokens=wanted,
                token_share=wanted / paper.tokens,
                time_share=wanted / paper.tokens * slower,
            )
        )
    return found


def drawn(runs: Sequence[Outcome], size: str) -> str:
    """Held-out loss by tokens of one size: the papers' runs at their best rate, and the longest modern ones, as SVG."""
    paper = [run for run in runs if (run.size, run.style) == (size, "paper")]
    rate = min(paper, key=lambda run: run.heldout_bits_per_byte).rate
    longest = max(run.tokens for run in runs if run.style == "modern")
    shown = [run for run in paper if run.rate == rate]
    shown += [run for run in runs if (run.size, run.style, run.tokens) == (size, "modern", longest)]
    series = [
        Series(points=[Point(x=x, y=y) for x, y in run.curve[1:]], label=f"{run.style}, seed {run.seed}")
        for run in sorted(shown, key=lambda run: (run.style, run.seed))
    ]
    title = f"Held-out loss while training, {size}"
    figure = Figure(title=title, x_label="tokens", y_label="bits per byte", series=series, dashed=True)
    return draw(figure).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{STYLE}", 1)


def main() -> None:
    """Train what is missing and show the table."""
    parser = argparse.ArgumentParser(prog="bench/time_to_loss.py")
    parser.add_argument("--text", type=Path, required=True, help="folder or file of text")
    parser.add_argument("--out", type=Path, required=True, help="folder for tokens and runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many, smallest first")
    parser.add_argument("--quick", action="store_true", help="the smallest size and one seed")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="write a curve for each size there")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    tokens = prepared(given.text, given.out)
    sizes, seeds = (SIZES[:1], 1) if given.quick else (SIZES[: given.sizes], given.seeds)
    rows = [row for size in sizes for row in compared(size, range(1, seeds + 1), tokens=tokens, out=given.out)]
    print("size   seed  paper's loss  tokens  modern's tokens  share  processor time")
    for row in rows:
        print(
            f"{row.size:<6} {row.seed:>4}  {row.paper_bits_per_byte:>12.4f}  {row.paper_tokens:>6,}  "
            f"{row.modern_tokens:>15,.0f}  {row.token_share:>5.2f}  {row.time_share:>14.2f}"
        )
    if given.figures:
        kept = [storage.read_json(path, Outcome) for path in sorted((given.out / "runs").glob("*/outcome.json"))]
        for size in sizes:
            storage.write_text(given.figures / f"time-to-loss-{size.name}.svg", drawn(kept, size.name))
    if given.json:
        storage.write_json(given.json, rows)


if __name__ == "__main__":
    main()
