"""The loss of a network on tokens, without ever holding all the logits: their gradient is made while a few are there.

Legend of shape suffixes: B batch, T positions, C channels, V vocabulary, N tokens of all rows in one line.
"""

from __future__ import annotations

from typing import Any

import torch

from selftaught.model import fused, kernels
from selftaught.model.transformer import Documents, Transformer

LOSS_CHUNK = {"cpu": 1024, "cuda": 4096}
"""Tokens whose logits exist at a time: measured on two cores; on an accelerator enough to keep it busy."""


def loss_sum(
    model: Transformer, ids_BT: torch.Tensor, targets_BT: torch.Tensor, mask: torch.Tensor | Documents | None = None
) -> torch.Tensor:
    """Sum of -log p(target) over all tokens, in nats, as a float32 scalar; the logits of only a few tokens exist at a time.

    Under autocast the products run in its format; log-probabilities, and sums over tokens, stay float32.
    """
    if fused.in_use(model.head_weight) and kernels.fits(model.shape.channels, 1):
        tied = fused.TiedGradient() if model.head is None else None
        tokens_BTC = fused.embedded(ids_BT, model.head_weight, tied) if tied is not None else None
        residual_NC = model.residual(ids_BT, mask=mask, tokens_BTC=tokens_BTC).flatten(0, 1)
        return fused.loss_sum(residual_NC, model.norm, model.head_weight, targets_BT.flatten(), tied)
    residual_NC = model.residual(ids_BT, mask=mask).flatten(0, 1)
    hidden_NC: torch.Tensor = model.norm(residual_NC)
    kind = str(hidden_NC.device.type)
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_NC.dtype
    loss: torch.Tensor = _ChunkedLoss.apply(hidden_NC, model.head_weight, targets_BT.flatten(), dtype)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedLoss(torch.autograd.Function):
    """Cross-entropy of the head; gradients are made while the logits of a chunk are there, so none are kept."""

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
