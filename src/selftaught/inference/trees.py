"""Pairs of context and continuation arranged so that what they share is computed once.

Texts that begin alike make a tree: its trunk is what they have in common, its branches what follows in each. A text alone is a
tree without branches. Trees are read in one line, without padding, or side by side as rows of similar length. Shapes: B trees,
T trunk, S branches, N tokens in one line, K scored tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any

import numpy as np

from selftaught.inference.budget import Budget

Pair = tuple[Sequence[int], Sequence[int]]
"""Context (at least one token) and continuation."""
Array = np.ndarray[Any, Any]
_Predicted = tuple[int, Sequence[int], int]
"""A first state, the tokens that follow it and the next ones, and the pair's number."""

SHORTEST_TRUNK = 8
"""Sharing fewer tokens costs more than it saves."""
BRANCH_TOKENS = 512
"""Branch tokens side by side; more make another tree, since in a row each attends over all of them although most are masked."""


@dataclass(kw_only=True)
class Tree:
    """A trunk, its branches and the numbers of the pairs that they stand for."""

    trunk: Sequence[int]
    branches: list[Sequence[int]] = field(default_factory=list)
    """Of each member the tokens to read after the trunk, which may be none."""
    members: list[int] = field(default_factory=list)

    @property
    def branch_tokens(self) -> int:
        """Tokens of all branches."""
        return sum(map(len, self.branches))

    @property
    def tokens(self) -> int:
        """Tokens of trunk and branches."""
        return len(self.trunk) + self.branch_tokens


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """States that predict: rows of the flat states of a pass, the tokens that follow, and the pairs they belong to."""

    states: Array
    targets: Array
    pairs: Array

    def compact(self) -> tuple[Wanted, Array]:
        """The same in the order of the states, numbered among those that are wanted, and the rows where these are."""
        rows, states = np.unique(self.states, return_inverse=True)
        order = states.argsort(kind="stable")
        return Wanted(states=states[order], targets=self.targets[order], pairs=self.pairs[order]), rows


@dataclass(frozen=True, kw_only=True)
class Line:
    """Trees one after another, each its trunk and then its branches: no token is there that is not needed.

    Of each of the N tokens there is its id, and `places` and `own`; of each tree `first` and `trunk`.
    """

    ids: Array
    places: Array
    """Where in its text it stands."""
    first: Array
    """Its first token; one more: N."""
    trunk: Array
    """Tokens of its trunk."""
    own: Array
    """The first token of its own branch, or of its trunk: it sees those from there to itself, and the trunk."""


def trees(pairs: Sequence[Pair]) -> list[Tree]:
    """Gather texts that begin alike; pairs without a continuation are left out.

    In the order of dictionaries neighbours have most in common: one joins those before it if fewer tokens are then read.
    """
    texts = {number: (*context, *after[:-1]) for number, (context, after) in enumerate(pairs) if after}
    order = sorted(texts, key=texts.__getitem__)
    found: list[Tree] = []
    group: list[int] = []
    common = apart = 0
    for number in order:
        text = texts[number]
        shared = min(common, shared_beginning(texts[group[-1]], text)) if group else 0
        grown = apart + len(group) * (common - shared) + len(text) - shared
        fewer = shared >= SHORTEST_TRUNK and shared * len(group) >= common * (len(group) - 1)
        if group and fewer and grown <= BRANCH_TOKENS:
            common, apart = shared, grown
            group.append(number)
            continue
        if group:
            found.append(_tree(group, common, texts))
        group, common, apart = [number], len(text), 0
    if group:
        found.append(_tree(group, common, texts))
    return found


def _tree(numbers: list[int], common: int, texts: dict[int, tuple[int, ...]]) -> Tree:
    trunk = texts[numbers[0]][:common]
    return Tree(trunk=trunk, branches=[texts[number][common:] for number in numbers], members=numbers)


def shared_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts have in common from their beginning."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    return next((place for place in range(most) if one[place] != other[place]), most)


def lines(found: Sequence[Tree], budget: Budget) -> Iterator[list[Tree]]:
    """Cut trees into lines of as many tokens as the budget has then.

    The longest come first, so that too little memory shows at once.
    """
    line: list[Tree] = []
    filled = 0
    for tree in sorted(found, key=lambda tree: tree.tokens, reverse=True):
        if line and filled + tree.tokens > budget.tokens:
            yield line
            line, filled = [], 0
        line.append(tree)
        filled += tree.tokens
    if line:
        yield line


def batches(found: Sequence[Tree], budget: Budget) -> Iterator[list[Tree]]:
    """Cut trees into batches of similar shape and as many tokens as the budget has then, padding included.

    The longest come first, so that too little memory shows at once.
    """
    batch: list[Tree] = []
    trunk = branches = 0
    for tree in sorted(
        found, key=lambda tree: (tree.branch_tokens > 0, len(tree.trunk), tree.branch_tokens), reverse=True
    ):
        size = len(tree.trunk), tree.branch_tokens
        trunk, branches = max(trunk, size[0]), max(branches, size[1])
        alike = not batch or (batch[0].branch_tokens > 0) == (tree.branch_tokens > 0)
        if batch and ((len(batch) + 1) * (trunk + branches) > budget.tokens or not alike):
            yield batch
            batch, (trunk, branches) = [], size
        batch.append(tree)
    if batch:
        yield batch


def halves(batch: list[Tree]) -> list[list[Tree]]:
    """What is read at a time in two parts, or as it is where it is one text."""
    if len(batch) > 1:
        return [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
    (tree,) = batch
    parts = (slice(0, len(tree.members) // 2), slice(len(tree.members) // 2, None))
    return [
        [Tree(trunk=tree.trunk, branches=tree.branches[part], members=tree.members[part])]
        for part in parts
        if tree.members[part]
    ]


def line(batch: Sequence[Tree]) -> Line:
    """Trees one after another."""
    pieces = [piece for tree in batch for piece in (tree.trunk, *tree.branches)]
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    starts = lengths.cumsum() - lengths
    before = [0 if number == 0 else len(tree.trunk) for tree in batch for number in range(1 + len(tree.branches))]
    within = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    return Line(
        ids=np.fromiter(chain.from_iterable(pieces), dtype=np.int64, count=int(lengths.sum())),
        places=within + np.repeat(np.array(before), lengths),
        first=np.array([0, *accumulate(tree.tokens for tree in batch)], dtype=np.int32),
        trunk=np.array([len(tree.trunk) for tree in batch], dtype=np.int32),
        own=np.repeat(starts, lengths).astype(np.int32),
    )


def line_wanted(batch: Sequence[Tree], pairs: Sequence[Pair]) -> Wanted:
    """What the tokens of a line predict."""
    starts = [0, *accumulate(tree.tokens for tree in batch)]
    rows: list[_Predicted] = []
    for start, tree in zip(starts, batch, strict=False):
        at = start + len(tree.trunk)
        for number, branch in zip(tree.members, tree.branches, strict=True):
            rows += _places(tree, pairs[number], start, at, number)
            at += len(branch)
    return _wanted(rows)


def trunk_wanted(batch: Sequence[Tree], pairs: Sequence[Pair]) -> Wanted:
    """What the trunks predict where each tree is a row."""
    width = max(len(tree.trunk) for tree in batch)
    found = [
        _places(tree, pairs[number], row * width, 0, number)[0]
        for row, tree in enumerate(batch)
        for number in tree.members
    ]
    return _wanted(found)


def branch_wanted(batch: Sequence[Tree], pairs: Sequence[Pair]) -> Wanted:
    """What the branches predict where those of each tree are a row."""
    width = max(tree.branch_tokens for tree in batch)
    rows = []
    for row, tree in enumerate(batch):
        at = row * width
        for number, branch in zip(tree.members, tree.branches, strict=True):
            rows.append(_places(tree, pairs[number], 0, at, number)[1])
            at += len(branch)
    return _wanted(rows)


def _places(tree: Tree, pair: Pair, trunk_at: int, branch_at: int, number: int) -> tuple[_Predicted, _Predicted]:
    """What a trunk and a branch of it predict of one pair: the first state, the tokens that follow, and the pair's number."""
    context, continuation = pair
    place, trunk = len(context) - 1, len(tree.trunk)
    here = min(max(trunk - place, 0), len(continuation))
    branch = (branch_at + max(place - trunk, 0), continuation[here:], number)
    return (trunk_at + place, continuation[:here], number), branch


def _wanted(rows: Sequence[_Predicted]) -> Wanted:
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
