"""Byte-pair merges of one piece: the pair of lowest rank first, the leftmost of equals first."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import pairwise

Pairs = Mapping[tuple[int, int], tuple[int, int]]
"""(left id, right id) -> (rank, merged id)."""
_LONG = 48
"""From this many tokens on, the heap beats looking at all pairs again after each merge."""


def merged(ids: list[int], pairs: Pairs) -> list[int]:
    """Apply merges to the ids of a piece until none is left."""
    if len(ids) < 2:
        return ids
    return _with_heap(ids, pairs) if len(ids) > _LONG else _by_scanning(ids, pairs)


def merged_once(ids: list[int], pairs: Pairs) -> list[int]:
    """Apply the merge that comes first; the same ids if there is none."""
    found = [(pairs[pair][0], place) for place, pair in enumerate(pairwise(ids)) if pair in pairs]
    if not found:
        return ids
    _, place = min(found)
    return [*ids[:place], pairs[ids[place], ids[place + 1]][1], *ids[place + 2 :]]


def _by_scanning(ids: list[int], pairs: Pairs) -> list[int]:
    while (after := merged_once(ids, pairs)) is not ids:
        ids = after
    return ids


def _with_heap(ids: list[int], pairs: Pairs) -> list[int]:
    """The same in O(n log n): a linked list of tokens and a heap of (rank, place); stale entries are skipped."""
    ids, end = list(ids), len(ids)
    following, before = list(range(1, end + 1)), list(range(-1, end - 1))
    heap: list[tuple[int, int, int, int]] = []

    def consider(left: int) -> None:
        right = following[left]
        if right < end and (ids[left], ids[right]) in pairs:
            heapq.heappush(heap, (pairs[ids[left], ids[right]][0], left, ids[left], ids[right]))

    for place in range(end - 1):
        consider(place)
    while heap:
        _, left, left_id, right_id = heapq.heappop(heap)
        right = following[left]
        if ids[left] != left_id or right >= end or ids[right] != right_id:
            continue
        ids[left], ids[right] = pairs[left_id, right_id][1], -1
        following[left] = following[right]
        if following[right] < end:
            before[following[right]] = left
        consider(left)
        if before[left] >= 0:
            consider(before[left])
    return [token for token in ids if token >= 0]
