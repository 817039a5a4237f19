"""The named plans: the papers' sizes and one for a laptop, in the papers' style or in what needs fewer tokens today.

A recipe's docstring says where its numbers come from, what it costs and what it should reach.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

from selftaught.model.shape import NAMED_SHAPES
from selftaught.training.plan import TrainingPlan


def _gpt1() -> TrainingPlan:
    """GPT-1 (paper, section 4.1): 117M parameters, batches of 64 x 512 tokens, the rate up to 2.5e-4 in 2,000 steps.

    Then a cosine to zero; Adam with decoupled decay 0.01, dropout 0.1. The paper trains for 100 epochs of BooksCorpus, whose
    size in tokens it does not print; at about 10^9 of them an epoch is 30,000 steps, and the plan's steps are 100 of those.
    Say --steps for your text. Costs 7 * 10^19 FLOPs (0.7 GFLOP a token); takes 2 GB, and 1.4 GB for eight rows at a time.
    Reaches a perplexity of 18.4 there.
    """
    return _paper("gpt1", steps=3_000_000, batch_size=64, peak_rate=2.5e-4, weight_decay=0.01, beta2=0.999)


def _gpt2_small() -> TrainingPlan:
    """GPT-2's smallest (paper, section 2.3 and table 2): 124M parameters, batches of 512 x 1,024 tokens.

    The paper prints neither steps nor schedule, and tunes the rate of each size on 5 % of the text: so does --tune-rate.
    Warm-up, cosine to a tenth, betas, clipping and the rate given here follow GPT-3 for equal sizes (Brown et al. 2020, table
    2.1 and appendix B). 100,000 steps are 52 G tokens, some five epochs of 40 GB of text. Costs 4.2 * 10^19 FLOPs (0.80 GFLOP
    a token); takes 2 GB and 3 GB for eight rows at a time. Should reach the released weights' 29.4 on WikiText-2 and 35.1 on
    LAMBADA (table 3) on text like theirs.
    """
    return _paper("gpt2-small", peak_rate=6e-4)


def _gpt2_medium() -> TrainingPlan:
    """GPT-2's second (paper, table 2, there 345M): 355M parameters; all else as `gpt2-small`.

    Costs 1.2 * 10^20 FLOPs (2.3 GFLOP a token); takes 6 GB and 8 GB for eight rows at a time. Should reach 22.8 on WikiText-2
    and 15.6 on LAMBADA (table 3).
    """
    return _paper("gpt2-medium", peak_rate=3e-4)


def _gpt2_large() -> TrainingPlan:
    """GPT-2's third (paper, table 2, there 762M): 774M parameters; all else as `gpt2-small`.

    Costs 2.6 * 10^20 FLOPs (4.9 GFLOP a token); takes 14 GB and 14 GB for eight rows at a time. Should reach 19.9 on
    WikiText-2 and 10.9 on LAMBADA (table 3).
    """
    return _paper("gpt2-large", peak_rate=2.5e-4)


def _gpt2_xl() -> TrainingPlan:
    """GPT-2 itself (paper, table 2, there 1542M): 1,558M parameters; all else as `gpt2-small`.

    Costs 5.1 * 10^20 FLOPs (9.8 GFLOP a token), a day and a half on eight H100s at half of their peak; takes 28 GB and 24 GB
    for eight rows at a time. Should reach 18.3 on WikiText-2 and 8.6 on LAMBADA (table 3).
    """
    return _paper("gpt2-xl", peak_rate=2e-4)


def _paper(name: str, **changes: Any) -> TrainingPlan:
    """What the papers' recipes have in common, on a named shape."""
    shape = NAMED_SHAPES[name]
    common = {
        "layers": shape.layers,
        "heads": shape.heads,
        "channels": shape.channels,
        "context": shape.context,
        "norm": shape.norm,
        "dropout": shape.dropout,
        "steps": 100_000,
        "batch_size": 512,
        "micro_batch_size": 8,
        "warmup_steps": 2000,
        "final_rate": 0.0 if name == "gpt1" else 0.1,
        "evaluate_every": 1000,
        "evaluate_tokens": 1 << 20,
        "checkpoint_seconds": 900.0,
    }
    return TrainingPlan(**{**common, **changes})


def _laptop() -> TrainingPlan:
    """4.3M parameters in about ten minutes on two cores: GPT-2's network, with what learns fastest from little text.

    In the modern style; Muon and its rate are from the sweep in docs/train.md. Batches are small, since steps are what a few
    minutes lack. Costs 7 * 10^13 FLOPs (27 MFLOP a token) for 2.5 M tokens; takes 150 MB. Reaches some 1.3 bits per byte on
    the documentation of Python's standard library.
    """
    return modern(TrainingPlan(batch_size=8, micro_batch_size=8, steps=1200, warmup_steps=60))


ADAMW_RATE = 4e-3
"""AdamW's best rate for networks of a few million parameters (docs/train.md)."""
MUON_RATE, MUON_CHANNELS = 0.01, 256
"""Muon's highest rate at 256 channels (docs/train.md)."""


def muon_rate(channels: int) -> float:
    """Muon's highest rate for a width: in inverse proportion to the root of the channels."""
    return round(MUON_RATE * math.sqrt(MUON_CHANNELS / channels), 4)


def modern(plan: TrainingPlan) -> TrainingPlan:
    """A plan with the same network, batches and length, trained by what is known today to need fewer tokens.

    Muon for the matrices of the blocks with AdamW for the rest, and a straight line to zero (sources and measurements:
    docs/train.md). Embeddings learn faster and gains slower than matrices, and all means forget sooner than usual. Rates and
    means were tuned on networks of up to 5M parameters and short runs, and are carried over to larger ones.
    """
    return replace(
        plan,
        optimizer="muon",
        momentum=0.9,
        peak_rate=muon_rate(plan.channels),
        embedding_rate=3.0,
        gain_rate=0.5,
        schedule="linear",
        final_rate=0.0,
        weight_decay=0.1,
        beta1=0.65,
        beta2=0.99,
    )


def papers_style(plan: TrainingPlan) -> TrainingPlan:
    """A plan with the same network, batches and length, trained as the GPT-2 and GPT-3 papers do."""
    return replace(
        plan, optimizer="adamw", peak_rate=ADAMW_RATE, schedule="cosine", final_rate=0.1, weight_decay=0.1, beta2=0.95
    )


PAPERS: dict[str, TrainingPlan] = {
    "gpt1": _gpt1(),
    "gpt2-small": _gpt2_small(),
    "gpt2-medium": _gpt2_medium(),
    "gpt2-large": _gpt2_large(),
    "gpt2-xl": _gpt2_xl(),
}
RECIPES: dict[str, TrainingPlan] = {"laptop": _laptop(), **PAPERS}
Style = Literal["own", "paper", "modern"]


def recipes(style: Style = "own") -> dict[str, TrainingPlan]:
    """The named plans: `laptop`, `gpt1`, `gpt2-small` to `gpt2-xl`, all in one `style` or each in its own.

    The papers' recipes are in the papers' style, `laptop` is modern.
    """
    if style == "modern":
        return {name: modern(plan) for name, plan in RECIPES.items()}
    if style == "paper":
        return {name: PAPERS.get(name) or papers_style(plan) for name, plan in RECIPES.items()}
    return dict(RECIPES)
