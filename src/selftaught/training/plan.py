"""Plans of pre-training runs: every setting, and the papers' and the laptop's values of them. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from selftaught.errors import UsageError
from selftaught.model.shape import NAMED_SHAPES, ModelShape


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Every setting of a pre-training run. The vocabulary is the token shards' own."""

    layers: int = 4
    """Transformer blocks (GPT-2 paper, table 2: 12 to 48)."""
    heads: int = 4
    """Attention heads in a block; they share its channels out."""
    channels: int = 256
    """Width of the residual stream (GPT-2 paper, table 2: 768 to 1600)."""
    context: int = 256
    """Tokens in a training example (GPT-1 paper, section 4.1: 512; GPT-2 paper, section 2.3: 1024)."""
    norm: Literal["before", "after"] = "before"
    """Layer normalisation before each sub-block (GPT-2 paper, section 2.3) or after it (GPT-1)."""
    dropout: float = 0.0
    """On embeddings, attention and residuals (GPT-1 paper, section 4.1: 0.1; the GPT-2 paper says nothing)."""
    steps: int = 600
    """Optimizer steps; with batch size and context, the number of tokens trained on."""
    batch_size: int = 16
    """Examples in a step (GPT-1 paper, section 4.1: 64; GPT-2 paper, section 2.3: 512)."""
    micro_batch_size: int = field(default=16, metadata={"changeable": True})
    """Examples computed at a time, less memory the fewer; the step is the same whatever it is, but for rounding."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: Muon for the matrices of the blocks (Jordan et al. 2024, scaled as in Liu et al. 2025), AdamW for the rest."""
    peak_rate: float = 3e-3
    """Highest learning rate (GPT-1 paper, section 4.1: 2.5e-4; GPT-2 paper, section 3: tuned for each size)."""
    warmup_steps: int = 50
    """Steps over which the rate rises from zero (GPT-1 paper, section 4.1: 2000); at most half of all steps."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the rate falls after the warm-up (GPT-1 paper, section 4.1: cosine)."""
    final_rate: float = 0.0
    """Last learning rate, as a share of the highest (GPT-1 paper, section 4.1: 0)."""
    weight_decay: float = 0.1
    """Of matrices and embeddings, none on biases and gains (GPT-1 paper, section 4.1: 0.01)."""
    beta1: float = 0.9
    """Share of the gradients' running mean that AdamW keeps at each step."""
    beta2: float = 0.95
    """Share of the squared gradients' running mean that AdamW keeps at each step."""
    clip: float = 1.0
    """Largest norm of the gradient; a longer one is scaled down to it."""
    seed: int = 1
    """Seed of weights, order of examples and dropout."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Format of matrix products; auto is bfloat16 where the machine has it. Weights and losses are float32 always."""
    parallel: Literal["ddp", "fsdp"] = field(default="ddp", metadata={"changeable": True})
    """Under torchrun: ddp keeps all weights in every process, fsdp (FSDP2) a share in each, for networks too large for one."""
    evaluate_every: int = field(default=100, metadata={"changeable": True})
    """Steps between measurements on held-out text."""
    evaluate_tokens: int = field(default=16384, metadata={"changeable": True})
    """Held-out tokens of such a measurement, spread over all of the held-out text, the same ones each time."""
    log_every: int = field(default=10, metadata={"changeable": True})
    """Steps between rows of log.jsonl."""
    checkpoint_seconds: float = field(default=60.0, metadata={"changeable": True})
    """Time between checkpoints; a power cut loses at most this much."""
    checkpoints_kept: int = field(default=2, metadata={"changeable": True})
    """Checkpoints on the disk; more than one, so that a damaged newest does not cost the run."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have. What depends on several of them is refused by `shape`."""
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise _refusal(name, "at least 1", getattr(self, name))
        for name in ("peak_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise _refusal(name, "more than 0", getattr(self, name))
        for name in ("dropout", "beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise _refusal(name, "0 or more and less than 1", getattr(self, name))
        for name in ("warmup_steps", "weight_decay", "checkpoint_seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise _refusal(name, "0 or more", getattr(self, name))
        if not 0 <= self.final_rate <= 1:
            raise _refusal("final_rate", "0 to 1", self.final_rate)

    def shape(self, vocabulary: int) -> ModelShape:
        """The network's shape for a vocabulary. Raises UsageError if channels cannot be shared out among the heads."""
        return ModelShape(
            layers=self.layers,
            heads=self.heads,
            channels=self.channels,
            context=self.context,
            vocabulary=vocabulary,
            norm=self.norm,
            dropout=self.dropout,
        )

    @property
    def step_tokens(self) -> int:
        """Tokens trained on in one step."""
        return self.batch_size * self.context

    @property
    def tokens(self) -> int:
        """Tokens trained on in all."""
        return self.steps * self.step_tokens


_COUNTS = (
    *("layers", "heads", "channels", "context", "steps", "batch_size", "micro_batch_size"),
    *("evaluate_every", "evaluate_tokens", "log_every", "checkpoints_kept"),
)


def _refusal(name: str, expected: str, got: float) -> UsageError:
    return UsageError(f"--{name.replace('_', '-')} is out of range", expected=expected, got=f"{got:g}")


def _gpt1() -> TrainingPlan:
    """GPT-1 (paper, section 4.1): 117M parameters, batches of 64 x 512 tokens, the rate up to 2.5e-4 in 2,000 steps.

    Then a cosine to zero; Adam with decoupled decay 0.01, dropout 0.1. The paper trains for 100 epochs of BooksCorpus, whose
    size in tokens it does not print; at about 10^9 of them an epoch is 30,000 steps, and the plan's steps are 100 of those.
    Say --steps for your text. Reaches a perplexity of 18.4 there after about 10^20 FLOPs.
    """
    shape = NAMED_SHAPES["gpt1"]
    return TrainingPlan(
        layers=shape.layers,
        heads=shape.heads,
        channels=shape.channels,
        context=shape.context,
        norm=shape.norm,
        dropout=shape.dropout,
        steps=3_000_000,
        batch_size=64,
        micro_batch_size=8,
        peak_rate=2.5e-4,
        warmup_steps=2000,
        weight_decay=0.01,
        beta2=0.999,
        evaluate_every=1000,
        evaluate_tokens=1 << 20,
        checkpoint_seconds=900.0,
    )


def _gpt2(name: str, peak_rate: float) -> TrainingPlan:
    """GPT-2 (paper, section 2.3 and table 2): batches of 512 x 1,024 tokens; the paper prints neither steps nor schedule.

    Warm-up, cosine to a tenth, betas, clipping and the rate follow GPT-3 for equal sizes (Brown et al. 2020, table 2.1 and
    appendix B): the GPT-2 paper tunes each size's rate on 5 % of the text, so tune yours. 100,000 steps are 52 G tokens,
    some five epochs of 40 GB of text: about 4 * 10^19 FLOPs for `gpt2-small`, 5 * 10^20 for `gpt2-xl`.
    """
    shape = NAMED_SHAPES[name]
    return TrainingPlan(
        layers=shape.layers,
        heads=shape.heads,
        channels=shape.channels,
        context=shape.context,
        steps=100_000,
        batch_size=512,
        micro_batch_size=8,
        peak_rate=peak_rate,
        warmup_steps=2000,
        final_rate=0.1,
        evaluate_every=1000,
        evaluate_tokens=1 << 20,
        checkpoint_seconds=900.0,
    )


def _laptop() -> TrainingPlan:
    """4.3M parameters in about ten minutes on two cores: GPT-2's network, with what learns fastest from little text.

    Muon and its rate are from the sweep in docs/train.md; batches are small, since steps are what a few minutes lack.
    """
    return TrainingPlan(
        optimizer="muon",
        peak_rate=1e-2,
        schedule="linear",
        beta2=0.99,
        batch_size=8,
        micro_batch_size=8,
        steps=1200,
        warmup_steps=60,
    )


RECIPES: dict[str, TrainingPlan] = {
    "laptop": _laptop(),
    "gpt1": _gpt1(),
    "gpt2-small": _gpt2("gpt2-small", 6e-4),
    "gpt2-medium": _gpt2("gpt2-medium", 3e-4),
    "gpt2-large": _gpt2("gpt2-large", 2.5e-4),
    "gpt2-xl": _gpt2("gpt2-xl", 2e-4),
}


def recipes() -> dict[str, TrainingPlan]:
    """The named plans: `laptop`, `gpt1`, `gpt2-small` to `gpt2-xl`."""
    return dict(RECIPES)
