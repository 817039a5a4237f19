"""Last words and choices, one token at a time and one candidate at a time: what every shortcut must agree with."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from selftaught.inference.language_model import LanguageModel
from tests.reference.scoring import score


def log_prob(lm: LanguageModel, context: str, continuation: str) -> float:
    """Nats of a continuation, from a pass of its own for each of its tokens."""
    return sum(value for value, _ in score(lm.model, *lm.encode_pair(context, continuation)))


@torch.inference_mode()
def says(lm: LanguageModel, context: str, word: str, barred: Sequence[str]) -> bool:
    """Whether the model, told each token before, would say each token of a word if it may not say what is barred."""
    before, after = lm.encode_pair(context, word)
    silent = [ids[0] for ids in map(lm.tokenizer.encode, barred) if len(ids) == 1]
    for place, token in enumerate(after):
        logits = lm.model.logits(lm.model(torch.tensor([[*before, *after[:place]]])))[0, -1]
        logits[silent] = -torch.inf
        if int(logits.argmax()) != token:
            return False
    return True
