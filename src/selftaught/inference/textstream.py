"""Bytes to text as they come, never half a character."""

from __future__ import annotations

import codecs


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
