"""Plans of fine-tuning runs: every setting, with GPT-1's values as defaults. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from selftaught.compute import DeviceName, PrecisionName
from selftaught.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class FinetuningPlan:
    """Every setting of a fine-tuning run. Sections are the GPT-1 paper's."""

    epochs: int = 3
    """Times that the training rows are seen (section 4.1)."""
    batch_size: int = 32
    """Examples in a step (section 4.1)."""
    peak_rate: float = 6.25e-5
    """Highest learning rate (section 4.1); networks of a few million weights want a larger one (docs/finetune.md)."""
    warmup: float = 0.002
    """Share of all steps over which the rate rises from zero; then it falls in a straight line to zero (section 4.1)."""
    auxiliary: bool = True
    """Also learn to predict the task's text, as in pre-training (section 3.2)."""
    auxiliary_weight: float = 0.5
    """Weight of that loss, the paper's lambda (section 4.1)."""
    classifier_dropout: float = 0.1
    """On the representation that the classifier sees (section 4.1)."""
    dropout: float = 0.1
    """On embeddings, attention and residuals, as in GPT-1's pre-training (section 4.1)."""
    clip: float = 1.0
    """Largest norm of the gradient (OpenAI's code)."""
    optimizer: Literal["adamw", "openai"] = "adamw"
    """openai: Adam as in OpenAI's code, whose decay follows the bias-corrected rate."""
    weight_decay: float = 0.01
    """Of matrices and embeddings, none on biases and gains (section 4.1)."""
    beta1: float = 0.9
    """Share of the gradients' running mean that Adam keeps at each step."""
    beta2: float = 0.999
    """Share of the squared gradients' running mean that Adam keeps at each step."""
    scores: Literal["soft-classes", "regression"] = "soft-classes"
    """STS-B: a score between two whole numbers is shared out between their classes, as in OpenAI's code; or squared error."""
    network: Literal["transformer", "lstm"] = "transformer"
    """lstm: a single-layer LSTM in the same framework (section 5, table 5)."""
    lstm_units: int = 2048
    """Width of that LSTM (section 5)."""
    lstm_steps: int = 2000
    """Steps of its pre-training, if --lstm-tokens says on what."""
    lstm_batch_size: int = 16
    """Rows of such a step, as long as the model's context."""
    lstm_rate: float = 2e-3
    """Highest learning rate of its pre-training."""
    from_scratch: bool = False
    """Begin with random weights: no pre-training (section 5, table 5)."""
    layers_transferred: int | None = None
    """Blocks that keep their pre-trained weights, the first so many, beside the embeddings (section 5, figure 2); else all."""
    context: int = 0
    """Longest input in tokens, the three special ones included; 0 is the model's."""
    train_rows: int = 0
    """Use so many training rows, drawn by lot, the same for every seed; 0 is all."""
    dev_rows: int = 0
    """Use so many rows of each of the other sets; 0 is all."""
    skip_unusable: bool = False
    """Leave out and count rows that cannot be used (an empty text, no such column, an unknown label), instead of stopping."""
    seed: int = 1
    """First seed: of new weights, order of examples and dropout."""
    seeds: int = field(default=1, metadata={"changeable": True})
    """Runs with seeds one apart; results are their median."""
    precision: PrecisionName = "auto"
    """Format of matrix products; auto is bfloat16 where the machine has it. Weights and losses are float32 always."""
    device: DeviceName = field(default="auto", metadata={"changeable": True})
    """Where to compute."""
    micro_batch_tokens: int = field(default=16384, metadata={"changeable": True})
    """Tokens computed at a time, less memory the fewer; the step is the same but for rounding and the places of dropout."""
    log_every: int = field(default=20, metadata={"changeable": True})
    """Steps between rows of log.jsonl."""
    checkpoint_seconds: float = field(default=60.0, metadata={"changeable": True})
    """Time between checkpoints; a power cut loses at most this much."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        for name in (
            "epochs",
            "batch_size",
            "lstm_units",
            "lstm_steps",
            "lstm_batch_size",
            "seeds",
            "micro_batch_tokens",
            "log_every",
        ):
            _require(name, getattr(self, name) >= 1, "at least 1", getattr(self, name))
        for name in ("peak_rate", "lstm_rate", "clip"):
            _require(name, 0 < getattr(self, name) < math.inf, "more than 0", getattr(self, name))
        for name in ("dropout", "classifier_dropout", "beta1", "beta2", "warmup"):
            _require(name, 0 <= getattr(self, name) < 1, "0 or more and less than 1", getattr(self, name))
        for name in ("weight_decay", "auxiliary_weight", "checkpoint_seconds", "context", "train_rows", "dev_rows"):
            _require(name, 0 <= getattr(self, name) < math.inf, "0 or more", getattr(self, name))
        if self.layers_transferred is not None:
            _require("layers_transferred", self.layers_transferred >= 0, "0 or more", self.layers_transferred)
            if self.from_scratch or self.network == "lstm":
                raise UsageError(
                    "--layers-transferred says how much of a pre-trained Transformer is kept",
                    got="--from-scratch" if self.from_scratch else "--network lstm",
                )

    @property
    def language_weight(self) -> float:
        """Weight of the auxiliary loss, 0 without it."""
        return self.auxiliary_weight if self.auxiliary else 0.0

    @property
    def variant(self) -> str:
        """What sets this plan apart from the paper's full method, as the name of a folder."""
        words = [
            *(["lstm"] if self.network == "lstm" else []),
            *(["from-scratch"] if self.from_scratch and self.network == "transformer" else []),
            *([f"layers-{self.layers_transferred}"] if self.layers_transferred is not None else []),
            *(["no-auxiliary"] if not self.language_weight else []),
        ]
        return "-".join(words) or "full"


def _require(name: str, holds: bool, expected: str, got: float) -> None:  # noqa: FBT001  # what holds is said where it is called
    if not holds:
        raise UsageError(f"--{name.replace('_', '-')} is out of range", expected=expected, got=f"{got:g}")


def ablations(plan: FinetuningPlan) -> list[FinetuningPlan]:
    """The four plans of table 5: the full method, without the auxiliary loss, without pre-training, and an LSTM."""
    full = replace(plan, auxiliary=True, from_scratch=False, network="transformer", layers_transferred=None)
    return [full, replace(full, auxiliary=False), replace(full, from_scratch=True), replace(full, network="lstm")]


def layer_curve(plan: FinetuningPlan, layers: int) -> list[FinetuningPlan]:
    """Figure 2, left: 0, 1, ... all layers transferred."""
    whole = replace(plan, from_scratch=False, network="transformer")
    return [replace(whole, layers_transferred=count) for count in range(layers + 1)]
