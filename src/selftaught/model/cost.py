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


HALF_BYTES, WEIGHT_BYTES, STATE_BYTES = 2, 4, 16
"""A bfloat16 number; a float32 number; a float32 weight with its gradient and AdamW's two means."""


def activation_bytes_per_token(shape: ModelShape) -> int:
    """What blocks keep of a token for the way back in bfloat16, with an attention kernel that keeps no probabilities.

    In numbers a channel: two float32 residuals; in bfloat16 two normalised ones, queries, keys and values (3), what attention
    gives by head and by position (2), and the inner layer before and after its GELU (4 each).
    """
    return shape.layers * shape.channels * (2 * 4 + 2 * (2 + 3 + 2 + 8))


def training_bytes(shape: ModelShape, *, rows: int, shares: int = 1, micro_batches: int = 1) -> int:
    """Memory of a process that computes `rows` at a time and holds one of `shares` of weights, gradients and optimizer.

    Besides there are the matrices of all blocks in bfloat16, which autocast makes on the way forward and autograd keeps for the
    way back. A process with a share gathers the weights of the block it computes and of the next; the embedding counts as one. It
    holds all gradients where several `micro_batches` are added up before they are shared out.
    """
    kept = parameters(shape) * STATE_BYTES // shares
    matrices = 2 * shape.channels * shape.channels + shape.channels * shape.feed
    halves = shape.layers * 2 * HALF_BYTES * matrices
    block = max(2 * matrices, shape.vocabulary * shape.channels)
    gathered = 2 * WEIGHT_BYTES * block if shares > 1 else 0
    added_up = WEIGHT_BYTES * parameters(shape) if shares > 1 and micro_batches > 1 else 0
    return kept + halves + gathered + added_up + rows * shape.context * activation_bytes_per_token(shape)


def traffic_bytes(shape: ModelShape, *, processes: int, gathers: int = 0) -> int:
    """What a process sends in a step: gradients summed over all in a ring, or with shares their sum, and weights gathered.

    `gathers` is how often weights are gathered, twice a micro-batch (forward and backward); 0 where each has all weights.
    """
    times = 1 + gathers if gathers else 2
    return WEIGHT_BYTES * parameters(shape) * times * (processes - 1) // processes
