"""Short continuations of many prompts at once, each as if it were alone. Knows ids only.

Prompts that follow one another and begin alike share the reading of what they have in common (`inference.forest`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import torch

from selftaught.errors import UsageError
from selftaught.inference.forest import Forest, Node
from selftaught.inference.rules import SamplingSettings
from selftaught.inference.sampling import choose
from selftaught.inference.trees import shared_beginning
from selftaught.model.transformer import Transformer

SHARED_TOKENS = 16
"""Prompts that have fewer in common are read apart."""
TOGETHER, APART_TOKENS = 32, 512
"""Most prompts with one trunk, and tokens that they do not have in common with it."""
REMEMBERED = {"cpu": 16_384, "cuda": 131_072}
"""Tokens that a batch remembers: about a gigabyte for GPT-2 small on a processor, ten on an accelerator."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A prompt of at least one token, how many tokens to add at most, and the generator that draws them."""

    prompt: Sequence[int]
    limit: int
    generator: torch.Generator


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The tokens that were added and their log-probabilities in nats, before temperature and truncation."""

    tokens: tuple[int, ...]
    """The last is one of those that stop, if `stopped`."""
    log_probs: tuple[float, ...]
    stopped: bool


@dataclass(kw_only=True)
class _Growing:
    number: int
    asked: Asked
    node: Node
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    stopped: bool = False


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Prompts with one trunk: the longest of them."""

    trunk: Sequence[int]
    members: list[int]
    shared: list[int]
    """Of each member how many tokens it has in common with the trunk."""
    apart: int
    """Tokens of the prompts that it does not have in common with them."""
    limit: int


@torch.inference_mode()
def complete(
    model: Transformer,
    asked: Sequence[Asked],
    rules: SamplingSettings,
    *,
    stop: AbstractSet[int],
    vocabulary: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> list[Completed]:
    """Continue each prompt until a token of `stop` is drawn, its limit is reached or the context is full, in order.

    Only the first `vocabulary` ids are drawn. Neither order nor company changes a log-probability by more than rounding.
    `advance(n)` is called when n more are done. Raises UsageError for an empty prompt and one longer than the context.
    """
    longest = max((len(one.prompt) for one in asked), default=1)
    if longest > model.shape.context or not all(one.prompt for one in asked):
        raise UsageError("a prompt does not fit", expected=f"1 to {model.shape.context} tokens", got=str(longest))
    results: dict[int, Completed] = {}
    for batch in _batches(_groups(asked), REMEMBERED["cpu" if model.tokens.weight.device.type == "cpu" else "cuda"]):
        grown = _planted(model, asked, batch)
        _grow(model, grown, rules, stop, vocabulary)
        for one in grown[1]:
            results[one.number] = Completed(
                tokens=tuple(one.tokens), log_probs=tuple(one.log_probs), stopped=one.stopped
            )
        if advance is not None:
            advance(len(grown[1]))
    return [results[number] for number in range(len(asked))]


def _groups(asked: Sequence[Asked]) -> list[_Group]:
    """Neighbours that begin alike; a group is closed when it would read too much after its trunk."""
    groups: list[_Group] = []
    members: list[int] = []
    trunk: Sequence[int] = ()
    apart = 0
    for number, one in enumerate(asked):
        common = shared_beginning(trunk, one.prompt)
        more = min(len(trunk), len(one.prompt)) - common
        alike = common >= SHARED_TOKENS and 2 * common >= min(len(trunk), len(one.prompt))
        if members and (not alike or len(members) == TOGETHER or apart + more > APART_TOKENS):
            groups.append(_group(asked, members, trunk))
            members, trunk, apart, more = [], (), 0, 0
        members.append(number)
        trunk, apart = max(trunk, one.prompt, key=len), apart + more
    if members:
        groups.append(_group(asked, members, trunk))
    return groups


def _group(asked: Sequence[Asked], members: list[int], trunk: Sequence[int]) -> _Group:
    shared = [shared_beginning(trunk, asked[number].prompt) for number in members]
    apart = sum(len(asked[number].prompt) - common for number, common in zip(members, shared, strict=True))
    limit = max(asked[number].limit for number in members)
    return _Group(trunk=trunk, members=members, shared=shared, apart=apart, limit=limit)


def _room(batch: Sequence[_Group]) -> int:
    """Tokens that may have to be read after the trunks: each time as many in every row as in the fullest."""
    limit = max(group.limit for group in batch)
    return max(group.apart for group in batch) + limit * max(len(group.members) for group in batch)


def _batches(groups: Sequence[_Group], remembered: int) -> list[list[_Group]]:
    """Groups of similar size; a batch remembers about so many tokens."""
    batches: list[list[_Group]] = []
    for group in sorted(groups, key=lambda group: len(group.trunk) + _room([group]), reverse=True):
        grown = [*batches[-1], group] if batches else [group]
        if len(grown) > 1 and len(grown) * (len(grown[0].trunk) + _room(grown)) <= remembered:
            batches[-1] = grown
        else:
            batches.append([group])
    return batches


def _planted(model: Transformer, asked: Sequence[Asked], batch: Sequence[_Group]) -> tuple[Forest, list[_Growing]]:
    """Read the prompts of a batch."""
    forest = Forest(model, [group.trunk for group in batch], _room(batch))
    grown = [
        _Growing(number=number, asked=asked[number], node=forest.at(row, shared))
        for row, group in enumerate(batch)
        for number, shared in zip(group.members, group.shared, strict=True)
    ]
    short = [one for one in grown if one.node.length < len(one.asked.prompt)]
    if short:
        nodes = forest.read([(one.node, one.asked.prompt[one.node.length :]) for one in short])
        for one, node in zip(short, nodes, strict=True):
            one.node = node
    return forest, grown


def _grow(
    model: Transformer,
    planted: tuple[Forest, list[_Growing]],
    rules: SamplingSettings,
    stop: AbstractSet[int],
    vocabulary: int | None,
) -> None:
    forest, grown = planted
    live = [one for one in grown if one.asked.limit]
    while live:
        logits_NV = model.logits(torch.stack([one.node.state for one in live]))[:, :vocabulary]
        sums = logits_NV.logsumexp(-1).tolist()
        chosen = _chosen(logits_NV, rules, [one.asked.generator for one in live])
        picked = logits_NV.gather(1, torch.tensor(chosen, device=logits_NV.device)[:, None])[:, 0].tolist()
        for one, token, logit, total in zip(live, chosen, picked, sums, strict=True):
            one.tokens.append(token)
            one.log_probs.append(logit - total)
            one.stopped = token in stop
        live = [
            one
            for one in live
            if not one.stopped and len(one.tokens) < one.asked.limit and one.node.length < model.shape.context
        ]
        if live:
            nodes = forest.read([(one.node, one.tokens[-1:]) for one in live])
            for one, node in zip(live, nodes, strict=True):
                one.node = node


def _chosen(logits_NV: torch.Tensor, rules: SamplingSettings, generators: Sequence[torch.Generator]) -> list[int]:
    if rules.greedy:
        return logits_NV.argmax(-1).tolist()
    return [choose(row_V, rules, generator) for row_V, generator in zip(logits_NV.cpu(), generators, strict=True)]
