"""The single-layer LSTM that GPT-1's paper puts in the Transformer's place (section 5, table 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from selftaught.errors import UsageError

EMBEDDING_SPREAD = 0.02
"""Of new embeddings, as the Transformer's (protocol, part 12)."""
UNIT_INPUT = 1 / EMBEDDING_SPREAD


@dataclass(frozen=True, kw_only=True)
class LstmShape:
    """What an LSTM language model is like."""

    units: int
    channels: int
    """Width of the embedding, and of what the LSTM's output is turned into to be compared with it."""
    context: int
    """Tokens that an input may have; the network itself has no limit."""
    vocabulary: int
    dropout: float = 0.0
    input_scale: float = 1.0
    """What embeddings are multiplied by before the LSTM reads them; the head uses them as they are."""


class Lstm(nn.Module):
    """Embedding, one LSTM layer, a matrix back to the embedding's width; the head is the embedding itself."""

    def __init__(self, shape: LstmShape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.channels)
        self.drop = nn.Dropout(shape.dropout)
        self.lstm = nn.LSTM(shape.channels, shape.units, batch_first=True)
        self.output = nn.Linear(shape.units, shape.channels)

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """Hidden states hidden_BTC. Raises UsageError for more tokens than the context has."""
        if ids_BT.shape[1] > self.shape.context:
            raise UsageError("too many tokens", expected=f"at most {self.shape.context}", got=str(ids_BT.shape[1]))
        # torch's LSTM on a processor is no faster in bfloat16, and its state sums over many steps.
        with torch.autocast(ids_BT.device.type, enabled=False):
            states, _ = self.lstm(self.drop(self.tokens(ids_BT) * self.shape.input_scale))
        return self.drop(self.output(states))  # type: ignore[no-any-return]

    @property
    def head_weight(self) -> torch.Tensor:
        """The matrix weight_VC of the head."""
        weight_VC: torch.Tensor = self.tokens.weight
        return weight_VC

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores over the vocabulary in float32."""
        return functional.linear(hidden, self.head_weight.to(hidden.dtype)).float()


def initialise(model: Lstm, generator: torch.Generator) -> None:
    """New weights: each matrix by its width, forget gates open (bias 1), embeddings with a spread that suits the head.

    An LSTM whose gates see such small numbers learns nothing but frequencies for a long time: `UNIT_INPUT` lets it see spread 1.
    """
    reach = {"weight_ih_l0": (3 / model.shape.channels) ** 0.5, "weight_hh_l0": model.shape.units**-0.5}
    with torch.no_grad():
        nn.init.normal_(model.tokens.weight, std=EMBEDDING_SPREAD, generator=generator)
        nn.init.normal_(model.output.weight, std=model.shape.units**-0.5, generator=generator)
        nn.init.zeros_(model.output.bias)
        for name, weight in model.lstm.named_parameters():
            if "bias" in name:
                nn.init.zeros_(weight)
                if name == "bias_ih_l0":
                    weight[model.shape.units : 2 * model.shape.units] = 1.0
            else:
                nn.init.uniform_(weight, -reach[name], reach[name], generator=generator)
