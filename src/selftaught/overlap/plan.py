"""What counts as overlap. Imports no numpy, so that the command line answers at once."""

from __future__ import annotations

from dataclasses import dataclass

from selftaught.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class OverlapSettings:
    """What counts as overlap."""

    words: int = 8
    """Words of an n-gram (GPT-2 paper, section 4: 8)."""
    exact: bool = False
    """Look every hit up in the text again, so that there are no false positives."""

    def __post_init__(self) -> None:
        """Refuse n-grams of no words."""
        if self.words < 1:
            raise UsageError("--words is too small", expected="at least 1", got=str(self.words))
