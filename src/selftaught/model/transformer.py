"""The Transformer decoder of GPT-1 and GPT-2.

Legend of shape suffixes: B batch, T new positions, M remembered and new positions, C channels, H heads, K head size,
V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn
from torch.nn import functional

from selftaught.errors import UsageError
from selftaught.model import fused, kernels
from selftaught.model.attention import causal_attention
from selftaught.model.cache import Cache
from selftaught.model.shape import ModelShape


@dataclass(kw_only=True)
class Watch:
    """What to look at, or to leave out, on the way through a network; it is slower, and meant for looking."""

    hidden: list[torch.Tensor] = field(default_factory=list)
    """Filled: hidden_BTC before the first block and after each (of GPT-2, before the last normalisation)."""
    attention: list[torch.Tensor] = field(default_factory=list)
    """Filled: for each layer, attention_BHTM: how much each new position looks at each one."""
    head_mask: torch.Tensor | None = None
    """head_mask_LH: factor of what each head of each layer contributes; 0 takes it out."""


@dataclass(frozen=True)
class Documents:
    """Rows that hold several documents: each token sees its own, up to itself."""

    firsts: torch.Tensor
    """Of B, T: where the document of each token begins, as int32."""

    @cached_property
    def mask(self) -> torch.Tensor:
        """The same as True = seen, of shape B, 1, T, T."""
        firsts_BT = self.firsts
        return (firsts_BT[:, None, :, None] == firsts_BT[:, None, None, :]).tril()


class Attention(nn.Module):
    """Causal self-attention of many heads."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, shape.dropout
        self.scale_by_layer, self.float32 = shape.scale_by_layer, shape.attention_float32
        self.query_key_value = nn.Linear(shape.channels, 3 * shape.channels)
        self.output = nn.Linear(shape.channels, shape.channels)

    def forward(
        self,
        hidden_BTC: torch.Tensor,
        cache: Cache | None,
        layer: int,
        mask: torch.Tensor | None,
        watch: Watch | None = None,
    ) -> torch.Tensor:
        """Mix each position with those before it, or those that `mask` lets it see."""
        batch, new, channels = hidden_BTC.shape
        parts = self.query_key_value(hidden_BTC).view(batch, new, 3, self.heads, channels // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = cache.extend(layer, key, value)
            query = query.to(key.dtype)
        if self.scale_by_layer:
            query = query / (layer + 1)
        if watch is not None:
            mixed_BHTK = _watched_attention(query, key, value, mask, layer, watch)
            return self._joined(mixed_BHTK, hidden_BTC.dtype)
        dropout = self.dropout if self.training else 0.0
        plain = cache is None and mask is None and not dropout and torch.is_grad_enabled()
        if self.float32:
            # Autocast would turn float32 back.
            with torch.autocast(query.device.type, enabled=False):
                wide = (query.float(), key.float(), value.float())
                mixed_BHTK = functional.scaled_dot_product_attention(
                    *wide, attn_mask=mask, dropout_p=dropout, is_causal=mask is None and new > 1
                )
        elif plain and query.device.type == "cpu" and query.dtype is torch.bfloat16:
            mixed_BHTK = causal_attention(query, key, value)
        else:
            mixed_BHTK = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=mask is None and new > 1
            )
        return self._joined(mixed_BHTK, hidden_BTC.dtype)

    def _joined(self, mixed_BHTK: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return self.output(mixed_BHTK.transpose(1, 2).flatten(2).to(dtype))  # type: ignore[no-any-return]


def _watched_attention(  # noqa: PLR0917 - the kernel's arguments and who watches
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    layer: int,
    watch: Watch,
) -> torch.Tensor:
    """Attention whose probabilities are kept, and whose heads count as much as the mask of heads says."""
    new, seen = query.shape[2], key.shape[2]
    allowed = mask
    if allowed is None:
        allowed = torch.ones(new, seen, dtype=torch.bool, device=query.device).tril(diagonal=seen - new)
    with torch.autocast(query.device.type, enabled=False):
        scores_BHTM = (query.float() @ key.float().mT) * query.shape[-1] ** -0.5
        attention_BHTM = scores_BHTM.masked_fill(~allowed, float("-inf")).softmax(-1)
        watch.attention.append(attention_BHTM)
        if watch.head_mask is not None:
            attention_BHTM = attention_BHTM * watch.head_mask[layer, :, None, None]
        mixed_BHTK: torch.Tensor = attention_BHTM @ value.float()
    return mixed_BHTK


class FeedForward(nn.Module):
    """Two matrices with a GELU between them, four times as wide inside."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.approximate = "tanh" if shape.activation == "gelu-tanh" else "none"
        self.inner = nn.Linear(shape.channels, shape.feed)
        self.outer = nn.Linear(shape.feed, shape.channels)

    def forward(self, hidden_BTC: torch.Tensor) -> torch.Tensor:
        """Transform each position alone."""
        return self.outer(functional.gelu(self.inner(hidden_BTC), approximate=self.approximate))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and feed-forward, each added to what comes in; normalised before (GPT-2) or after (GPT-1)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.before = shape.norm == "before"
        self.fusible = (
            self.before
            and shape.activation == "gelu-tanh"
            and not shape.attention_float32
            and kernels.fits(shape.channels, shape.heads)
            and kernels.fits(shape.feed, 1)
        )
        self.attention_norm = nn.LayerNorm(shape.channels, eps=shape.norm_epsilon)
        self.attention = Attention(shape)
        self.feed_norm = nn.LayerNorm(shape.channels, eps=shape.norm_epsilon)
        self.feed = FeedForward(shape)
        self.drop = nn.Dropout(shape.dropout)

    def forward(
        self,
        hidden: torch.Tensor,
        cache: Cache | None,
        layer: int,
        mask: torch.Tensor | Documents | None,
        watch: Watch | None = None,
    ) -> torch.Tensor:
        """Pass hidden_BTC through the block."""
        drops = self.training and self.drop.p > 0
        plain = cache is None and watch is None and not drops
        if plain and not isinstance(mask, torch.Tensor) and self.fusible and fused.in_use(hidden):
            return self._fused(hidden, layer, None if mask is None else mask.firsts)
        if isinstance(mask, Documents):
            mask = mask.mask
        if self.before:
            hidden = hidden + self.drop(self.attention(self.attention_norm(hidden), cache, layer, mask, watch))
            return hidden + self.drop(self.feed(self.feed_norm(hidden)))  # type: ignore[no-any-return]
        hidden = self.attention_norm(hidden + self.drop(self.attention(hidden, cache, layer, mask, watch)))
        return self.feed_norm(hidden + self.drop(self.feed(hidden)))  # type: ignore[no-any-return]

    def _fused(self, hidden_BTC: torch.Tensor, layer: int, firsts_BT: torch.Tensor | None) -> torch.Tensor:
        """The same by kernels of our own."""
        attention, feed = self.attention, self.feed
        size = hidden_BTC.shape[-1] // attention.heads
        options = fused.BlockOptions(
            heads=attention.heads,
            scale=size**-0.5 / (layer + 1 if attention.scale_by_layer else 1),
            epsilon=self.feed_norm.eps,
            firsts=firsts_BT,
        )
        before = (self.attention_norm, attention.query_key_value, attention.output)
        return fused.block(hidden_BTC, options, (*before, self.feed_norm, feed.inner, feed.outer))


class Transformer(nn.Module):
    """Ids in, hidden states out; `logits` turns these into scores over the vocabulary, with the embedding itself if tied."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.channels)
        self.positions = nn.Embedding(shape.context, shape.channels)
        self.drop = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm: nn.Module = (
            nn.LayerNorm(shape.channels, eps=shape.norm_epsilon) if shape.norm == "before" else nn.Identity()
        )
        self.head = None if shape.tied else nn.Linear(shape.channels, shape.vocabulary, bias=False)

    @property
    def head_weight(self) -> torch.Tensor:
        """The matrix weight_VC of the head: the token embedding's, or its own."""
        weight_VC: torch.Tensor = self.tokens.weight if self.head is None else self.head.weight
        return weight_VC

    def forward(
        self,
        ids_BT: torch.Tensor,
        cache: Cache | None = None,
        *,
        places_BT: torch.Tensor | None = None,
        mask: torch.Tensor | Documents | None = None,
        watch: Watch | None = None,
    ) -> torch.Tensor:
        """Hidden states hidden_BTC after the last normalisation; with a cache, of the new positions, which it then holds.

        Rows that are not one text each say where their tokens stand (`places_BT`) and what each may see (`mask`, True = seen,
        broadcast to B, H, T, M, or documents). Raises UsageError for more positions than the context has.
        """
        return self.norm(self.residual(ids_BT, cache, places_BT=places_BT, mask=mask, watch=watch))  # type: ignore[no-any-return]

    def residual(
        self,
        ids_BT: torch.Tensor,
        cache: Cache | None = None,
        *,
        places_BT: torch.Tensor | None = None,
        mask: torch.Tensor | Documents | None = None,
        watch: Watch | None = None,
        tokens_BTC: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The same before the last normalisation; of embeddings of the tokens that were looked up before, if they are given."""
        past = cache.filled if cache is not None else 0
        new = ids_BT.shape[1]
        if places_BT is None and past + new > self.shape.context:
            raise UsageError("too many tokens", expected=f"at most {self.shape.context}", got=str(past + new))
        places = torch.arange(past, past + new, device=ids_BT.device) if places_BT is None else places_BT
        if mask is None and past and new > 1:
            mask = torch.ones(new, past + new, dtype=torch.bool, device=ids_BT.device).tril(diagonal=past)
        hidden = self.drop((self.tokens(ids_BT) if tokens_BTC is None else tokens_BTC) + self.positions(places))
        for layer, block in enumerate(self.blocks):
            if watch is not None:
                watch.hidden.append(hidden)
            hidden = block(hidden, cache, layer, mask, watch)
        if watch is not None:
            watch.hidden.append(hidden)
        if cache is not None:
            cache.filled += new
        return hidden  # type: ignore[no-any-return]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores over the vocabulary in float32, for hidden states of any leading shape."""
        return functional.linear(hidden, self.head_weight.to(hidden.dtype)).float()


def document_mask(ids_BT: torch.Tensor, end_of_text: int) -> Documents:
    """What each token may see where a row holds several documents, each after an <|endoftext|>: its own, up to itself."""
    places_T = torch.arange(ids_BT.shape[1], dtype=torch.int32, device=ids_BT.device)
    return Documents(torch.where(ids_BT == end_of_text, places_T, 0).cummax(1).values)
