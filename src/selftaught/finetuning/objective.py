"""GPT-1's fine-tuning objective L3 = L2 + lambda L1 (paper, section 3.2).

L2 is the mean over examples of the classification loss; L1 the mean over rows of each row's mean loss over its own tokens, the
special ones included (OpenAI's code). Both are sums over examples, so that a batch may be computed in parts.

Legend of shape suffixes: E examples, R rows, T tokens, N tokens of all rows in one line, L outputs, C channels, V vocabulary.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from selftaught.finetuning.heads import Classifier, HeadShape
from selftaught.finetuning.inputs import Batch

CHUNK = 2048
"""Tokens whose logits exist at a time."""


def losses(model: Classifier, batch: Batch, *, language: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum over the examples of the task's loss, and sum over the rows of the language model's (0 if it is not asked for)."""
    outputs_EL, hidden_RTC = model(batch)
    task = task_loss(outputs_EL, batch.labels, model.shape).sum()
    if not language:
        return task, torch.zeros((), device=task.device)
    return task, language_loss(hidden_RTC, model.network.head_weight, batch)


def task_loss(outputs_EL: torch.Tensor, labels_E: torch.Tensor, shape: HeadShape) -> torch.Tensor:
    """The loss of each example."""
    outputs_EL = outputs_EL.float()
    if shape.answer == "score":
        return functional.mse_loss(outputs_EL.squeeze(1), labels_E, reduction="none")
    if shape.answer == "soft-score":
        return functional.cross_entropy(outputs_EL, shared_out(labels_E, shape), reduction="none")
    return functional.cross_entropy(outputs_EL, labels_E, reduction="none")


def shared_out(scores_E: torch.Tensor, shape: HeadShape) -> torch.Tensor:
    """Scores as probabilities of the whole numbers beside them: 3.8 is 0.2 of class 3 and 0.8 of class 4 (Tai et al. 2015)."""
    place_E = scores_E - shape.low
    distance_EL = (place_E[:, None] - torch.arange(shape.outputs, device=scores_E.device)).abs()
    return (1 - distance_EL).clamp(min=0)


def language_loss(hidden_RTC: torch.Tensor, weight_VC: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Sum over rows of the mean loss of predicting each of the row's tokens after the first."""
    steps = torch.arange(1, batch.ids.shape[1], device=hidden_RTC.device)
    real_RT = steps < batch.lengths[:, None]
    hidden_NC, targets_N = hidden_RTC[:, :-1][real_RT], batch.ids[:, 1:][real_RT]
    weights_N = (1 / (batch.lengths - 1).float())[:, None].expand(real_RT.shape)[real_RT]
    return weighted_loss(hidden_NC, weight_VC, targets_N, weights_N)


def weighted_loss(
    hidden_NC: torch.Tensor, weight_VC: torch.Tensor, targets_N: torch.Tensor, weights_N: torch.Tensor
) -> torch.Tensor:
    """Weighted sum of -log p(target); the logits of only a few tokens exist at a time, and are made again on the way back."""
    total = torch.zeros((), device=hidden_NC.device)
    for start in range(0, len(targets_N), CHUNK):
        part = slice(start, start + CHUNK)
        arguments = (hidden_NC[part], weight_VC, targets_N[part], weights_N[part])
        if len(targets_N) <= CHUNK:
            total = total + _weighted(*arguments)
        else:
            total = total + checkpoint(_weighted, *arguments, use_reentrant=False)
    return total


def _weighted(
    hidden_NC: torch.Tensor, weight_VC: torch.Tensor, targets_N: torch.Tensor, weights_N: torch.Tensor
) -> torch.Tensor:
    logits_NV = functional.linear(hidden_NC, weight_VC).float()
    return (functional.cross_entropy(logits_NV, targets_N, reduction="none") * weights_N).sum()
