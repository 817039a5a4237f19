"""Log-probabilities of continuations given contexts, for many pairs at once. Knows ids only.

What pairs share is computed once (`inference.trees`), rows are padded on the right, which a causal network cannot see, and
only the states that predict a scored token meet the head. Shapes: B rows, T trunk, S branches, K scored tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from selftaught.errors import UsageError
from selftaught.inference import trees
from selftaught.inference.trees import Pair
from selftaught.model.cache import Cache, remembered_as
from selftaught.model.transformer import Transformer

BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Tokens in a batch, padding included: measured on two cores; what keeps an accelerator busy."""
LOGITS = {"cpu": 1 << 21, "cuda": 1 << 27}
"""Logits that exist at a time: on a processor, what its cache nearly holds."""


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
    model: Transformer,
    pairs: Sequence[Pair],
    advance: Callable[[int], None] | None = None,
    *,
    barred: Sequence[int] = (),
) -> list[Scored]:
    """Score pairs, in order. Contexts that do not fit keep their last tokens. `barred` ids change no probability.

    `advance(n)` is called when n more pairs are done. Raises UsageError for an empty context, a continuation longer than the
    network's context, and ids outside its vocabulary.
    """
    fitted = [_fit(pair, model) for pair in pairs]
    results = [Scored((), (), ())] * len(pairs)
    untold = sum(not continuation for _, continuation in pairs)
    for batch in trees.batches(trees.trees(fitted), _limit(BATCH_TOKENS, model)):
        found: dict[int, list[tuple[float, bool, bool]]] = {number: [] for tree in batch for number in tree.members}
        for wanted, states_KC in _passes(model, batch, fitted):
            predicted = zip(*_predictions(model, states_KC, wanted.targets, barred), strict=True)
            for number, one in zip(wanted.pairs.tolist(), predicted, strict=True):
                found[number].append(one)
        for number, rows in found.items():
            results[number] = Scored(*zip(*rows, strict=True))
        untold = _tell(advance, untold + len(found))
    _tell(advance, untold)
    return results


def _tell(advance: Callable[[int], None] | None, count: int) -> int:
    if advance is not None and count:
        advance(count)
    return 0


def _limit(limits: dict[str, int], model: Transformer) -> int:
    return limits["cpu" if model.tokens.weight.device.type == "cpu" else "cuda"]


def _fit(pair: Pair, model: Transformer) -> Pair:
    (context, continuation), room = pair, model.shape.context
    if not context:
        raise UsageError("a continuation needs a context of at least one token")
    if len(continuation) > room:
        raise UsageError("a continuation does not fit", expected=f"at most {room} tokens", got=str(len(continuation)))
    context = context[-(room - len(continuation) + 1) :]
    unknown = [token for part in (context, continuation) for token in part if not 0 <= token < model.shape.vocabulary]
    if unknown:
        raise UsageError(
            f"id {unknown[0]} is not in the vocabulary of the model", expected=f"0 to {model.shape.vocabulary - 1}"
        )
    return context, continuation


def _passes(
    model: Transformer, batch: Sequence[trees.Tree], pairs: Sequence[Pair]
) -> Iterator[tuple[trees.Wanted, torch.Tensor]]:
    """Run the trunks of a batch, then its branches; yield what each pass predicts and the states that do."""
    device = model.tokens.weight.device
    trunk_BT = torch.from_numpy(trees.padded([tree.trunk for tree in batch])).to(device)
    branches = max(tree.branch_tokens for tree in batch)
    cache = None
    if branches:
        length = trunk_BT.shape[1] + branches
        cache = Cache(model.shape, batch=len(batch), length=length, device=device, dtype=remembered_as(device))
    yield _chosen(model(trunk_BT, cache), trees.trunk_wanted(batch, pairs))
    if cache is not None:
        ids_BS, places_BS, mask = (torch.from_numpy(part).to(device) for part in trees.side_by_side(batch))
        yield _chosen(model(ids_BS, cache, places_BT=places_BS, mask=mask), trees.branch_wanted(batch, pairs))


def _chosen(hidden_BTC: torch.Tensor, wanted: trees.Wanted) -> tuple[trees.Wanted, torch.Tensor]:
    return wanted, hidden_BTC.flatten(0, 1)[torch.from_numpy(wanted.states).to(hidden_BTC.device)]


def _predictions(
    model: Transformer, states_KC: torch.Tensor, targets_K: np.ndarray, barred: Sequence[int]
) -> tuple[list[float], list[bool], list[bool]]:
    """Log-probability of each target, and whether it was the first choice, of all and of allowed ids; a few states at a time."""
    log_probs: list[float] = []
    greedy: list[bool] = []
    allowed: list[bool] = []
    size = max(16, _limit(LOGITS, model) // model.shape.vocabulary)
    targets = torch.from_numpy(targets_K).to(states_KC.device)
    for start in range(0, len(targets), size):
        logits_KV, wanted_K = model.logits(states_KC[start : start + size]), targets[start : start + size]
        best_K, choice_K = logits_KV.max(dim=-1)
        chosen_K = logits_KV.gather(1, wanted_K[:, None])[:, 0] - best_K
        odds_KV = logits_KV.sub_(best_K[:, None]).exp_()
        log_probs += (chosen_K - odds_KV.sum(dim=-1).log_()).tolist()
        greedy += (choice_K == wanted_K).tolist()
        if barred:
            odds_KV[:, list(barred)] = -1.0
            choice_K = odds_KV.argmax(dim=-1)
        allowed += (choice_K == wanted_K).tolist()
    return log_probs, greedy, allowed
