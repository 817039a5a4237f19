"""The most probable next word by trying the most probable beginning first: exact, and a pass of its own for each."""

from __future__ import annotations

import heapq
from collections.abc import Set as AbstractSet

import torch

from selftaught.inference.language_model import LanguageModel
from selftaught.inference.next_words import bare, kinds


@torch.inference_mode()
def best_word(lm: LanguageModel, text: str, barred: AbstractSet[str]) -> tuple[str, float]:
    """A whole word weighs what its tokens and any end weigh, its beginnings weigh more: the first that comes up is the best."""
    context, found = lm.tokenizer.encode(text), kinds(lm.tokenizer)
    queue: list[tuple[float, tuple[int, ...], bool]] = [(0.0, (), False)]
    while True:
        cost, tokens, whole = heapq.heappop(queue)
        if whole:
            return bare(lm.tokenizer.decode(tokens)), -cost
        log_probs = lm.model.logits(lm.model(torch.tensor([[*context, *tokens]])))[0, -1].log_softmax(-1)
        word = bare(lm.tokenizer.decode(tokens))
        if word and word.lower() not in barred:
            heapq.heappush(queue, (cost - float(log_probs[found.ends].logsumexp(-1)), tokens, True))
        for token in (found.begins if not tokens else ~found.ends).nonzero().flatten().tolist():
            heapq.heappush(queue, (cost - float(log_probs[token]), (*tokens, token), False))
