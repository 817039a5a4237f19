"""Choosing the next token: pure functions of logits, settings and a generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from selftaught.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How tokens are drawn."""

    temperature: float = 1.0
    """Divides the logits; 0 takes the most probable token always."""
    top_k: int = 40
    """Draw among the k most probable tokens (GPT-2 paper, section 8.3: 40); 0 among all."""
    top_p: float = 1.0
    """Draw among the fewest tokens whose probabilities sum to at least p."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn from."""
        if not self.temperature >= 0:
            raise UsageError("--temperature is too low", expected="0 or more", got=f"{self.temperature:g}")
        if self.top_k < 0:
            raise UsageError("--top-k is too low", expected="0 (all tokens) or more", got=str(self.top_k))
        if not 0 < self.top_p <= 1:
            raise UsageError("--top-p is a probability", expected="0 < p <= 1", got=f"{self.top_p:g}")

    def words(self) -> str:
        """The settings in words, as kept with each sample."""
        if self.temperature == 0:
            return "greedy"
        parts = [f"top-k {self.top_k}"] if self.top_k else []
        parts += [f"top-p {self.top_p:g}"] if self.top_p < 1 else []
        return ", ".join([*parts, f"temperature {self.temperature:g}"])


def choose(logits_V: torch.Tensor, rules: SamplingSettings, generator: torch.Generator) -> int:
    """Draw one token from logits."""
    if rules.temperature == 0:
        return int(logits_V.argmax())
    kept = keep_top_p(keep_top_k(logits_V / rules.temperature, rules.top_k), rules.top_p)
    return int(torch.multinomial(kept.softmax(-1), 1, generator=generator))


def keep_top_k(logits_V: torch.Tensor, k: int) -> torch.Tensor:
    """Logits with all but the k highest at minus infinity (all kept for k = 0)."""
    if k == 0 or k >= len(logits_V):
        return logits_V
    values, places = logits_V.topk(k)
    return torch.full_like(logits_V, -torch.inf).scatter_(0, places, values)


def keep_top_p(logits_V: torch.Tensor, p: float) -> torch.Tensor:
    """Logits with all but the fewest most probable tokens that reach p together at minus infinity."""
    if p >= 1:
        return logits_V
    values, places = logits_V.sort(descending=True)
    before = values.softmax(-1).cumsum(-1) - values.softmax(-1)
    return torch.full_like(logits_V, -torch.inf).scatter_(0, places, values.masked_fill(before >= p, -torch.inf))
