"""How a tokenizer spends its ids on a text: bytes per token by kind of piece, and ids that are never used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from selftaught.errors import InputError
from selftaught.tokenizer.counting import count_pieces
from selftaught.tokenizer.pieces import DIGIT, LETTER, OTHER, SPACE, kinds
from selftaught.tokenizer.tokenizer import Tokenizer

_NAMES = {LETTER: "letters", DIGIT: "digits", OTHER: "other signs", SPACE: "white space"}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What pieces of one kind, or all of them, come to."""

    kind: str
    bytes: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text that a token stands for on average."""
        return self.bytes / max(1, self.tokens)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A text seen through a tokenizer."""

    total: Usage
    kinds: tuple[Usage, ...]
    """Letters, digits, other signs, white space; a leading blank counts with what it leads."""
    unused: tuple[int, ...]
    """Ids that the text never needs, <|endoftext|> left out."""


def measure(tokenizer: Tokenizer, texts: Iterable[str]) -> Measurement:
    """Encode texts and count. Raises InputError if there is none."""
    sizes: Counter[int] = Counter()
    tokens: Counter[int] = Counter()
    used: set[int] = set()
    table = kinds()
    for piece, count in count_pieces(texts).as_mapping().items():
        ids = tokenizer.encode(piece)
        kind = int(table[ord(piece[-1])])
        sizes[kind] += count * len(piece.encode())
        tokens[kind] += count * len(ids)
        used.update(ids)
    if not sizes:
        raise InputError("there is no text to measure")
    return Measurement(
        total=Usage(kind="all", bytes=sizes.total(), tokens=tokens.total()),
        kinds=tuple(Usage(kind=name, bytes=sizes[kind], tokens=tokens[kind]) for kind, name in _NAMES.items()),
        unused=tuple(sorted(set(tokenizer.vocabulary.ids.values()) - used)),
    )
