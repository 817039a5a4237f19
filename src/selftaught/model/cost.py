"""What a network costs, by formula: parameters, floating-point operations, bytes of a cache."""

from __future__ import annotations

from selftaught.model.shape import ModelShape


def parameters(shape: ModelShape) -> int:
    """Number of parameters; the output layer is the token embedding again and counts once."""
    c = shape.channels
    block = 12 * c * c + 13 * c
    """Attention 4 c^2 + 4 c, feed-forward 8 c^2 + 5 c, two normalisations 4 c."""
    final_norm = 2 * c if shape.norm == "before" else 0
    return (shape.vocabulary + shape.context) * c + shape.layers * block + final_norm


def forward_flops_per_token(shape: ModelShape, context: int) -> int:
    """Floating-point operations of the matrix products for one token of a window of `context` tokens, output layer included.

    Attention is counted as if it looked at the whole window, as is usual; looking back only needs half of that part.
    """
    weights = 12 * shape.layers * shape.channels**2 + shape.vocabulary * shape.channels
    return 2 * weights + 4 * shape.layers * shape.channels * context


def training_flops_per_token(shape: ModelShape, context: int) -> int:
    """Floating-point operations to train on one token: the forward pass, and twice as much for the backward pass."""
    return 3 * forward_flops_per_token(shape, context)


def cache_bytes_per_token(shape: ModelShape, bytes_per_number: int = 4) -> int:
    """Bytes of keys and values that generation remembers for one token."""
    return 2 * shape.layers * shape.channels * bytes_per_number
