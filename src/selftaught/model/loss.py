"""The training loss, computed a few tokens at a time so that the logits of a whole batch never exist.

Shapes: N tokens, C channels, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_NUMBERS = {"cpu": 1 << 21, "other": 1 << 27}
"""Logits held at once: what stays in a processor's cache, or keeps an accelerator busy."""


def token_loss_sum(hidden_NC: Tensor, head_VC: Tensor, targets_N: Tensor) -> Tensor:
    """Return the sum of -log softmax(hidden @ head.T)[target], in nats, without holding all of that product.

    Under autocast the products run in its format; log-probabilities, and sums over tokens, stay float32.
    """
    kind = hidden_NC.device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    dtype = autocast or hidden_NC.dtype
    total: Tensor = _ChunkedLoss.apply(hidden_NC, head_VC, targets_N, dtype, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return total


class _ChunkedLoss(torch.autograd.Function):
    """Forward computes the gradients too, chunk by chunk, while the logits are at hand; backward only scales them."""

    @staticmethod
    def forward(  # noqa: PLR0917  # the signature is autograd's
        ctx: Any,
        hidden_NC: Tensor,
        head_VC: Tensor,
        targets_N: Tensor,
        dtype: torch.dtype,
        with_gradient: bool,  # noqa: FBT001
    ) -> Tensor:
        hidden, head = hidden_NC.detach().to(dtype), head_VC.detach().to(dtype)
        total = torch.zeros((), device=hidden.device, dtype=torch.float32)
        d_hidden = torch.empty_like(hidden_NC) if with_gradient else None
        d_head = torch.zeros_like(head_VC) if with_gradient else None
        for start in range(0, hidden.size(0), _chunk_tokens(head)):
            chosen = slice(start, start + _chunk_tokens(head))
            log_p = torch.log_softmax(hidden[chosen] @ head.T, dim=-1, dtype=torch.float32)
            wanted = targets_N[chosen, None]
            total -= log_p.gather(1, wanted).sum()
            if d_hidden is not None and d_head is not None:
                d_logits = (
                    log_p.exp_().scatter_add_(1, wanted, log_p.new_full((1, 1), -1.0).expand_as(wanted)).to(dtype)
                )
                d_hidden[chosen] = d_logits @ head
                d_head += d_logits.T @ hidden[chosen]
        ctx.save_for_backward(d_hidden, d_head)
        return total

    @staticmethod
    def backward(ctx: Any, *scale: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden * scale[0], d_head * scale[0], None, None, None


def _chunk_tokens(head_VC: Tensor) -> int:
    numbers = CHUNK_NUMBERS["cpu" if head_VC.device.type == "cpu" else "other"]
    return max(64, numbers // head_VC.size(0))
