"""The network that is fine-tuned: pre-trained weights as far as the plan transfers them, and three new tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import torch

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.finetuning import lstm
from selftaught.finetuning.inputs import SPECIAL_TOKENS
from selftaught.finetuning.lstm import Lstm, LstmShape
from selftaught.finetuning.plan import FinetuningPlan
from selftaught.model.initial import initialise
from selftaught.model.transformer import Transformer

Network: TypeAlias = Transformer | Lstm


def begin(plan: FinetuningPlan, pretrained: Transformer, *, seed: int, lstm_pretrained: Lstm | None = None) -> Network:
    """The network that a run begins with; new weights are drawn by the seed.

    Raises UsageError if the plan transfers more layers than there are.
    """
    draw = compute.generator("finetuning weights", seed)
    if plan.network == "lstm":
        return _begin_lstm(plan, pretrained, draw, lstm_pretrained)
    old = pretrained.shape
    count = old.layers if plan.layers_transferred is None else plan.layers_transferred
    if count > old.layers:
        raise UsageError(
            "the model has fewer layers than --layers-transferred", expected=f"at most {old.layers}", got=str(count)
        )
    shape = replace(old, vocabulary=old.vocabulary + len(SPECIAL_TOKENS), dropout=plan.dropout)
    network = Transformer(shape)
    initialise(network, draw)
    if not plan.from_scratch:
        kept = {
            name: weight
            for name, weight in pretrained.state_dict().items()
            if _is_transferred(name, count, whole=count == old.layers)
        }
        _fill(network, kept, old.vocabulary)
    return network


def _is_transferred(name: str, layers: int, *, whole: bool) -> bool:
    """Embeddings always, the first blocks; what comes after the last block (norm, own head) only with all of them."""
    room, _, rest = name.partition(".")
    if room == "blocks":
        return int(rest.split(".", 1)[0]) < layers
    return room in ("tokens", "positions") or whole


def _fill(network: torch.nn.Module, kept: Mapping[str, torch.Tensor], vocabulary: int) -> None:
    """Copy weights; a matrix with a row a token keeps its new rows."""
    own = network.state_dict()
    with torch.no_grad():
        for name, weight in kept.items():
            place = own[name]
            (place[:vocabulary] if place.shape != weight.shape else place).copy_(weight)


def _begin_lstm(plan: FinetuningPlan, pretrained: Transformer, draw: torch.Generator, known: Lstm | None) -> Lstm:
    """An LSTM as wide as the plan says; pre-trained weights if there are any, and the plan transfers them."""
    old = pretrained.shape
    shape = LstmShape(
        units=plan.lstm_units,
        channels=old.channels,
        context=old.context,
        vocabulary=old.vocabulary + len(SPECIAL_TOKENS),
        dropout=plan.dropout,
        input_scale=lstm.UNIT_INPUT,
    )
    network = Lstm(shape)
    lstm.initialise(network, draw)
    if known is not None and not plan.from_scratch:
        if replace(known.shape, dropout=0.0) != replace(shape, vocabulary=old.vocabulary, dropout=0.0):
            raise UsageError(
                "the pre-trained LSTM does not fit", expected=f"{plan.lstm_units} units", got=f"{known.shape.units}"
            )
        _fill(network, known.state_dict(), old.vocabulary)
    return network


def parameters(network: torch.nn.Module) -> int:
    """Number of weights."""
    return sum(weight.numel() for weight in network.parameters())
