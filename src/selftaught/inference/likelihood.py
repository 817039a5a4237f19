"""Log-probabilities of continuations given contexts, for many pairs at once. Knows ids only.

Pairs with the same context share its computation; the others are sorted by length and padded on the right, which a causal
network cannot see. Only the hidden states of scored positions go through the head.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from selftaught.errors import UsageError
from selftaught.model.cache import Cache
from selftaught.model.transformer import Transformer

Pair = tuple[tuple[int, ...], tuple[int, ...]]
"""Context (at least one token) and continuation."""
BATCH_TOKENS = 4096
"""Tokens in a batch, padding included."""
HEAD_TOKENS = 2048
"""Positions whose logits exist at a time."""
_WORTH_SHARING = 16
"""Shortest context whose computation is shared."""


@dataclass(frozen=True)
class Scored:
    """Of each token of a continuation: its log-probability in nats, and whether it was the model's first choice."""

    log_probs: tuple[float, ...]
    greedy: tuple[bool, ...]


@torch.inference_mode()
def score(model: Transformer, pairs: Sequence[Pair], advance: Callable[[int], None] | None = None) -> list[Scored]:
    """Score pairs, in order. Contexts that do not fit keep their last tokens.

    `advance(n)` is called when n more pairs are done. Raises UsageError for an empty context or a continuation longer than
    the network's context.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    fitted = [_fit(pair, model.shape.context) for pair in pairs]
    results: list[Scored] = [Scored((), ())] * len(pairs)
    for number, (context, continuation) in enumerate(fitted):
        if continuation:
            groups[context].append(number)
    alone: list[int] = []
    for context, numbers in groups.items():
        if len(numbers) > 1 and len(context) >= _WORTH_SHARING:
            _put(results, numbers, _score_shared(model, context, [fitted[number][1] for number in numbers]), advance)
        else:
            alone += numbers
    for numbers in _batches(alone, fitted):
        _put(results, numbers, _score_batch(model, [fitted[number] for number in numbers]), advance)
    return results


def _put(
    results: list[Scored], numbers: Sequence[int], scored: Iterable[Scored], advance: Callable[[int], None] | None
) -> None:
    for number, one in zip(numbers, scored, strict=True):
        results[number] = one
    if advance is not None:
        advance(len(numbers))


def _fit(pair: Pair, room: int) -> Pair:
    context, continuation = pair
    if not context:
        raise UsageError("a continuation needs a context of at least one token")
    if len(continuation) > room:
        raise UsageError("a continuation does not fit", expected=f"at most {room} tokens", got=str(len(continuation)))
    return context[-(room - len(continuation) + 1) :], continuation


def _batches(numbers: list[int], pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """Numbers in batches of similar length, longest first, so that too little memory shows at once."""
    batch: list[int] = []
    longest = 0
    for number in sorted(numbers, key=lambda one: -sum(map(len, pairs[one]))):
        longest = longest or sum(map(len, pairs[number])) - 1
        if batch and (len(batch) + 1) * longest > BATCH_TOKENS:
            yield batch
            batch, longest = [], sum(map(len, pairs[number])) - 1
        batch.append(number)
    if batch:
        yield batch


def _score_batch(model: Transformer, pairs: Sequence[Pair]) -> list[Scored]:
    rows = [context + continuation for context, continuation in pairs]
    hidden_BTC = model(_padded([row[:-1] for row in rows], model))
    places = [(len(context) - 1, len(continuation)) for context, continuation in pairs]
    wanted = torch.cat([hidden_BTC[row, start : start + count] for row, (start, count) in enumerate(places)])
    return _scored(model, wanted, [continuation for _, continuation in pairs])


def _score_shared(model: Transformer, context: tuple[int, ...], continuations: Sequence[tuple[int, ...]]) -> list[Scored]:
    """One pass over the context, then all continuations on copies of its cache."""
    prefix = Cache(model.shape, batch=1, length=len(context), device=model.tokens.weight.device)
    first_C = model(_padded([context], model), prefix)[0, -1]
    longest = max(map(len, continuations))
    states = first_C.expand(len(continuations), 1, -1)
    if longest > 1:
        cache = prefix.repeat(len(continuations), len(context) + longest - 1)
        states = torch.cat([states, model(_padded([one[:-1] for one in continuations], model), cache)], dim=1)
    wanted = torch.cat([states[row, : len(one)] for row, one in enumerate(continuations)])
    return _scored(model, wanted, continuations)


def _padded(rows: Sequence[tuple[int, ...]], model: Transformer) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + (0,) * (longest - len(row)) for row in rows], device=model.tokens.weight.device)


def _scored(model: Transformer, hidden_NC: torch.Tensor, continuations: Sequence[tuple[int, ...]]) -> list[Scored]:
    targets_N = torch.tensor([token for one in continuations for token in one], device=hidden_NC.device)
    log_probs, greedy = [], []
    for start in range(0, len(targets_N), HEAD_TOKENS):
        logits_NV = model.logits(hidden_NC[start : start + HEAD_TOKENS])
        targets = targets_N[start : start + HEAD_TOKENS]
        chosen = logits_NV.gather(1, targets[:, None])[:, 0]
        log_probs.append(chosen - logits_NV.logsumexp(-1))
        greedy.append(logits_NV.argmax(-1) == targets)
    values, firsts = torch.cat(log_probs).tolist(), torch.cat(greedy).tolist()
    scored, place = [], 0
    for one in continuations:
        scored.append(Scored(tuple(values[place : place + len(one)]), tuple(firsts[place : place + len(one)])))
        place += len(one)
    return scored


def windows(ids: Sequence[int], start: int, context: int, stride: int | None = None) -> Iterator[Pair]:
    """A text as pairs that score each of its tokens once; the first is conditioned on the token `start`.

    Without `stride`, windows of `context` tokens that do not overlap. With it, each further window scores `stride` tokens and
    sees `context` - `stride` before them.
    """
    everything = (start, *ids)
    step = min(stride or context, context)
    place = 1
    while place < len(everything):
        end = min(place + (context if place == 1 else step), len(everything))
        first = place - 1 if stride is None else max(0, end - 1 - context)
        yield everything[first:place], everything[place:end]
        place = end
