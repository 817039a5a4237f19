"""Labels of a text, one label, one token and one pass at a time: what classification in batches must agree with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from selftaught.inference.language_model import LanguageModel
from tests.reference.scoring import score


def log_probs(lm: LanguageModel, text: str, words: Sequence[str], between: str, after: str) -> list[float]:
    """Nats of each label, and of what follows it, after text and template."""
    found = []
    for word in words:
        context, continuation = lm.encode_pair(text + between, word + after)
        found.append(sum(value for value, _ in score(lm.model, context, continuation)))
    return found


def calibrated(scores: Sequence[float], free: Sequence[Sequence[float]]) -> list[float]:
    """Logarithms of each label's probability over its mean probability after texts without content (Zhao et al. 2021)."""
    means = [0.0] * len(scores)
    for row in free:
        total = sum(math.exp(value) for value in row)
        for place, value in enumerate(row):
            means[place] += math.exp(value) / total / len(free)
    return [value - math.log(mean) for value, mean in zip(scores, means, strict=True)]
