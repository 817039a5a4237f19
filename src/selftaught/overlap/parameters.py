"""What a saved filter is and holds. Imports no numba, so that looking at one costs nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from selftaught.errors import MismatchError

BITS_FILE, PARAMETERS_FILE = "filter.npy", "filter.json"


@dataclass(frozen=True, kw_only=True)
class Content:
    """What was inserted into a filter."""

    words: int
    """Words of an n-gram."""
    across: Literal["documents", "stream"]
    """Whether n-grams end with a document or reach into the next."""
    texts: tuple[str, ...]
    """SHA-256 of each text, in ascending order."""

    def united(self, other: Content) -> Content:
        """The content of two filters together. Raises MismatchError if they hold other n-grams."""
        if (self.words, self.across) != (other.words, other.across):
            raise MismatchError("only filters of the same n-grams can be united", expected=self.kind, got=other.kind)
        return replace(self, texts=tuple(sorted({*self.texts, *other.texts})))

    @property
    def kind(self) -> str:
        """Which n-grams, in words."""
        return (
            f"{self.words}-grams within documents" if self.across == "documents" else f"{self.words}-grams of a stream"
        )


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a saved filter is."""

    scheme: str
    capacity: int
    keys: int
    """Insertions so far, repeated keys included."""
    content: Content
    sha256: str
