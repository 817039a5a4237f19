"""Texts that are scored in several parts: the log-probability of each whole, and progress counted in texts. Knows ids only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from selftaught.inference import likelihood
from selftaught.inference.reading import Reader
from selftaught.inference.trees import Pair


@dataclass(frozen=True, kw_only=True)
class LogProb:
    """Log-probability of a text, in nats."""

    total: float
    by_token: tuple[float, ...]
    greedy: tuple[bool, ...]
    """For each token, whether it was the model's first choice."""
    allowed: tuple[bool, ...] = ()
    """For each token, whether it was the first choice among the words that were not barred."""


def score(
    reader: Reader,
    texts: Sequence[Sequence[Pair]],
    advance: Callable[[float], None] | None = None,
    *,
    barred: Sequence[int] = (),
) -> list[LogProb]:
    """Score texts that consist of several pairs each (see `likelihood.score`); `advance` hears of texts."""
    pairs = [pair for parts in texts for pair in parts]
    told = _Telling(len(pairs), len(texts), advance)
    scored = iter(likelihood.score(reader, pairs, told.advance, barred=barred))
    told.finish()
    return [_joined(list(islice(scored, len(parts)))) for parts in texts]


class _Telling:
    """Tells progress in texts although pairs are what gets done; of long texts also parts, so that something moves."""

    def __init__(self, pairs: int, texts: int, advance: Callable[[float], None] | None) -> None:
        self._pairs, self._texts, self._advance = pairs, texts, advance
        self._done, self._told = 0, 0.0

    def advance(self, pairs: int) -> None:
        self._done += pairs
        # Parts of 1,024, of which floating-point numbers keep exact sums.
        self._tell(1024 * self._texts * self._done // self._pairs / 1024)

    def finish(self) -> None:
        self._tell(self._texts)

    def _tell(self, texts: float) -> None:
        if self._advance is not None and texts > self._told:
            self._advance(texts - self._told)
        self._told = max(self._told, texts)


def _joined(parts: Sequence[likelihood.Scored]) -> LogProb:
    by_token = tuple(value for part in parts for value in part.log_probs)
    return LogProb(
        total=sum(by_token),
        by_token=by_token,
        greedy=tuple(value for part in parts for value in part.greedy),
        allowed=tuple(value for part in parts for value in part.allowed),
    )
