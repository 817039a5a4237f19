"""Plans of pre-training runs: every setting, and the papers' and the laptop's values of them. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from selftaught.errors import UsageError
from selftaught.model.shape import NAMED_SHAPES, ModelShape


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Every setting of a pre-training run. The vocabulary is the token shards' own."""

    layers: int = 4
    heads: int = 4
    channels: int = 256
    context: int = 256
    """Tokens in a training example."""
    norm: Literal["before", "after"] = "before"
    """Layer normalisation before each sub-block (GPT-2) or after it (GPT-1)."""
    dropout: float = 0.0
    steps: int = 600
    """Optimizer steps; with batch size and context, the number of tokens trained on."""
    batch_size: int = 16
    """Examples in a step."""
    micro_batch_size: int = field(default=16, metadata={"changeable": True})
    """Examples computed at a time; the step is the same whatever it is, but for rounding."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: Muon for the matrices of the blocks (Jordan et al. 2024, scaled as in Liu et al. 2025), AdamW for the rest."""
    peak_rate: float = 3e-3
    """Highest learning rate."""
    warmup_steps: int = 50
    """Steps over which the rate rises from zero."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the rate falls after the warm-up."""
    final_rate: float = 0.0
    """Last learning rate, as a share of the highest."""
    weight_decay: float = 0.1
    """Of matrices and embeddings; none on biases and gains."""
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    """Largest norm of the gradient."""
    seed: int = 1
    """Seed of weights, order of examples and dropout."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Format of matrix products; auto measures which is faster here. Weights and losses are float32 always."""
    evaluate_every: int = field(default=100, metadata={"changeable": True})
    """Steps between measurements on held-out text."""
    evaluate_tokens: int = field(default=16384, metadata={"changeable": True})
    """Held-out tokens of such a measurement, the same ones each time."""
    log_every: int = field(default=10, metadata={"changeable": True})
    """Steps between rows of log.jsonl."""
    checkpoint_seconds: float = field(default=60.0, metadata={"changeable": True})
    """Time between checkpoints; a power cut loses at most this much."""

    def __post_init__(self) -> None:
        """Refuse a plan that cannot be run."""
        for name in ("steps", "batch_size", "micro_batch_size", "evaluate_every", "evaluate_tokens", "log_every"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"--{name.replace('_', '-')} is too small", expected="at least 1", got=str(getattr(self, name))
                )
        if self.batch_size % self.micro_batch_size:
            raise UsageError(
                "--micro-batch-size must divide --batch-size",
                expected=f"a divisor of {self.batch_size}",
                got=str(self.micro_batch_size),
            )
        if self.peak_rate <= 0:
            raise UsageError("--peak-rate is too small", expected="more than 0", got=f"{self.peak_rate:g}")
        self.shape(vocabulary=1)

    def shape(self, vocabulary: int) -> ModelShape:
        """The network's shape for a vocabulary."""
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
    def tokens(self) -> int:
        """Tokens trained on in all."""
        return self.steps * self.batch_size * self.context


def _gpt2(name: str) -> TrainingPlan:
    """GPT-2: batches of 512 x 1,024 tokens (section 2.3); the rest is not printed and follows GPT-3 and nanoGPT.

    The paper tunes each size's learning rate on 5 % of the text; these are GPT-3's for equal sizes (Brown et al. 2020,
    table 2.1).
    """
    shape = NAMED_SHAPES[name]
    rates = {"gpt2-small": 6e-4, "gpt2-medium": 3e-4, "gpt2-large": 2.5e-4, "gpt2-xl": 2e-4}
    return TrainingPlan(
        layers=shape.layers,
        heads=shape.heads,
        channels=shape.channels,
        context=shape.context,
        steps=100_000,
        batch_size=512,
        micro_batch_size=8,
        peak_rate=rates[name],
        warmup_steps=2000,
        final_rate=0.1,
        evaluate_every=1000,
        evaluate_tokens=1 << 20,
        checkpoint_seconds=900.0,
    )


def _gpt1() -> TrainingPlan:
    """GPT-1, section 4.1: batches of 64 x 512, 2,000 steps up to 2.5e-4, cosine to zero, dropout 0.1, Adam with decay 0.01."""
    shape = NAMED_SHAPES["gpt1"]
    return replace(
        _gpt2("gpt2-small"),
        norm=shape.norm,
        dropout=shape.dropout,
        context=shape.context,
        batch_size=64,
        peak_rate=2.5e-4,
        final_rate=0.0,
        weight_decay=0.01,
        beta2=0.999,
    )


# laptop: Muon and its rate from the sweep in docs/train.md; small batches, since steps are what a few minutes lack.
RECIPES: dict[str, TrainingPlan] = {
    "laptop": TrainingPlan(optimizer="muon", peak_rate=1e-2, batch_size=8, micro_batch_size=8, steps=1200),
    "gpt1": _gpt1(),
    **{name: _gpt2(name) for name in ("gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl")},
}


def recipes() -> dict[str, TrainingPlan]:
    """The named plans: `laptop`, `gpt1`, `gpt2-small` to `gpt2-xl`."""
    return dict(RECIPES)
