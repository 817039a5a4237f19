"""Drawn tokens as text: pieces that are never half a character, cut before a stop string. Knows ids and text, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from selftaught.inference.generation import Drawn
from selftaught.inference.textstream import TextStream, first
from selftaught.report.records import Piece, Sample
from selftaught.tokenizer.tokenizer import Tokenizer


class Alternative(NamedTuple):
    """A token that the model might have drawn instead."""

    text: str
    log_prob: float
    """In nats, before penalties, temperature and truncation."""


@dataclass(frozen=True, kw_only=True)
class Choice(Piece):
    """A piece with what the model would have said in its place."""

    log_prob: float
    alternatives: list[Alternative]
    """The most probable tokens at the piece's first token, best first; the drawn one may be among them."""


class Ending:
    """Whether a text has come to one of its stop strings, token by token."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self._tokenizer, self._stop = tokenizer, [one.encode() for one in stop if one]
        self._kept = max((len(one) for one in self._stop), default=1) - 1
        self._tail = b""

    def __call__(self, token: int) -> bool:
        """Add a token; whether a stop string ends within it."""
        if not self._stop:
            return False
        text = self._tail + self._tokenizer.decode_bytes([token])
        self._tail = text[len(text) - min(self._kept, len(text)) :]
        return any(one in text for one in self._stop)


def pieces(tokenizer: Tokenizer, drawn: Iterable[Drawn]) -> list[Piece]:
    """Tokens as text; those that share a character are one piece, with the product of their probabilities.

    Pieces are `Choice` where tokens come with alternatives.
    """
    found: list[Piece] = []
    stream, pending = TextStream(), list[Drawn]()
    for one in drawn:
        pending.append(one)
        if text := stream.add(tokenizer.decode_bytes([one.token])):
            found.append(_piece(tokenizer, text, pending))
            pending = []
    if rest := stream.end():
        found.append(_piece(tokenizer, rest, pending))
    return found


def _piece(tokenizer: Tokenizer, text: str, drawn: Sequence[Drawn]) -> Piece:
    probability = 1.0
    for one in drawn:
        probability *= one.probability
    if not drawn or not drawn[0].top:  # none: the end of a token whose beginning completed another character
        return Piece(text=text, probability=probability)
    return Choice(
        text=text,
        probability=probability,
        log_prob=sum(one.log_prob for one in drawn),
        alternatives=[Alternative(tokenizer.decode([token]), log_prob) for token, log_prob in drawn[0].top],
    )


def cut(found: Sequence[Piece], stop: Sequence[str]) -> list[Piece]:
    """Pieces up to the first stop string; a piece in which it begins keeps what is before it."""
    text = "".join(piece.text for piece in found)
    end = first(stop, text)
    length = len(text) if end is None else end
    kept: list[Piece] = []
    for piece in found:
        if length >= len(piece.text):
            kept.append(piece)
        elif length > 0:
            kept.append(Piece(text=piece.text[:length], probability=piece.probability))
        length -= len(piece.text)
        if length <= 0:
            break
    return kept


def sample(found: Sequence[Piece], *, model: str, parameters: int, prompt: str, settings: str) -> Sample:
    """The record of a continuation."""
    text = "".join(piece.text for piece in found)
    return Sample(model=model, parameters=parameters, prompt=prompt, text=text, pieces=list(found), settings=settings)
