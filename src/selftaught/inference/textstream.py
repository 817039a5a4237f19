"""Bytes to text as they come, never half a character, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Iterable


class TextStream:
    """Decodes UTF-8 piece by piece; what is not UTF-8 becomes U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, data: bytes) -> str:
        """The characters that are complete with these bytes."""
        return self._decoder.decode(data)

    def end(self) -> str:
        """What is left when no more bytes come."""
        return self._decoder.decode(b"", final=True)


def first(stop: Iterable[str], text: str) -> int | None:
    """Where the first of the stop strings begins that a text holds."""
    return min((place for one in stop if one and (place := text.find(one)) >= 0), default=None)


def suspicious(stop: Iterable[str], text: str) -> int:
    """Characters at the end of a text that a stop string may begin with."""
    return max((size for one in stop for size in range(1, len(one)) if text.endswith(one[:size])), default=0)
