"""GPT-1's fine-tuning objective, truncation and OpenAI's Adam by hand, one example, token and weight at a time."""

from __future__ import annotations

import math
from typing import Any

import torch


def objective(model: Any, examples: list[Any], weight: float) -> torch.Tensor:
    """Mean over examples of -log p(label) + weight * mean over rows of each row's mean -log p(token), without batches."""
    task, language = [], []
    for example in examples:
        states = []
        for row in example.rows:
            hidden = model.network(torch.tensor([row]))[0]
            log_probs = model.network.logits(hidden).log_softmax(-1)
            losses = [-log_probs[place, row[place + 1]] for place in range(len(row) - 1)]
            language.append(sum(losses) / len(losses))
            states.append(hidden[-1])
        if model.shape.kind == "choice":
            outputs = torch.stack([model.output(state)[0] for state in states])
        else:
            outputs = model.output(sum(states))
        task.append(_task(outputs, example.label, model.shape))
    return sum(task) / len(task) + weight * sum(language) / len(language)


def _task(outputs: torch.Tensor, label: float, shape: Any) -> torch.Tensor:
    if shape.answer == "score":
        return (outputs[0] - label) ** 2
    log_probs = outputs.log_softmax(-1)
    if shape.answer != "soft-score":
        return -log_probs[int(label)]
    below = math.floor(label - shape.low)
    upper = label - shape.low - below
    loss = -(1 - upper) * log_probs[below]
    return loss - upper * log_probs[below + 1] if upper else loss


def truncated(parts: list[list[int]], room: int) -> list[list[int]]:
    """Take the last token from the longest part, the first of equals, until all fit."""
    parts = [list(part) for part in parts]
    while sum(map(len, parts)) > room:
        max(parts, key=len).pop()
    return parts


def openai_adam(
    weight: float, gradients: list[float], rates: list[float], *, beta1: float, beta2: float, decay: float
) -> float:
    """p <- p - r (m / (sqrt(v) + e) + decay p), r = rate sqrt(1 - b2^t) / (1 - b1^t)."""
    mean = square = 0.0
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        corrected = rate * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        weight -= corrected * (mean / (math.sqrt(square) + 1e-8) + decay * weight)
    return weight
