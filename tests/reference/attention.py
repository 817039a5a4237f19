"""Attention as the papers' formula reads, one head and one position at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Outputs of causal attention for (B, H, T, K) tensors."""
    mixed = torch.zeros_like(query)
    for row in range(query.size(0)):
        for head in range(query.size(1)):
            for place in range(query.size(2)):
                scores = key[row, head, : place + 1] @ query[row, head, place] / math.sqrt(query.size(3))
                mixed[row, head, place] = torch.softmax(scores, dim=0) @ value[row, head, : place + 1]
    return mixed
