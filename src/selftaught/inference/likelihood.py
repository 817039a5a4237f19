"""Log-probabilities of continuations given contexts, for many pairs at once. Knows ids only.

What pairs share is computed once (`inference.trees`), and only the states that predict a scored token meet the head. How much
is read at a time is found meanwhile (`inference.budget`). Shapes:
K scored tokens, U states that predict them, V vocabulary.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from selftaught import compilation, compute
from selftaught.errors import UsageError
from selftaught.inference import reading, trees
from selftaught.inference.reading import Reader
from selftaught.inference.trees import Pair, Tree, Wanted

_Rows: TypeAlias = dict[int, list[tuple[float, bool, bool]]]
"""Of each pair, by its number, what `Scored` holds of each token."""

LOGITS = {"cpu": 1 << 22, "cuda": 1 << 27}
"""Logits that exist at a time: on a processor, more make its product faster until they no longer fit into its cache."""


@dataclass(frozen=True)
class Scored:
    """Of each token of a continuation: its log-probability in nats, and whether it was the model's first choice.

    `allowed`: whether it was the first choice among the tokens that are not barred.
    """

    log_probs: tuple[float, ...]
    greedy: tuple[bool, ...]
    allowed: tuple[bool, ...]


@torch.inference_mode()
def score(
    reader: Reader,
    pairs: Sequence[Pair],
    advance: Callable[[int], None] | None = None,
    *,
    barred: Sequence[int] = (),
) -> list[Scored]:
    """Score pairs, in order. Contexts that do not fit keep their last tokens. `barred` ids change no probability.

    `advance(n)` is called when n more pairs are done. Raises UsageError for an empty context, a continuation longer than the
    network's context, and ids outside its vocabulary.
    """
    fitted = [_fit(pair, reader) for pair in pairs]
    results = [Scored((), (), ())] * len(pairs)
    untold = sum(not continuation for _, continuation in pairs)
    for found in _found(reader, trees.trees(fitted), fitted, barred):
        for number, rows in found.items():
            results[number] = Scored(*zip(*rows, strict=True))
        untold = _tell(advance, untold + len(found))
    _tell(advance, untold)
    return results


def _found(reader: Reader, asked: Sequence[Tree], pairs: Sequence[Pair], barred: Sequence[int]) -> Iterator[_Rows]:
    """What trees predict, some at a time; where memory runs out, fewer from then on, and those once more."""
    waiting, again = reader.batches(asked), list[list[Tree]]()
    while batch := again.pop() if again else next(waiting, None):
        started, tokens = time.perf_counter(), sum(tree.tokens for tree in batch)
        found = _attempt(reader, batch, pairs, barred)
        if not isinstance(found, str):
            reader.budget.passed(tokens, time.perf_counter() - started)
            yield found
            continue
        if reader.budget.tokens == 1:
            raise UsageError(
                f"not enough memory for {tokens:,} tokens",
                got=found,
                hint="End other programs, or take a smaller model; --precision bfloat16 takes less.",
            )
        compute.release_memory()
        reader.budget.halve()
        again += trees.halves(batch)


def _attempt(reader: Reader, batch: list[Tree], pairs: Sequence[Pair], barred: Sequence[int]) -> _Rows | str:
    """What some trees predict, or what is said where there is too little memory. All that was made for it is gone by then."""
    found: _Rows = {number: [] for tree in batch for number in tree.members}
    try:
        for wanted, states_UC in reader.read(batch, pairs):
            predicted = zip(*_predictions(reader, states_UC, wanted, barred), strict=True)
            for number, one in zip(wanted.pairs.tolist(), predicted, strict=True):
                found[number].append(one)
    except (MemoryError, RuntimeError) as problem:
        if not compute.is_out_of_memory(problem):
            raise
        return str(problem) or type(problem).__name__
    return found


def _tell(advance: Callable[[int], None] | None, count: int) -> int:
    if advance is not None and count:
        advance(count)
    return 0


def _fit(pair: Pair, reader: Reader) -> Pair:
    (context, continuation), room, vocabulary = pair, reader.shape.context, reader.shape.vocabulary
    if not context:
        raise UsageError("a continuation needs a context of at least one token")
    if len(continuation) > room:
        raise UsageError("a continuation does not fit", expected=f"at most {room} tokens", got=str(len(continuation)))
    context = context[-(room - len(continuation) + 1) :]
    for part in (context, continuation):
        if part and not 0 <= min(part) <= max(part) < vocabulary:
            unknown = next(token for token in part if not 0 <= token < vocabulary)
            raise UsageError(f"id {unknown} is not in the vocabulary of the model", expected=f"0 to {vocabulary - 1}")
    return context, continuation


def _predictions(
    reader: Reader, states_UC: torch.Tensor, wanted: Wanted, barred: Sequence[int]
) -> tuple[list[float], list[bool], list[bool]]:
    """Log-probability of each target, and whether it was the first choice, of all and of allowed ids; a few states at a time."""
    log_probs: list[float] = []
    greedy: list[bool] = []
    allowed: list[bool] = []
    logits = LOGITS["cpu" if reader.device.type == "cpu" else "cuda"] >> reader.budget.halvings
    size = max(16, logits // reader.shape.vocabulary)
    for start in range(0, len(states_UC), size):
        first, last = wanted.states.searchsorted((start, start + size))
        rows_K, targets_K = (
            torch.from_numpy(part[first:last]).to(reader.device) for part in (wanted.states - start, wanted.targets)
        )
        logits_UV = reader.logits(states_UC[start : start + size])
        chosen_K = logits_UV[rows_K, targets_K]
        choice_U, allowed_U, total_U = look(logits_UV, barred)
        log_probs += (chosen_K - total_U[rows_K]).tolist()
        greedy += (choice_U[rows_K] == targets_K).tolist()
        allowed += (allowed_U[rows_K] == targets_K).tolist()
    return log_probs, greedy, allowed


def look(logits_UV: torch.Tensor, barred: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of each row of logits the largest, the largest that is not barred, and the logarithm of the sum of exponentials.

    The logits may be gone afterwards.
    """
    found = compilation.library(reading.SOURCE) if logits_UV.device.type == "cpu" else None
    if found is None:
        choice_U, total_U = logits_UV.argmax(-1), logits_UV.logsumexp(-1)
        if not barred:
            return choice_U, choice_U, total_U
        logits_UV[:, list(barred)] = -torch.inf
        return choice_U, logits_UV.argmax(-1), total_U
    rows, vocabulary = logits_UV.shape
    choice_U, allowed_U = (torch.empty(rows, dtype=torch.int64) for _ in range(2))
    total_U = torch.empty(rows)
    bars = (ctypes.c_int64 * len(barred))(*barred)
    results = (ctypes.c_void_p(one.data_ptr()) for one in (choice_U, allowed_U, total_U))
    found.look(
        ctypes.c_void_p(logits_UV.data_ptr()), rows, vocabulary, bars, len(barred), *results, torch.get_num_threads()
    )
    return choice_U, allowed_U, total_U
