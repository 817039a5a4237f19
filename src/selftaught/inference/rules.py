"""How tokens are drawn, as settings. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

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
    min_p: float = 0.0
    """Draw among tokens at least p times as probable as the most probable one; 0 among all."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens that were there before (CTRL, section 4.1); 1 for none."""
    frequency_penalty: float = 0.0
    """Taken from the logit of a token for each time that it was drawn."""
    presence_penalty: float = 0.0
    """Taken from the logit of a token that was drawn at least once."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Ids, and what is added to the logit of each before all else: -100 bars a token, 100 forces it."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn from."""
        if not 0 <= self.temperature < float("inf"):
            raise UsageError("--temperature is out of range", expected="0 or more", got=f"{self.temperature:g}")
        if self.top_k < 0:
            raise UsageError("--top-k is too low", expected="0 (all tokens) or more", got=str(self.top_k))
        if not 0 < self.top_p <= 1:
            raise UsageError("--top-p is a probability", expected="0 < p <= 1", got=f"{self.top_p:g}")
        if not 0 <= self.min_p <= 1:
            raise UsageError("--min-p is a probability", expected="0 <= p <= 1", got=f"{self.min_p:g}")
        if not 0 < self.repetition_penalty < float("inf"):
            raise UsageError(
                "--repetition-penalty is out of range",
                expected="more than 0; 1 for none",
                got=f"{self.repetition_penalty:g}",
            )
        for name in ("frequency_penalty", "presence_penalty"):
            if not -float("inf") < getattr(self, name) < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} is not a number", got=f"{getattr(self, name):g}")
        for token, value in self.logit_bias:
            if token < 0 or not -float("inf") < value < float("inf"):
                raise UsageError("--logit-bias is an id and a number", got=f"{token} {value:g}")

    @property
    def penalises(self) -> bool:
        """Whether the text so far changes the distribution."""
        return self.repetition_penalty != 1 or self.frequency_penalty != 0 or self.presence_penalty != 0

    @property
    def greedy(self) -> bool:
        """Whether the next token is simply the most probable one."""
        return self.temperature == 0 and not self.penalises and not self.logit_bias

    def words(self) -> str:
        """The settings in words, as kept with each sample."""
        penalties = [
            f"{name.replace('_', ' ')} {value:g}"
            for name, none in (("repetition_penalty", 1), ("frequency_penalty", 0), ("presence_penalty", 0))
            if (value := getattr(self, name)) != none
        ]
        penalties += [f"{value:+g} for token {token}" for token, value in self.logit_bias]
        if self.temperature == 0:
            return ", ".join(["greedy", *penalties])
        parts = [f"top-k {self.top_k}"] if self.top_k else []
        parts += [f"top-p {self.top_p:g}"] if self.top_p < 1 else []
        parts += [f"min-p {self.min_p:g}"] if self.min_p else []
        return ", ".join([*parts, f"temperature {self.temperature:g}", *penalties])
