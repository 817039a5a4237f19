"""Tokens and time to the same held-out loss: the modern recipe beside the papers' and beside nanoGPT's loop.

    python bench/time_to_loss.py --text FOLDER --out FOLDER [--quick] [--json FILE]

All on the same network, first weights, batches and text. For each size of a small ladder and each seed: the papers' style (AdamW,
cosine to a tenth, the best of three rates by held-out loss) on N tokens; the same by a plain loop as nanoGPT's, at that rate; and
the modern style on several shorter lengths, each with its schedule as long as itself. The length that reaches a loss is
interpolated between those (the loss is taken as a straight line in the logarithm of the tokens). Time is processor time of a
step of each, measured apart on random tokens and in turns, so that foreign load and measurements do not count. Runs are kept
in the folder: a second start goes on where the first was stopped, and a longer list of seeds adds to it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from selftaught import compute, storage
from selftaught.cli import stages
from selftaught.model.initial import initialise
from selftaught.model.transformer import Transformer
from selftaught.report.figures import Figure, Point, Series, draw
from selftaught.report.records import LearningPoint
from selftaught.tokens.batches import Batches
from selftaught.tokens.shards import INDEX_FILE, open_shards
from selftaught.training.heldout import Heldout
from selftaught.training.optimizer import Optimizer
from selftaught.training.plan import TrainingPlan
from selftaught.training.pretraining import pretrain
from selftaught.training.recipes import modern, papers_style
from selftaught.training.schedule import rate
from selftaught.training.step import train_step
from training import PLAIN_NAMES, Batch, Case, Plain, plain, renamed

RATES = (2e-3, 4e-3, 8e-3)
"""The papers' style is given the best of these for each seed, and the plain loop the same; the modern one has its one rate."""
SHARES = (0.2, 0.3, 0.4)
"""Lengths of the modern runs, as shares of N."""
VOCABULARY = 4096
PLAIN = "nanoGPT"
"""A loop as nanoGPT's, written out in bench/training.py and here."""
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
    """What one size and seed needed to reach what another way of training did."""

    size: str
    seed: int
    against: str
    rate: float
    bits_per_byte: float
    tokens: int
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
    curve = plain_curve(plan, tokens) if style == PLAIN else our_curve(plan, tokens, folder)
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


def our_curve(plan: TrainingPlan, tokens: Path, folder: Path) -> list[tuple[int, float]]:
    """Tokens and held-out bits per byte of a run of ours."""
    pretrain(plan, tokens=tokens, out=folder)
    points = storage.read_lines(folder / storage.LOG_FILE, LearningPoint)
    return [(point.tokens, point.heldout_bits_per_byte) for point in points if point.heldout_bits_per_byte is not None]


def plain_curve(plan: TrainingPlan, tokens: Path) -> list[tuple[int, float]]:
    """The same of a plain loop, on the same first weights and batches."""
    train, machine = open_shards(tokens, "train"), compute.machine("auto", plan.precision)
    ours = Transformer(plan.shape(train.vocabulary_size))
    initialise(ours, compute.generator("weights", plan.seed))
    ours.to(machine.device)
    model, step = plain_steps(plan, ours, machine)
    batches = Batches(train, seed=plan.seed, batch_size=plan.batch_size, context=plan.context)
    heldout = Heldout(open_shards(tokens, "heldout"), context=plan.context, tokens=plan.evaluate_tokens, rows=8)
    curve = []
    for number in range(plan.steps):
        step(batches[number], rate(plan, number))
        if (number + 1) % plan.evaluate_every == 0 or number + 1 == plan.steps:
            ours.load_state_dict(named_as_ours(model.state_dict(), ours))
            curve.append(((number + 1) * plan.step_tokens, heldout.bits_per_byte(ours, machine)))
    return curve


def plain_steps(
    plan: TrainingPlan, ours: Transformer, machine: compute.Machine
) -> tuple[Plain, Callable[[Batch, float], None]]:
    """A network as nanoGPT writes it, with our weights, and its training step with torch's AdamW."""
    model = plain(Case(name="", plan=plan, vocabulary=ours.shape.vocabulary), ours).to(machine.device).train()
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}],
        betas=(plan.beta1, plan.beta2),
        fused=True,
    )
    kind = machine.device.partition(":")[0]

    def step(batch: Batch, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(kind, machine.dtype, enabled=machine.precision == "bfloat16"):
            loss = model(batch[0].to(machine.device), batch[1].to(machine.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return model, step


def named_as_ours(weights: Mapping[str, torch.Tensor], ours: Transformer) -> dict[str, torch.Tensor]:
    """The plain network's weights under our names."""
    names = renamed({name: name for name in ours.state_dict()}, PLAIN_NAMES)
    return {own: weights[theirs] for theirs, own in names.items()}


def step_seconds(size: Size, repeats: int = 15) -> dict[str, float]:
    """Processor time of a step by style: the median of some, taken in turns after a few to warm up."""
    compute.keep_freed_memory()
    plans = {"modern": modern(size.plan(1)), "paper": papers_style(size.plan(1))}
    machine = compute.machine("auto", "auto")
    ids = torch.randint(VOCABULARY, (8, plans["paper"].context + 1), generator=compute.generator("ids"))
    batch = ids[:, :-1], ids[:, 1:]
    steps = {style: _our_step(plan, batch, machine) for style, plan in plans.items()}
    network = Transformer(plans["paper"].shape(VOCABULARY)).to(machine.device)
    plain_step = plain_steps(plans["paper"], network, machine)[1]
    steps[PLAIN] = lambda: plain_step(batch, 1e-4)
    times: dict[str, list[float]] = {style: [] for style in steps}
    for _ in range(repeats + 3):
        for style, step in steps.items():
            started = time.process_time()
            step()
            times[style].append(time.process_time() - started)
    return {style: statistics.median(taken[3:]) for style, taken in times.items()}


def _our_step(plan: TrainingPlan, batch: Batch, machine: compute.Machine) -> Callable[[], None]:
    model = Transformer(plan.shape(VOCABULARY)).to(machine.device).train()
    optimizer = Optimizer(model, plan, machine.dtype)

    def step() -> None:
        train_step(
            model, optimizer, [batch], tokens=plan.step_tokens, rate=plan.peak_rate, clip=plan.clip, machine=machine
        )

    return step


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
    seconds = step_seconds(size)
    for seed in seeds:
        base = papers_style(size.plan(seed))
        tried = [trained(replace(base, peak_rate=one), "paper", size=size, tokens=tokens, out=out) for one in RATES]
        paper = min(tried, key=lambda run: run.heldout_bits_per_byte)
        loop = trained(replace(base, peak_rate=paper.rate), PLAIN, size=size, tokens=tokens, out=out)
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
        for other in (paper, loop):
            wanted = reached(other.heldout_bits_per_byte, runs)
            share = wanted / other.tokens
            found.append(
                Comparison(
                    size=size.name,
                    seed=seed,
                    against=other.style,
                    rate=other.rate,
                    bits_per_byte=other.heldout_bits_per_byte,
                    tokens=other.tokens,
                    modern_tokens=wanted,
                    token_share=share,
                    time_share=share * seconds["modern"] / seconds[other.style],
                )
            )
    return found


def drawn(runs: Sequence[Outcome], size: str) -> str:
    """Held-out loss by tokens of one size: the papers' way at its best rates, nanoGPT's, the longest modern; as SVG."""
    best: dict[int, Outcome] = {}
    for run in runs:
        before = best.get(run.seed, run)
        if (run.size, run.style) == (size, "paper") and run.heldout_bits_per_byte <= before.heldout_bits_per_byte:
            best[run.seed] = run
    longest = max(run.tokens for run in runs if run.style == "modern")
    shown = list(best.values())
    shown += [run for run in runs if (run.size, run.style, run.seed) == (size, PLAIN, 1)]
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
    print("size   seed  against  rate    bits per byte     tokens  modern's tokens  share  processor time")
    for row in rows:
        print(
            f"{row.size:<6} {row.seed:>4}  {row.against:<7}  {row.rate:<6g}  {row.bits_per_byte:>13.4f}  {row.tokens:>9,}  "
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
