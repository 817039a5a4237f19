"""The Transformer decoder of GPT-1 and GPT-2.

Legend of shape suffixes: B batch, T new positions, M remembered and new positions, C channels, H heads, K head size,
V vocabulary, N tokens of all rows in one line.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from selftaught.errors import UsageError
from selftaught.model.attention import causal_attention
from selftaught.model.cache import Cache
from selftaught.model.shape import ModelShape

LOSS_CHUNK = {"cpu": 1024, "cuda": 4096}
"""Tokens whose logits exist at a time: measured on two cores; on an accelerator enough to keep it busy."""


class Attention(nn.Module):
    """Causal self-attention of many heads."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, shape.dropout
        self.query_key_value = nn.Linear(shape.channels, 3 * shape.channels)
        self.output = nn.Linear(shape.channels, shape.channels)

    def forward(
        self, hidden_BTC: torch.Tensor, cache: Cache | None, layer: int, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Mix each position with those before it, or those that `mask` lets it see."""
        batch, new, channels = hidden_BTC.shape
        parts = self.query_key_value(hidden_BTC).view(batch, new, 3, self.heads, channels // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = cache.extend(layer, key, value)
            query = query.to(key.dtype)
        dropout = self.dropout if self.training else 0.0
        plain = cache is None and mask is None and not dropout and torch.is_grad_enabled()
        if plain and query.device.type == "cpu" and query.dtype is torch.bfloat16:
            mixed_BHTK = causal_attention(query, key, value)
        else:
            mixed_BHTK = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=mask is None and new > 1
            )
        return self.output(mixed_BHTK.transpose(1, 2).reshape(batch, new, channels))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Two matrices with a GELU between them, four times as wide inside."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.inner = nn.Linear(shape.channels, 4 * shape.channels)
        self.outer = nn.Linear(4 * shape.channels, shape.channels)

    def forward(self, hidden_BTC: torch.Tensor) -> torch.Tensor:
        """Transform each position alone."""
        return self.outer(functional.gelu(self.inner(hidden_BTC), approximate="tanh"))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and feed-forward, each added to what comes in; normalised before (GPT-2) or after (GPT-1)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.before = shape.norm == "before"
        self.attention_norm = nn.LayerNorm(shape.channels)
        self.attention = Attention(shape)
        self.feed_norm = nn.LayerNorm(shape.channels)
        self.feed = FeedForward(shape)
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, hidden: torch.Tensor, cache: Cache | None, layer: int, mask: torch.Tensor | None) -> torch.Tensor:
        """Pass hidden_BTC through the block."""
        if self.before:
            hidden = hidden + self.drop(self.attention(self.attention_norm(hidden), cache, layer, mask))
            return hidden + self.drop(self.feed(self.feed_norm(hidden)))  # type: ignore[no-any-return]
        hidden = self.attention_norm(hidden + self.drop(self.attention(hidden, cache, layer, mask)))
        return self.feed_norm(hidden + self.drop(self.feed(hidden)))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Ids in, hidden states out; `logits` turns hidden states into scores over the vocabulary with the embedding itself."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.channels)
        self.positions = nn.Embedding(shape.context, shape.channels)
        self.drop = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm: nn.Module = nn.LayerNorm(shape.channels) if shape.norm == "before" else nn.Identity()

    def forward(
        self,
        ids_BT: torch.Tensor,
        cache: Cache | None = None,
        *,
        places_BT: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Hidden states hidden_BTC after the last normalisation; with a cache, of the new positions, which it then holds.

        Rows that are not one text each say where their tokens stand (`places_BT`) and what each may see (`mask`, True = seen,
        broadcast to B, H, T, M). Raises UsageError for more positions than the context has.
        """
        past = cache.filled if cache is not None else 0
        new = ids_BT.shape[1]
        if places_BT is None and past + new > self.shape.context:
            raise UsageError("too many tokens", expected=f"at most {self.shape.context}", got=str(past + new))
        places = torch.arange(past, past + new, device=ids_BT.device) if places_BT is None else places_BT
        if mask is None and past and new > 1:
            mask = torch.ones(new, past + new, dtype=torch.bool, device=ids_BT.device).tril(diagonal=past)
        hidden = self.drop(self.tokens(ids_BT) + self.positions(places))
        for layer, block in enumerate(self.blocks):
            hidden = block(hidden, cache, layer, mask)
        if cache is not None:
            cache.filled += new
        return self.norm(hidden)  # type: ignore[no-any-return]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores over the vocabulary in float32, for hidden states of any leading shape."""
        return functional.linear(hidden, self.tokens.weight.to(hidden.dtype)).float()


def loss_sum(model: Transformer, ids_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
    """Sum of -log p(target) over all tokens, in nats, as a float32 scalar; the logits of only a few tokens exist at a time.

    Under autocast the products run in its format; log-probabilities, and sums over tokens, stay float32.
    """
    hidden_NC = model(ids_BT).flatten(0, 1)
    kind = str(hidden_NC.device.type)
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_NC.dtype
    loss: torch.Tensor = _ChunkedLoss.apply(hidden_NC, model.tokens.weight, targets_BT.flatten(), dtype)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedLoss(torch.autograd.Function):
    """Cross-entropy of the tied head; gradients are made while the logits of a chunk are there, so none are kept."""

    @staticmethod
    def forward(
        ctx: Any, hidden_NC: torch.Tensor, weight_VC: torch.Tensor, targets_N: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        hidden, weight = hidden_NC.to(dtype), weight_VC.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden_NC.device)
        wanted = any(ctx.needs_input_grad)
        hidden_gradient = torch.empty_like(hidden_NC) if wanted else None
        weight_gradient = torch.zeros_like(weight_VC, dtype=torch.float32) if wanted else None
        size = LOSS_CHUNK.get(hidden_NC.device.type, LOSS_CHUNK["cuda"])
        for start in range(0, len(hidden), size):
            part, targets = hidden[start : start + size], targets_N[start : start + size, None]
            log_probs = torch.log_softmax(part @ weight.T, dim=-1, dtype=torch.float32)
            total -= log_probs.gather(1, targets).sum()
            if hidden_gradient is not None and weight_gradient is not None:
                change = log_probs.exp_().scatter_add_(1, targets, log_probs.new_full(targets.shape, -1.0)).to(dtype)
                hidden_gradient[start : start + size] = change @ weight
                weight_gradient += change.T @ part
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * outputs[0].to(hidden_gradient.dtype), weight_gradient * outputs[0], None, None
