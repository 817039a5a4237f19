"""Held-out loss while training, on the same tokens each time."""

from __future__ import annotations

import math

import torch

from selftaught.compute import Machine
from selftaught.errors import InputError
from selftaught.model.transformer import Transformer
from selftaught.tokens.selection import Tokens
from selftaught.training.parallel import Processes
from selftaught.training.step import mean_loss


class Heldout:
    """Windows spread evenly over the held-out tokens, so that no single long document decides."""

    def __init__(self, shards: Tokens, *, context: int, tokens: int, rows: int) -> None:
        """Take about `tokens` of them, in windows of `context`; `rows` windows are computed at a time.

        Raises InputError if there is nothing to predict.
        """
        if shards.tokens < 2 or not shards.bytes:
            raise InputError(f"{shards.folder} has no held-out text", hint="Make the corpus with a larger --heldout.")
        length = min(context, shards.tokens - 1)
        there = (shards.tokens - 1) // length
        count = min(max(1, tokens // length), there)
        windows = torch.stack(
            [
                torch.from_numpy(shards.slice(number * there // count * length, length + 1)).long()
                for number in range(count)
            ]
        )
        self._batches = [(part[:, :-1], part[:, 1:]) for part in torch.split(windows, rows)]
        self._bits_per_nat = shards.tokens / shards.bytes / math.log(2)
        """Bits per byte of one nat per token, over the whole of the held-out text."""

    def loss(self, model: Transformer, machine: Machine, processes: Processes | None = None) -> float:
        """Mean loss in nats per token, <|endoftext|> counted as one."""
        return mean_loss(model, self._batches, machine, processes)

    def bits_per_byte(self, model: Transformer, machine: Machine) -> float:
        """Mean loss in bits per byte of text, the <|endoftext|> of each document counted in."""
        return self.as_bits_per_byte(self.loss(model, machine))

    def as_bits_per_byte(self, loss: float) -> float:
        """A loss in nats per token in bits per byte of text."""
        return loss * self._bits_per_nat
