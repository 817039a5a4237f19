"""Four sizes trained on the same tokens in a given time, like the paper's four: planned from a measurement of the machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from selftaught import compute, console
from selftaught.errors import UsageError
from selftaught.model import cost
from selftaught.model.initial import initialise
from selftaught.model.transformer import Transformer
from selftaught.tokens.shards import Shards, open_shards
from selftaught.training.optimizer import Optimizer
from selftaught.training.plan import TrainingPlan
from selftaught.training.recipes import RECIPES, muon_rate
from selftaught.training.step import train_step

HEAD_SIZE = 32
RUNGS = (
    (1, 32), (2, 48), (2, 64), (2, 96), (3, 128), (4, 160), (4, 192), (4, 256), (5, 320), (6, 384), (8, 448), (8, 576), (10, 704)
)  # fmt: skip
"""(layers, channels), each about 1.6 times as many parameters as the one before."""
SIZES, APART = 4, 2
"""The ladder is every second rung: about 2.5 times as many parameters each, as in the paper (table 2: 2.9, 2.2, 2.0)."""
REFERENCE = 7
"""The rung whose FLOP/s stand for all of them while the sizes are chosen."""
TOKENS_PER_PARAMETER = 0.5
"""A larger top size is chosen only if there is time for at least this many tokens for each of its parameters."""
MOST_EPOCHS, PARAMETERS_PER_TEXT_TOKEN = 4, 4
"""Small texts: no size is trained for more epochs, nor has more parameters for each token of text (docs/train.md).

Beyond both, networks learn the text by heart and the held-out loss rises.
"""
START_SECONDS = 4.0
"""What a run takes besides its steps: imports, the last checkpoint."""
SMALLEST_SHARE = 0.3
"""Steps get at least this share of the minutes, however few these are."""
MEASUREMENTS = 10
"""Held-out measurements in a run."""
MEASURED_SHARE = 0.25
"""Held-out tokens of one, at most, as a share of the tokens trained on since the one before."""
WARMUP_SHARE = 0.05
Speed = Callable[[TrainingPlan, int], float]
"""Plan and vocabulary -> tokens per second."""


def plan_for(*, minutes: float, tokens: Path, seed: int = 1, speed: Speed | None = None) -> dict[str, TrainingPlan]:
    """Plans of four sizes by name, smallest first, that together take `minutes` on this machine (or at the given `speed`).

    All are trained on the same tokens in the same order. The measurement's own time is part of the minutes. Raises
    UsageError if there are none, InputError if the folder holds no token shards.
    """
    if not 0 < minutes < math.inf:
        raise UsageError("no time to train in", expected="more than 0 minutes", got=f"{minutes:g}")
    shards, started = open_shards(tokens), time.monotonic()
    console.line("measuring how fast this machine trains")
    rungs = [plan_of(rung, seed) for rung in RUNGS]
    largest = PARAMETERS_PER_TEXT_TOKEN * shards.tokens
    chosen = choose(rungs, 60 * minutes, shards.vocabulary_size, speed or measure_speed, largest=largest)
    seconds_per_token = [1 / (speed or measure_speed)(plan, shards.vocabulary_size) for plan in chosen]
    left = 60 * minutes - (0.0 if speed else time.monotonic() - started) - SIZES * START_SECONDS
    left = max(left, 60 * minutes * SMALLEST_SHARE)
    useful = MOST_EPOCHS * shards.tokens // chosen[0].step_tokens
    steps = max(1, min(_steps(left, chosen[0], sum(seconds_per_token)), useful))
    ladder = {f"{plan.layers}x{plan.channels}": _of_length(plan, steps) for plan in chosen}
    _show(ladder, seconds_per_token, shards)
    return ladder


def plan_of(rung: tuple[int, int], seed: int) -> TrainingPlan:
    """The laptop recipe for a size."""
    layers, channels = rung
    return replace(
        RECIPES["laptop"],
        layers=layers,
        heads=channels // HEAD_SIZE if channels % HEAD_SIZE == 0 else channels // (HEAD_SIZE // 2),
        channels=channels,
        peak_rate=muon_rate(channels),
        seed=seed,
    )


def choose(
    rungs: list[TrainingPlan], seconds: float, vocabulary: int, speed: Speed, *, largest: float = math.inf
) -> list[TrainingPlan]:
    """The largest ladder whose top size gets enough tokens in the time, as if every size ran at the same FLOP/s.

    `largest` is the number of parameters that the text can teach.
    """
    flops_per_second = speed(rungs[REFERENCE], vocabulary) * _flops(rungs[REFERENCE], vocabulary)
    smallest = APART * (SIZES - 1)
    for top in range(len(rungs) - 1, smallest, -1):
        ladder = rungs[top - smallest : top + 1 : APART]
        parameters = cost.parameters(ladder[-1].shape(vocabulary))
        tokens = seconds * flops_per_second / sum(_flops(plan, vocabulary) for plan in ladder)
        if tokens >= TOKENS_PER_PARAMETER * parameters and parameters <= largest:
            return ladder
    return rungs[: smallest + 1 : APART]


def _flops(plan: TrainingPlan, vocabulary: int) -> int:
    return cost.training_flops_per_token(plan.shape(vocabulary))


def _steps(seconds: float, plan: TrainingPlan, seconds_per_token: float) -> int:
    """Steps that fit beside the held-out measurements, whose tokens cost a third of those trained on."""
    there = seconds / seconds_per_token
    measured = (MEASUREMENTS + 2) / 3 * plan.evaluate_tokens
    share = (MEASUREMENTS + 2) / 3 * MEASURED_SHARE / MEASUREMENTS
    return max(1, round(max(there - measured, there / (1 + share)) / plan.step_tokens))


def _of_length(plan: TrainingPlan, steps: int) -> TrainingPlan:
    every = max(1, steps // MEASUREMENTS)
    return replace(
        plan,
        steps=steps,
        warmup_steps=max(1, round(steps * WARMUP_SHARE)),
        evaluate_every=every,
        evaluate_tokens=min(plan.evaluate_tokens, max(plan.context, int(every * plan.step_tokens * MEASURED_SHARE))),
    )


def measure_speed(plan: TrainingPlan, vocabulary: int, *, seconds: float = 1.0) -> float:
    """Tokens per second of training steps on random ids: the median of two steps and more, after one to warm up."""
    compute.keep_freed_memory()
    machine = compute.machine("auto", plan.precision)
    model = Transformer(plan.shape(vocabulary))
    initialise(model, compute.generator("speed"))
    model.to(machine.device).train()
    optimizer = Optimizer(model, plan, machine.dtype)
    ids = torch.randint(vocabulary, (plan.batch_size, plan.context + 1), generator=compute.generator("speed"))
    times: list[float] = []
    started = time.monotonic()
    while len(times) < 3 or time.monotonic() - started < seconds:
        begun = time.monotonic()
        train_step(
            model,
            optimizer,
            [(part[:, :-1], part[:, 1:]) for part in torch.split(ids, plan.micro_batch_size)],
            tokens=plan.step_tokens,
            rate=plan.peak_rate,
            clip=plan.clip,
            machine=machine,
        )
        times.append(time.monotonic() - begun)
    return plan.step_tokens / statistics.median(times[1:])


def _show(ladder: dict[str, TrainingPlan], seconds_per_token: list[float], shards: Shards) -> None:
    rows = [
        (
            name,
            f"{cost.parameters(plan.shape(shards.vocabulary_size)):,}",
            f"{plan.tokens:,}",
            f"{plan.tokens / shards.tokens:.1f}",
            f"{seconds * plan.tokens / 60:.1f}",
        )
        for (name, plan), seconds in zip(ladder.items(), seconds_per_token, strict=True)
    ]
    console.table(["layers x channels", "parameters", "tokens", "epochs", "minutes"], rows)
