"""What a question is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Predict the last word of a passage."""

    id: str
    context: str
    word: str
    """With its leading blank, if there is one."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Choose among continuations by their probability."""

    id: str
    contexts: tuple[str, ...]
    """One for each candidate; often all the same."""
    continuations: tuple[str, ...]
    candidates: tuple[str, ...]
    answer: int
    repeated: int = 0
    """Candidates that the data set gives once more, or that are empty: left out here."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """Predict a whole text."""

    id: str
    text: str
    units: int
    """What the loss is divided by: bytes, or the data set's own words and line ends."""
