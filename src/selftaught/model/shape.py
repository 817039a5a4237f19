"""Shapes of networks, the papers' by name. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selftaught.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What a network is like; all else follows from it."""

    layers: int
    heads: int
    channels: int
    context: int = 1024
    """Positions that it can see at a time."""
    vocabulary: int = 50257
    norm: Literal["before", "after"] = "before"
    """Layer normalisation before each sub-block and once more at the end (GPT-2 paper, section 2.3), or after it (GPT-1)."""
    dropout: float = 0.0
    """On embeddings, attention and residuals in training (GPT-1 paper, section 4.1: 0.1)."""
    inner: int = 0
    """Width inside the feed-forward network; 0 means the papers' four times the channels."""
    activation: Literal["gelu-tanh", "gelu"] = "gelu-tanh"
    """The papers' released code approximates GELU by tanh; nanoGPT's checkpoints use the exact one."""
    norm_epsilon: float = 1e-5
    tied: bool = True
    """Whether the head is the token embedding itself; if not, it has a matrix of its own."""
    scale_by_layer: bool = False
    """Attention scores divided by the layer's number, from 1 (`scale_attn_by_inverse_layer_idx` of Hugging Face)."""
    attention_float32: bool = False
    """Attention scores and their softmax in float32 whatever the rest runs in (`reorder_and_upcast_attn`)."""

    @property
    def feed(self) -> int:
        """Width inside the feed-forward network."""
        return self.inner or 4 * self.channels

    def __post_init__(self) -> None:
        """Refuse a shape that cannot be built."""
        if self.inner < 0:
            raise UsageError("inner is a width", expected="0 or more", got=str(self.inner))
        for name in ("layers", "heads", "channels", "context", "vocabulary"):
            if getattr(self, name) < 1:
                raise UsageError(f"a network needs at least one of its {name}", got=str(getattr(self, name)))
        if self.channels % self.heads:
            raise UsageError(
                "heads must divide channels", expected=f"channels a multiple of {self.heads}", got=str(self.channels)
            )
        if not 0 <= self.dropout < 1:
            raise UsageError("dropout is a share", expected="0 <= dropout < 1", got=str(self.dropout))


GPT1 = ModelShape(layers=12, heads=12, channels=768, context=512, vocabulary=40478, norm="after", dropout=0.1)
"""GPT-1 paper, section 4.1."""
NAMED_SHAPES = {
    "gpt1": GPT1,
    "gpt2-small": ModelShape(layers=12, heads=12, channels=768),
    "gpt2-medium": ModelShape(layers=24, heads=16, channels=1024),
    "gpt2-large": ModelShape(layers=36, heads=20, channels=1280),
    "gpt2-xl": ModelShape(layers=48, heads=25, channels=1600),
}
"""GPT-2 paper, table 2 (heads from the released weights: the paper does not print them)."""
