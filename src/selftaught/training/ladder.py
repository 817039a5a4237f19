"""Four sizes trained on the same tokens in a given time, like the paper's four: planned from a measurement of the machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from selftaught import compute, console
from selftaught.model import cost
from selftaught.model.initial import initialise
from selftaught.model.transformer import Transformer
from selftaught.tokens.shards import open_shards
from selftaught.training.optimizer import Optimizer
from selftaught.training.plan import RECIPES, TrainingPlan
from selftaught.training.step import train_step

HEAD_SIZE = 32
RUNGS = (
    (1, 32), (2, 48), (2, 64), (2, 96), (3, 128), (4, 160), (4, 192), (4, 256), (5, 320), (6, 384), (8, 448), (8, 576), (10, 704)
)  # fmt: skip
"""(layers, channels), each about 1.6 times as many parameters as the one before."""
SIZES, APART = 4, 2
TOKENS_PER_PARAMETER = 0.5
"""A larger top size is chosen only if there is time for at least this many tokens for each of its parameters."""
RESERVE = 0.92
"""Share of the time that is planned for; the rest is for start-up, checkpoints and held-out measurements."""
PEAK_RATE, RATE_CHANNELS = 0.01, 256
"""Highest learning rate at 256 channels; at others in inverse proportion to the root of the channels (docs/train.md)."""
Speed = Callable[[TrainingPlan, int], float]
"""Plan and vocabulary -> tokens per second."""


def plan_for(*, minutes: float, tokens: Path, seed: int = 1, speed: Speed | None = None) -> dict[str, TrainingPlan]:
    """Plans of four sizes, smallest first, that together train for `minutes` on this machine (or at the given `speed`)."""
    shards = open_shards(tokens)
    measure = speed or measure_speed
    started = time.monotonic()
    console.line("measuring how fast this machine trains")
    plans = [plan_of(rung, seed) for rung in RUNGS]
    middle = plans[7]
    flops = measure(middle, shards.vocabulary_size) * _flops(middle, shards.vocabulary_size)
    chosen = _choose(plans, 60 * minutes * RESERVE, flops, shards.vocabulary_size)
    seconds_per_token = [1 / measure(plan, shards.vocabulary_size) for plan in chosen]
    left = max(60 * minutes * RESERVE - (time.monotonic() - started if speed is None else 0.0), 1.0)
    steps = max(1, round(left / sum(seconds_per_token) / (chosen[0].batch_size * chosen[0].context)))
    ladder = {
        f"{plan.layers}x{plan.channels}": replace(
            plan, steps=steps, warmup_steps=max(1, steps // 20), evaluate_every=max(1, steps // 10)
        )
        for plan in chosen
    }
    _show(ladder, seconds_per_token, shards.vocabulary_size)
    return ladder


def plan_of(rung: tuple[int, int], seed: int) -> TrainingPlan:
    """The laptop recipe for a size."""
    layers, channels = rung
    return replace(
        RECIPES["laptop"],
        layers=layers,
        heads=max(1, channels // HEAD_SIZE) if channels % HEAD_SIZE == 0 else channels // 16,
        channels=channels,
        peak_rate=round(PEAK_RATE * (RATE_CHANNELS / channels) ** 0.5, 4),
        seed=seed,
    )


def _choose(plans: list[TrainingPlan], seconds: float, flops: float, vocabulary: int) -> list[TrainingPlan]:
    """The largest ladder whose top size gets enough tokens, assuming the same FLOP/s at every size."""
    for top in range(len(plans) - 1, APART * (SIZES - 1), -1):
        ladder = plans[top - APART * (SIZES - 1) : top + 1 : APART]
        tokens = seconds * flops / sum(_flops(plan, vocabulary) for plan in ladder)
        if tokens >= TOKENS_PER_PARAMETER * cost.parameters(ladder[-1].shape(vocabulary)):
            return ladder
    return plans[: APART * (SIZES - 1) + 1 : APART]


def _flops(plan: TrainingPlan, vocabulary: int) -> int:
    return cost.training_flops_per_token(plan.shape(vocabulary))


def measure_speed(plan: TrainingPlan, vocabulary: int, *, seconds: float = 1.0) -> float:
    """Tokens per second of training steps on random ids, after one step to warm up: the median of two steps and more."""
    machine = compute.machine("auto", plan.precision)
    model = Transformer(plan.shape(vocabulary))
    initialise(model, compute.generator("speed"))
    model.to(machine.device).train()
    optimizer = Optimizer(model, plan)
    ids = torch.randint(vocabulary, (plan.batch_size, plan.context + 1), generator=compute.generator("speed"))
    per_step = plan.batch_size * plan.context
    times: list[float] = []
    started = time.monotonic()
    while len(times) < 3 or time.monotonic() - started < seconds:
        begun = time.monotonic()
        train_step(
            model,
            optimizer,
            [(ids[:, :-1], ids[:, 1:])],
            tokens=per_step,
            rate=plan.peak_rate,
            clip=plan.clip,
            machine=machine,
        )
        times.append(time.monotonic() - begun)
    return per_step / statistics.median(times[1:])


def _show(ladder: dict[str, TrainingPlan], seconds_per_token: list[float], vocabulary: int) -> None:
    rows = [
        (name, f"{cost.parameters(plan.shape(vocabulary)):,}", f"{plan.tokens:,}", f"{seconds * plan.tokens / 60:.1f}")
        for (name, plan), seconds in zip(ladder.items(), seconds_per_token, strict=True)
    ]
    console.table(["layers x channels", "parameters", "tokens", "minutes"], rows)
