"""How large a network is: layers, heads, channels, context, vocabulary; and the sizes that have names.

Importing this module does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from selftaught.errors import UsageError
from selftaught.settings import unknown_name


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Every number that fixes the parameters of a network. Raises UsageError for an impossible combination."""

    layers: int
    heads: int
    """Attention heads of a layer; they share the channels equally."""
    channels: int
    """Width of the residual stream."""
    context: int
    """Largest number of tokens that the network sees at once."""
    vocabulary: int
    """Number of token ids."""
    norm: Literal["before", "after"] = "before"
    """Layer normalisation before each sub-layer, with one more at the end (GPT-2 paper, section 2.3), or after it (GPT-1)."""
    dropout: float = 0.0
    """Share of embeddings, attention weights and sub-layer outputs that training zeroes (GPT-1 paper, section 4.1: 0.1)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in _COUNTS and getattr(self, field.name) < 1:
                raise UsageError(f"a model cannot have {getattr(self, field.name)} {field.name}", expected="1 or more")
        if self.channels % self.heads:
            raise UsageError(
                f"{self.heads} heads cannot share {self.channels} channels",
                expected="channels divisible by heads",
                hint=f"Type: --channels {self.heads * max(1, round(self.channels / self.heads))}",
            )
        if self.norm not in ("before", "after"):
            raise unknown_name("place of normalisation", self.norm, ("before", "after"))
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout {self.dropout:g} is impossible", expected="0 or more and less than 1")

    @property
    def head_size(self) -> int:
        """Channels of one head."""
        return self.channels // self.heads


_COUNTS = ("layers", "heads", "channels", "context", "vocabulary")


def _gpt2(layers: int, heads: int, channels: int) -> ModelShape:
    return ModelShape(layers=layers, heads=heads, channels=channels, context=1024, vocabulary=50257)


def _laptop(layers: int, heads: int, channels: int) -> ModelShape:
    return ModelShape(layers=layers, heads=heads, channels=channels, context=256, vocabulary=4096)


NAMED_SHAPES: dict[str, ModelShape] = {
    "2x64": _laptop(2, 2, 64),
    "3x128": _laptop(3, 2, 128),
    "4x192": _laptop(4, 3, 192),
    "4x256": _laptop(4, 4, 256),
    "6x384": _laptop(6, 6, 384),
    "gpt1": ModelShape(
        layers=12, heads=12, channels=768, context=512, vocabulary=40478, norm="after", dropout=0.1
    ),  # GPT-1 paper, section 4.1
    "gpt2-small": _gpt2(12, 12, 768),  # GPT-2 paper, table 2; heads as in the released models
    "gpt2-medium": _gpt2(24, 16, 1024),
    "gpt2-large": _gpt2(36, 20, 1280),
    "gpt2-xl": _gpt2(48, 25, 1600),
}
"""The papers' sizes, and small ones (layers x channels) for a laptop and a vocabulary of 4,096."""


def named_shape(name: str) -> ModelShape:
    """Return a shape by its name. Raises UsageError, with the nearest name, if there is none."""
    if name not in NAMED_SHAPES:
        raise unknown_name("model shape", name, NAMED_SHAPES)
    return NAMED_SHAPES[name]
