"""Beam search: the most probable continuations that keeping a few of them at a time finds. Knows ids only.

As in transformers' `generate(num_beams=...)`: the score of a text is its log-probability divided by its length; texts that
end compete with those that go on, and the search stops when none of these can become better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from selftaught.errors import UsageError
from selftaught.inference.decoding import Decoder
from selftaught.inference.generation import check


@dataclass(frozen=True, kw_only=True)
class Found:
    """One continuation, its log-probability in nats and its score."""

    tokens: tuple[int, ...]
    log_prob: float
    score: float


def search(
    decoder: Decoder,
    prompt: Sequence[int],
    *,
    beams: int,
    most: int,
    end: int | None = None,
    vocabulary: int | None = None,
) -> list[Found]:
    """Continuations of up to `most` tokens, the best `beams` of them, best first; one that ends has `end` as its last token.

    Raises UsageError where prompt and continuation do not fit into the context together.
    """
    check(decoder, prompt)
    room = decoder.shape.context
    if beams < 1 or most < 1:
        raise UsageError("a search needs at least one beam and one token", got=f"{beams} and {most}")
    if len(prompt) + most > room + 1:
        raise UsageError("prompt and continuation do not fit", expected=f"at most {room + 1} tokens together")
    cache = decoder.cache(beams)
    first_V = decoder.prefill(cache, 0, prompt)[:vocabulary].log_softmax(-1)
    cache.reorder([0] * beams)
    texts: list[tuple[int, ...]] = [()]
    sums, log_probs_BV = torch.zeros(1), first_V[None]
    ended: list[Found] = []
    going: list[tuple[int, Found]] = []

    def found(row: int, token: int, total: float) -> Found:
        text = (*texts[row], token)
        return Found(tokens=text, log_prob=total, score=total / len(text))

    for length in range(1, most + 1):
        longer = _longer(sums, log_probs_BV, 2 * beams)
        ended = _best([*ended, *(found(*one) for one in longer[:beams] if one[1] == end)], beams)
        going = [(one[0], found(*one)) for one in longer if one[1] != end][:beams]
        if len(ended) == beams and (not going or ended[-1].score >= going[0][1].score):
            return ended
        if length == most:
            break
        texts, sums = [one.tokens for _, one in going], torch.tensor([one.log_prob for _, one in going])
        cache.reorder([row for row, _ in going])
        rows = range(len(going))
        log_probs_BV = decoder.step(cache, rows, [text[-1] for text in texts])[:, :vocabulary].log_softmax(-1)
    return _best([*ended, *(one for _, one in going)], beams)


def _longer(sums_B: torch.Tensor, log_probs_BV: torch.Tensor, most: int) -> list[tuple[int, int, float]]:
    """The most probable texts that are one token longer: row of what they go on from, token, log-probability."""
    totals_N = (sums_B[:, None] + log_probs_BV).flatten()
    best = totals_N.topk(min(most, len(totals_N)))
    size = log_probs_BV.shape[1]
    return [(*divmod(place, size), total) for total, place in zip(*(one.tolist() for one in best), strict=True)]


def _best(found: list[Found], count: int) -> list[Found]:
    return sorted(found, key=lambda one: -one.score)[:count]
