"""Labels of a text, one label, one token and one pass at a time: what classification in batches must agree with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

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


@torch.inference_mode()
def cosine(lm: LanguageModel, text: str, label: str) -> float:
    """Of the means over the tokens of two texts, each alone after <|endoftext|>, which counts only where nothing follows."""
    means = []
    for ids in (lm.tokenizer.encode(text), lm.tokenizer.encode(label)):
        states = lm.model(torch.tensor([[lm.tokenizer.end_of_text, *ids]]))[0].tolist()
        counted = states[1:] or states
        means.append([sum(column) / len(counted) for column in zip(*counted, strict=True)])
    product, *squares = (
        sum(a * b for a, b in zip(x, y, strict=True)) for x, y in (means, means[:1] * 2, means[1:] * 2)
    )
    return product / math.sqrt(squares[0] * squares[1])
