"""How a next token is drawn. Importing this module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from selftaught.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Cuts and bends the distribution of the next token. Raises UsageError for values that mean nothing."""

    temperature: float = 1.0
    """Below 1 the likely becomes likelier; 0 always takes the most likely token."""
    top_k: int = 40
    """Draw among the k most likely tokens only (GPT-2 paper, section 8.2: 40); 0: among all."""
    top_p: float = 1.0
    """Draw among the fewest tokens that together have this probability."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise UsageError("--temperature is too small", expected="0 or more", got=f"{self.temperature:g}")
        if self.top_k < 0:
            raise UsageError("--top-k is too small", expected="1 or more, or 0 for all", got=f"{self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UsageError("--top-p is impossible", expected="more than 0 and at most 1", got=f"{self.top_p:g}")

    def words(self) -> str:
        """The options in words, such as `top-k 40, temperature 1`."""
        if self.temperature == 0:
            return "most likely token"
        kept = [f"top-k {self.top_k}"] if self.top_k else []
        kept += [f"top-p {self.top_p:g}"] if self.top_p < 1 else []
        return ", ".join([*kept, f"temperature {self.temperature:g}"])
