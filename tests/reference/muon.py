"""Muon by hand, for one matrix: momentum, then the nearest half-orthogonal matrix by a singular value decomposition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Matrix = np.ndarray[Any, Any]


def iterated(matrix: Matrix) -> Matrix:
    """Five rounds of the quintic polynomial, applied to the singular values alone."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.sqrt((values**2).sum())
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return (left * values) @ right


def muon(
    weight: Matrix, gradients: list[Matrix], rates: list[float], *, weight_decay: float, momentum: float
) -> Matrix:
    """The weight after one step for each gradient."""
    mean = np.zeros_like(weight)
    for gradient, rate in zip(gradients, rates, strict=True):
        mean = momentum * mean + (1 - momentum) * gradient
        ahead = momentum * mean + (1 - momentum) * gradient
        weight = weight * (1 - rate * weight_decay) - rate * 0.2 * math.sqrt(max(weight.shape)) * iterated(ahead)
    return weight
