"""A network with GPT-1's linear output layer on top (paper, sections 3.2 and 3.3).

Legend of shape suffixes: E examples, K rows of each, R = E * K rows, T tokens, C channels, L outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from selftaught.compute import Machine
from selftaught.finetuning.inputs import Batch, Encoded, by_length
from selftaught.finetuning.networks import Network
from selftaught.tasks.labelled import Kind, Labels

Answer: TypeAlias = Literal["class", "score", "soft-score", "option"]
"""What the output layer says: a class, a score, a score as a mixture of classes, which option."""


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """What the output layer is like."""

    kind: Kind
    answer: Answer
    outputs: int
    labels: tuple[str, ...] = ()
    """Names of the classes."""
    low: float = 0.0
    """Of scores."""
    high: float = 0.0
    dropout: float = 0.1

    @property
    def scored(self) -> bool:
        """Whether labels are scores."""
        return self.answer in ("score", "soft-score")


def head_shape(kind: Kind, labels: Labels, *, soft: bool, dropout: float) -> HeadShape:
    """The output layer that a task needs."""
    if kind == "choice":
        return HeadShape(kind=kind, answer="option", outputs=1, dropout=dropout)
    if labels.scored:
        whole = float(labels.high - labels.low).is_integer()
        answer: Answer = "soft-score" if soft and whole else "score"
        outputs = int(labels.high - labels.low) + 1 if answer == "soft-score" else 1
        return HeadShape(kind=kind, answer=answer, outputs=outputs, low=labels.low, high=labels.high, dropout=dropout)
    return HeadShape(kind=kind, answer="class", outputs=len(labels.names), labels=labels.names, dropout=dropout)


class Classifier(nn.Module):
    """A network and its output layer, which sees the last hidden state at the extract token."""

    def __init__(self, network: Network, shape: HeadShape) -> None:
        super().__init__()
        self.network, self.shape = network, shape
        self.output = nn.Linear(network.shape.channels, shape.outputs)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the output layer's weights (standard deviation 0.02, bias 0: protocol, part 12)."""
        nn.init.normal_(self.output.weight, std=0.02, generator=generator)
        nn.init.zeros_(self.output.bias)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs outputs_EL (for a choice, one an answer: L = K) and hidden states hidden_RTC."""
        hidden_RTC = self.network(batch.ids)
        rows = torch.arange(len(hidden_RTC), device=hidden_RTC.device)
        extracted_EKC = hidden_RTC[rows, batch.lengths - 1].float().view(batch.examples, batch.rows, -1)
        with torch.autocast(hidden_RTC.device.type, enabled=False):
            if self.shape.kind == "choice":
                return self.output(self._dropped(extracted_EKC)).squeeze(-1), hidden_RTC
            summed_EC = functional.dropout(extracted_EKC.sum(1), self.shape.dropout, self.training)
            return self.output(summed_EC), hidden_RTC

    def _dropped(self, extracted_EKC: torch.Tensor) -> torch.Tensor:
        """Dropout with one mask for all answers of a question (OpenAI's code), so that none is favoured by it."""
        return extracted_EKC * functional.dropout(
            torch.ones_like(extracted_EKC[:, :1]), self.shape.dropout, self.training
        )


def predictions(outputs_EL: torch.Tensor, shape: HeadShape) -> torch.Tensor:
    """The class or option with the largest output, or the score."""
    if shape.answer == "score":
        return outputs_EL.squeeze(1)
    if shape.answer == "soft-score":
        values_L = torch.arange(shape.outputs, device=outputs_EL.device) + shape.low
        return outputs_EL.softmax(1) @ values_L.float()
    return outputs_EL.argmax(1)


@torch.inference_mode()
def run_all(
    model: Classifier,
    examples: Sequence[Encoded],
    collated: Callable[[Sequence[Encoded]], Batch],
    tokens: int,
    machine: Machine,
) -> torch.Tensor:
    """Outputs outputs_EL of all examples, without dropout, in their order; about `tokens` tokens are computed at a time."""
    model.eval()
    parts, order = [], []
    for numbers in by_length(examples, tokens):
        with autocast(machine):
            outputs_EL, _ = model(collated([examples[number] for number in numbers]))
        parts.append(outputs_EL.float().cpu())
        order += numbers
    outputs = torch.cat(parts)
    return torch.empty_like(outputs).index_copy_(0, torch.tensor(order), outputs)


def autocast(machine: Machine) -> torch.autocast:
    """Matrix products in the machine's format."""
    return torch.autocast(machine.device.partition(":")[0], machine.dtype, enabled=machine.dtype is not torch.float32)
