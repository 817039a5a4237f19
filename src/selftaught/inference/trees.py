"""Pairs of context and continuation arranged so that what they share is computed once.

Pairs with the same context make a tree: its trunk is the context, its branches the continuations, side by side in a row.
A pair alone is a tree whose trunk is all of it. Trees of similar length make a batch. Shapes: B trees, T trunk, S branches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Pair = tuple[Sequence[int], Sequence[int]]
"""Context (at least one token) and continuation."""
Array = np.ndarray[Any, Any]

SHORTEST_TRUNK = 16
"""A shorter context costs less to repeat than to remember."""
BRANCH_TOKENS = 512
"""Branch tokens side by side; more make another tree, since each attends over all of them although most are masked."""


@dataclass(kw_only=True)
class Tree:
    """A trunk, its branches and the numbers of the pairs that they stand for."""

    trunk: Sequence[int]
    branches: list[Sequence[int]] = field(default_factory=list)
    """Of each member the tokens to read after the trunk: all of the continuation but the last. Empty for a pair alone."""
    members: list[int] = field(default_factory=list)

    @property
    def branch_tokens(self) -> int:
        """Tokens of all branches."""
        return sum(map(len, self.branches))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """States that predict: rows of the flat states of a pass, the tokens that follow, and the pairs they belong to."""

    states: Array
    targets: Array
    pairs: Array


def trees(pairs: Sequence[Pair]) -> list[Tree]:
    """Gather pairs that share a context; pairs without a continuation are left out."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, (context, continuation) in enumerate(pairs):
        if continuation:
            groups[tuple(context)].append(number)
    found: list[Tree] = []
    for context, numbers in groups.items():
        if len(numbers) > 1 and len(context) >= SHORTEST_TRUNK:
            found += _branched(context, numbers, pairs)
        else:
            found += [Tree(trunk=[*context, *pairs[number][1][:-1]], members=[number]) for number in numbers]
    return found


def _branched(context: tuple[int, ...], numbers: Sequence[int], pairs: Sequence[Pair]) -> Iterator[Tree]:
    tree = Tree(trunk=context)
    for number in numbers:
        branch = pairs[number][1][:-1]
        if tree.branches and tree.branch_tokens + len(branch) > BRANCH_TOKENS:
            yield tree
            tree = Tree(trunk=context)
        tree.branches.append(branch)
        tree.members.append(number)
    yield tree


def batches(found: Sequence[Tree], tokens: int) -> Iterator[list[Tree]]:
    """Cut trees into batches of similar shape and about `tokens` tokens, padding included.

    The longest come first, so that too little memory shows at once.
    """
    batch: list[Tree] = []
    trunk = branches = 0
    for tree in sorted(
        found, key=lambda tree: (bool(tree.branches), len(tree.trunk), tree.branch_tokens), reverse=True
    ):
        size = len(tree.trunk), tree.branch_tokens
        trunk, branches = max(trunk, size[0]), max(branches, size[1])
        if batch and ((len(batch) + 1) * (trunk + branches) > tokens or bool(batch[0].branches) != bool(tree.branches)):
            yield batch
            batch, (trunk, branches) = [], size
        batch.append(tree)
    if batch:
        yield batch


def trunk_wanted(batch: Sequence[Tree], pairs: Sequence[Pair]) -> Wanted:
    """What the trunks predict: the whole continuation of a pair alone, the first token of each branch."""
    width = max(len(tree.trunk) for tree in batch)
    rows = []
    for row, tree in enumerate(batch):
        for number in tree.members:
            context, continuation = pairs[number]
            rows.append((row * width + len(context) - 1, continuation[:1] if tree.branches else continuation, number))
    return _wanted(rows)


def branch_wanted(batch: Sequence[Tree], pairs: Sequence[Pair]) -> Wanted:
    """What the branches predict: the rest of each continuation."""
    width = max(tree.branch_tokens for tree in batch)
    rows = []
    for row, tree in enumerate(batch):
        start = row * width
        for number, branch in zip(tree.members, tree.branches, strict=False):
            rows.append((start, pairs[number][1][1:], number))
            start += len(branch)
    return _wanted(rows)


def _wanted(rows: Sequence[tuple[int, Sequence[int], int]]) -> Wanted:
    """Rows of (first state, tokens that follow it and the next ones, pair)."""
    lengths = np.array([len(targets) for _, targets, _ in rows], dtype=np.int64)
    starts = np.array([start for start, _, _ in rows], dtype=np.int64)
    within = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
    targets = np.array([token for _, tokens, _ in rows for token in tokens], dtype=np.int64)
    numbers = np.array([number for _, _, number in rows], dtype=np.int64)
    return Wanted(states=np.repeat(starts, lengths) + within, targets=targets, pairs=np.repeat(numbers, lengths))


def padded(rows: Sequence[Sequence[int]]) -> Array:
    """Rows of ids as one matrix, padded on the right with 0."""
    matrix = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for row, ids in enumerate(rows):
        matrix[row, : len(ids)] = ids
    return matrix


def side_by_side(batch: Sequence[Tree]) -> tuple[Array, Array, Array]:
    """Branches of each tree in one row: ids_BS, the places_BS where they stand, and the mask (B, 1, S, T + S).

    A branch token sees its trunk, and its own branch up to itself.
    """
    ids_BS = padded([[token for branch in tree.branches for token in branch] for tree in batch])
    places_BS, owner_BS = np.zeros_like(ids_BS), np.full_like(ids_BS, -1)
    for row, tree in enumerate(batch):
        lengths = np.array([len(branch) for branch in tree.branches])
        within = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
        places_BS[row, : len(within)] = len(tree.trunk) + within
        owner_BS[row, : len(within)] = np.repeat(np.arange(len(lengths)), lengths)
    trunks = np.array([len(tree.trunk) for tree in batch])
    width, count = int(trunks.max()), ids_BS.shape[1]
    trunk_seen = np.broadcast_to(np.arange(width) < trunks[:, None, None], (len(batch), count, width))
    own_seen = (owner_BS[:, :, None] == owner_BS[:, None, :]) & np.tri(count, dtype=bool)
    return ids_BS, places_BS, np.concatenate([trunk_seen, own_seen], axis=2)[:, None]
