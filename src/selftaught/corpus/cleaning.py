"""Filters with named reasons. What passes is left exactly as it is: GPT-2 wants raw text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from selftaught.corpus.ranges import require_least, require_share

LETTERS_LOOKED_AT = 20_000


@dataclass(frozen=True, kw_only=True)
class CleaningSettings:
    """What a document must be like to be kept."""

    fewest_characters: int = 200
    """Shorter texts are dropped as `short`."""
    lowest_letter_share: float = 0.5
    """Share of letters among non-blank characters; below it a text is dropped as `symbols`."""
    highest_repeated_share: float = 0.6
    """Share of non-empty lines that repeat an earlier one; above it a text is dropped as
    `repetition` (after Gopher, Rae et al. 2021)."""

    def __post_init__(self) -> None:
        """Refuse what is no length or share."""
        require_least(self, 0, "fewest_characters")
        require_share(self, "lowest_letter_share", "highest_repeated_share")


def reason_to_drop(text: str, rules: CleaningSettings) -> str:
    """Why a text is dropped, or "" if it is kept."""
    if len(text) < rules.fewest_characters:
        return "short"
    signs = "".join(text[:LETTERS_LOOKED_AT].split())
    if sum(map(str.isalpha, signs)) < rules.lowest_letter_share * max(1, len(signs)):
        return "symbols"
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    repeated = sum(count - 1 for count in Counter(lines).values())
    return "repetition" if repeated > rules.highest_repeated_share * len(lines) else ""
