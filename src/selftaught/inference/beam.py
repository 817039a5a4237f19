"""Beam search: the most probable continuations that keeping a few of them at a time finds. Knows ids only.

As in transformers' `generate(num_beams=...)`: the score of a text is its log-probability divided by its length to the power of
`length_penalty`; texts that end compete with those that go on, and the search stops when none of these can become better.
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
    length_penalty: float = 1.0,
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
    for length in range(1, most + 1):
        totals_N = (sums[:, None] + log_probs_BV).flatten()
        best, places = totals_N.topk(min(2 * beams, len(totals_N)))
        size = log_probs_BV.shape[1]
        going: list[tuple[int, tuple[int, ...], float]] = []
        for rank, (total, place) in enumerate(zip(best.tolist(), places.tolist(), strict=True)):
            row, token = divmod(place, size)
            text = (*texts[row], token)
            if token != end:
                going.append((row, text, total))
            elif rank < beams:
                ended.append(Found(tokens=text, log_prob=total, score=total / length**length_penalty))
        ended = _best(ended, beams)
        going = going[:beams]
        scores = [total / length**length_penalty for _, _, total in going]
        if len(ended) == beams and (not scores or ended[-1].score >= scores[0]):
            return ended
        if length == most:
            ended += [
                Found(tokens=text, log_prob=total, score=score)
                for (_, text, total), score in zip(going, scores, strict=True)
            ]
            break
        texts, sums = [text for _, text, _ in going], torch.tensor([total for *_, total in going])
        cache.reorder([row for row, _, _ in going])
        rows = range(len(going))
        log_probs_BV = decoder.step(cache, rows, [text[-1] for text in texts])[:, :vocabulary].log_softmax(-1)
    return _best(ended, beams)


def _best(found: list[Found], count: int) -> list[Found]:
    return sorted(found, key=lambda one: -one.score)[:count]
