"""From tokens to what a reader is shown: whole characters, nothing of a stop string, and each token with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from selftaught.inference.scheduling import Progress, Told
from selftaught.inference.textstream import TextStream, first, suspicious
from selftaught.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Placed:
    """A token and the number of characters, prompt included, that are complete before it."""

    told: Told
    offset: int


@dataclass(frozen=True)
class Piece:
    """Text that can be shown now, the tokens that it comes from, and why the text has ended if it has."""

    text: str
    tokens: tuple[Placed, ...]
    finish: Literal["stop", "length"] | None = None


class Assembly:
    """One text in the making. Text that might turn out to be the beginning of a stop string is held back."""

    def __init__(self, tokenizer: Tokenizer, *, stop: Sequence[str] = (), lead: str = "", offset: int = 0) -> None:
        """`lead` is shown before everything; offsets count from `offset`."""
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._stream = TextStream()
        self._place = offset
        self._lead = lead
        self._held = ""
        self._tokens: list[Placed] = []
        self.drawn = 0
        """Tokens drawn for the text, those of a stop string included."""

    def add(self, news: Progress) -> Piece | None:
        """What can be shown after news of the text, or None for nothing yet. The prompt itself may hold stop strings."""
        self._lead += "".join([self._read(told) for told in news.prompt])
        if news.drawn is not None:
            self.drawn += 1
            self._held += self._read(news.drawn)
        if news.ended is not None:
            rest = self._stream.end()
            self._place += len(rest)
            self._held += rest
        if (end := first(self._stop, self._held)) is not None:
            return self._cut(end)
        if news.ended is not None:
            return self._show(len(self._held), news.ended)
        return self._show(len(self._held) - suspicious(self._stop, self._held), None)

    def end(self, finish: Literal["stop", "length"]) -> Piece:
        """What is left of a text that is ended from outside."""
        self._held += self._stream.end()
        return self._show(len(self._held), finish) or Piece("", (), finish)

    def _read(self, told: Told) -> str:
        text = self._stream.add(self._tokenizer.decode_bytes([told.token]))
        self._tokens.append(Placed(told, self._place))
        self._place += len(text)
        return text

    def _show(self, size: int, finish: Literal["stop", "length"] | None) -> Piece | None:
        text, self._lead, self._held = self._lead + self._held[:size], "", self._held[size:]
        end = self._place - len(self._held)
        if not text and not finish:
            return None
        # A token whose text is only partly shown waits for the rest of it.
        shown = len(self._tokens)
        while not finish and shown and self._reaches(shown - 1) > end:
            shown -= 1
        tokens, self._tokens = tuple(self._tokens[:shown]), self._tokens[shown:]
        return Piece(text, tokens, finish)

    def _reaches(self, number: int) -> int:
        return self._tokens[number + 1].offset if number + 1 < len(self._tokens) else self._place

    def _cut(self, size: int) -> Piece:
        end = self._place - len(self._held) + size
        tokens = tuple(one for one in self._tokens if one.offset < end)
        return Piece(self._lead + self._held[:size], tokens, "stop")


def written(tokenizer: Tokenizer, token: int) -> str:
    r"""A token as text, or as OpenAI writes one that is not whole characters: `bytes:\xf0\x9f`."""
    data = tokenizer.decode_bytes([token])
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
