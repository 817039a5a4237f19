"""Choosing the next token: pure functions of logits, settings, the text so far and a generator.

What changes logits takes logits and gives logits, so that any of it composes with any other; `candidates` applies everything
in the order that transformers uses: bias, penalties, temperature, top-k, top-p, min-p. Shapes: V vocabulary, K candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import torch

from selftaught.errors import UsageError
from selftaught.inference.logits import largest
from selftaught.inference.rules import SamplingSettings

FIRST_SORTED = 512
"""Most probable tokens that usually reach any `top_p` together."""


def choose(
    logits_V: torch.Tensor,
    rules: SamplingSettings,
    generator: torch.Generator,
    prompt: Sequence[int] = (),
    drawn: Sequence[int] = (),
) -> int:
    """Draw one token from logits; `prompt` and the tokens `drawn` so far matter to penalties only.

    Takes one number from the generator, whatever the settings, and none if the temperature is 0.
    """
    ids_K, probabilities_K = candidates(logits_V, rules, prompt, drawn)
    return pick(ids_K, probabilities_K, generator)


def candidates(
    logits_V: torch.Tensor, rules: SamplingSettings, prompt: Sequence[int] = (), drawn: Sequence[int] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids that may be drawn, in ascending order, and their probabilities, which sum to 1 (some may be 0)."""
    logits_V = penalised(biased(logits_V, rules.logit_bias), rules, prompt, drawn)
    if rules.temperature == 0:
        return largest(logits_V, 1)[1], logits_V.new_ones(1)
    if 0 < rules.top_k < len(logits_V):  # only k candidates are looked at from here on
        kept_K, ids_K = largest(logits_V, rules.top_k)
    else:
        kept_K, ids_K = logits_V, _all_ids(len(logits_V))
    kept_K = kept_K if rules.temperature == 1 else kept_K / rules.temperature
    return ids_K, keep_min_p(keep_top_p(kept_K, rules.top_p), rules.min_p).softmax(-1)


@lru_cache(4)
def _all_ids(size: int) -> torch.Tensor:
    """Not to be written to."""
    return torch.arange(size)


def pick(ids_K: torch.Tensor, probabilities_K: torch.Tensor, generator: torch.Generator) -> int:
    """Draw one of the ids by one random number.

    Ids are in ascending order, not in that of their probabilities, so that rounding, which may change from machine to machine
    and with the size of a batch, moves the borders between tokens a little but never exchanges two of them.
    """
    if len(ids_K) == 1:
        return int(ids_K[0])
    sums_K = probabilities_K.double().cumsum(-1).numpy()
    place = torch.rand((), generator=generator, dtype=torch.float64).item() * sums_K[-1]
    return int(ids_K[min(int(sums_K.searchsorted(place, side="right")), len(ids_K) - 1)])


def distribution(
    logits_V: torch.Tensor, rules: SamplingSettings, prompt: Sequence[int] = (), drawn: Sequence[int] = ()
) -> torch.Tensor:
    """The probability of each token under the settings, probabilities_V."""
    ids_K, probabilities_K = candidates(logits_V, rules, prompt, drawn)
    return logits_V.new_zeros(len(logits_V)).scatter_(0, ids_K, probabilities_K)


def biased(logits_V: torch.Tensor, bias: Sequence[tuple[int, float]]) -> torch.Tensor:
    """Logits with something added to those of some ids; never changed in place. Raises UsageError for ids that there are not."""
    if not bias:
        return logits_V
    ids = [token for token, _ in bias]
    if max(ids) >= len(logits_V):
        most = len(logits_V) - 1
        raise UsageError("--logit-bias names an id that there is not", expected=f"0 to {most}", got=str(max(ids)))
    values_K = torch.tensor([value for _, value in bias], dtype=logits_V.dtype)
    return logits_V.index_add(0, torch.tensor(ids), values_K)


def penalised(
    logits_V: torch.Tensor, rules: SamplingSettings, prompt: Sequence[int] = (), drawn: Sequence[int] = ()
) -> torch.Tensor:
    """Logits after all penalties that the settings ask for; never changed in place."""
    if not rules.penalises:
        return logits_V
    logits_V = penalise_repetition(logits_V, {*prompt, *drawn}, rules.repetition_penalty)
    return penalise_counts(logits_V, Counter(drawn), rules.frequency_penalty, rules.presence_penalty)


def penalise_repetition(logits_V: torch.Tensor, seen: set[int], penalty: float) -> torch.Tensor:
    """Logits of tokens seen before divided by the penalty where positive, multiplied by it where negative."""
    if penalty == 1 or not seen:
        return logits_V
    ids_K = torch.tensor(sorted(seen))
    values_K = logits_V[ids_K]
    return logits_V.scatter(0, ids_K, torch.where(values_K > 0, values_K / penalty, values_K * penalty))


def penalise_counts(logits_V: torch.Tensor, counts: Counter[int], frequency: float, presence: float) -> torch.Tensor:
    """Logits less `frequency` times the count of a token, less `presence` if it was drawn at all."""
    if not counts or (frequency == 0 and presence == 0):
        return logits_V
    ids_K = torch.tensor(list(counts))
    times_K = torch.tensor(list(counts.values()), dtype=logits_V.dtype)
    return logits_V.scatter_add(0, ids_K, -(frequency * times_K + presence))


def keep_top_p(logits_V: torch.Tensor, p: float) -> torch.Tensor:
    """Logits with all but the fewest most probable tokens that reach p together at minus infinity."""
    if p >= 1:
        return logits_V
    probabilities_V = logits_V.softmax(-1)
    for size in (FIRST_SORTED, len(logits_V)):  # sorting all of them takes longer than drawing a token does
        values, places = probabilities_V.topk(min(size, len(logits_V)))
        before = values.cumsum(-1) - values
        if before[-1] >= p:
            break
    kept = places[before < p]
    return torch.full_like(logits_V, -torch.inf).scatter_(0, kept, logits_V[kept])


def keep_min_p(logits_V: torch.Tensor, p: float) -> torch.Tensor:
    """Logits with all tokens less than p times as probable as the most probable one at minus infinity."""
    if p == 0:
        return logits_V
    probabilities_V = logits_V.softmax(-1)
    return logits_V.masked_fill(probabilities_V < p * probabilities_V.max(), -torch.inf)
