"""AdamW by hand, for one weight matrix: Loshchilov and Hutter 2019, algorithm 2."""

from __future__ import annotations

from typing import Any

import numpy as np


def adamw(
    weight: np.ndarray[Any, Any],
    gradients: list[np.ndarray[Any, Any]],
    rates: list[float],
    *,
    beta1: float,
    beta2: float,
    weight_decay: float,
    epsilon: float = 1e-8,
) -> np.ndarray[Any, Any]:
    """The weight after one step for each gradient."""
    mean = square = np.zeros_like(weight)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        unbiased = mean / (1 - beta1**step), square / (1 - beta2**step)
        weight = weight * (1 - rate * weight_decay)
        weight = weight - rate * unbiased[0] / (np.sqrt(unbiased[1]) + epsilon)
    return weight
