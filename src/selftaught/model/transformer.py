"""The network of both papers: a decoder-only transformer, ids in, hidden states out.

GPT-2 normalises before each sub-layer and once more at the end; GPT-1 after each sub-layer (`shape.norm`).

Shapes: B batch, T time, C channels, H heads, K head size, V vocabulary, S keys (remembered and new), N tokens of a batch.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from selftaught.errors import UsageError
from selftaught.model.cache import Cache
from selftaught.model.loss import token_loss_sum
from selftaught.model.shape import ModelShape


class Attention(nn.Module):
    """Masked multi-head self-attention."""

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = shape.heads
        self.dropout = shape.dropout
        self.joined = nn.Linear(shape.channels, 3 * shape.channels)  # queries, keys, values
        self.out = nn.Linear(shape.channels, shape.channels)

    def forward(self, x_BTC: Tensor, cache: Cache | None, mask: Tensor | None) -> Tensor:
        """Mix each position with those it may see: `mask` (True = may), or without one all up to itself."""
        B, T, C = x_BTC.shape
        joined = self.joined(x_BTC).view(B, T, 3, self.heads, C // self.heads)
        q_BHTK, k_BHSK, v_BHSK = joined.permute(2, 0, 3, 1, 4)
        if cache is not None:
            k_BHSK, v_BHSK = cache.append(self.layer, k_BHSK, v_BHSK)
            q_BHTK = q_BHTK.to(k_BHSK.dtype)
        mixed_BHTK = scaled_dot_product_attention(
            q_BHTK,
            k_BHSK,
            v_BHSK,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None and T > 1,
        )
        return cast("Tensor", self.out(mixed_BHTK.transpose(1, 2).reshape(B, T, C)))


class FeedForward(nn.Module):
    """Two layers with the tanh approximation of GELU between them, applied to each position alone."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.wide = nn.Linear(shape.channels, 4 * shape.channels)
        self.narrow = nn.Linear(4 * shape.channels, shape.channels)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Transform each position."""
        return cast("Tensor", self.narrow(gelu(self.wide(x_BTC), approximate="tanh")))


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to the residual stream."""

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.norm = shape.norm
        self.attention_norm = nn.LayerNorm(shape.channels)
        self.attention = Attention(shape, layer)
        self.feed_forward_norm = nn.LayerNorm(shape.channels)
        self.feed_forward = FeedForward(shape)
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, x_BTC: Tensor, cache: Cache | None, mask: Tensor | None) -> Tensor:
        """Return the residual stream after this layer."""
        if self.norm == "before":
            x_BTC = x_BTC + self.drop(self.attention(self.attention_norm(x_BTC), cache, mask))
            return cast("Tensor", x_BTC + self.drop(self.feed_forward(self.feed_forward_norm(x_BTC))))
        x_BTC = self.attention_norm(x_BTC + self.drop(self.attention(x_BTC, cache, mask)))
        return cast("Tensor", self.feed_forward_norm(x_BTC + self.drop(self.feed_forward(x_BTC))))


class Transformer(nn.Module):
    """The whole network. Its first weights come from `model.initial` or a checkpoint; they are float32."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.channels)
        self.positions = nn.Embedding(shape.context, shape.channels)
        self.drop = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.final_norm = nn.LayerNorm(shape.channels) if shape.norm == "before" else nn.Identity()

    def forward(
        self,
        ids_BT: Tensor,
        cache: Cache | None = None,
        *,
        positions_BT: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return hidden_BTC, the states after the last layer (and its norm), for `head` or `logits`.

        With a cache the ids follow those that it remembers, and it is extended. `positions_BT` (default: counted on) and
        `mask` (broadcast to B, H, T, S; True = may look; default: all up to itself) are for rows that are not one text.
        Raises UsageError if the ids do not fit into the context.
        """
        past, T = (cache.length if cache else 0), ids_BT.size(1)
        if positions_BT is None:
            if past + T > self.shape.context:
                raise UsageError("too many tokens", expected=f"at most {self.shape.context}", got=f"{past + T}")
            positions_BT = torch.arange(past, past + T, device=ids_BT.device)
        if mask is None and past and T > 1:
            mask = torch.ones(T, past + T, dtype=torch.bool, device=ids_BT.device).tril(past)
        x_BTC = self.drop(self.tokens(ids_BT) + self.positions(positions_BT))
        for block in self.blocks:
            x_BTC = block(x_BTC, cache, mask)
        if cache is not None:
            cache.advance(T)
        return cast("Tensor", self.final_norm(x_BTC))

    @property
    def head(self) -> Tensor:
        """Output weights (V, C): the token embedding again (GPT-1 paper, equation 2)."""
        return self.tokens.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits (..., V) of hidden states (..., C)."""
        return linear(hidden, self.head).float()


def loss_sum(model: Transformer, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """Return the sum over all tokens of -log p(target), in nats, as a float32 scalar to call backward on.

    The logits of the whole batch never exist at once. Under autocast the matrix products run in its format;
    log-probabilities, and sums over tokens, stay float32.
    """
    return token_loss_sum(model(ids_BT).flatten(0, 1), model.head, targets_BT.flatten())
