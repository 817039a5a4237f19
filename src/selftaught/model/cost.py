"""Parameters, FLOPs and memory by formula. Imports no torch."""

from __future__ import annotations

from selftaught.model.shape import ModelShape


def parameters(shape: ModelShape) -> int:
    """Number of weights; a tied head counts once, as the embedding that it is."""
    channels = shape.channels
    attention = 4 * channels * channels + 4 * channels
    feed = 2 * channels * shape.feed + shape.feed + channels
    final_norm = 2 * channels if shape.norm == "before" else 0
    embeddings = (shape.vocabulary * (1 if shape.tied else 2) + shape.context) * channels
    return embeddings + shape.layers * (attention + feed + 4 * channels) + final_norm


def forward_flops_per_token(shape: ModelShape, context: int | None = None) -> int:
    """Multiplications and additions of one token's way through network and head, attending to half of `context` on average."""
    length, channels = context or shape.context, shape.channels
    block = 2 * (4 * channels * channels + 2 * channels * shape.feed) + 2 * length * channels
    return shape.layers * block + 2 * shape.vocabulary * channels


def training_flops_per_token(shape: ModelShape, context: int | None = None) -> int:
    """Forward once and backward, which costs twice as much (Kaplan et al. 2020, section 2.1)."""
    return 3 * forward_flops_per_token(shape, context)
