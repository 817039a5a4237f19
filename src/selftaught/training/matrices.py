"""Whole matrices for an optimizer that needs them, where several processes train: each is computed on by one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import distributed

from selftaught.training.parallel import is_shared

MOST_PADDING = 2
"""Times the matrices themselves that a process may receive, since all send as much as the one that has most."""
Matrices = list[torch.Tensor]
Work = Callable[[list[int], Matrices], Matrices]
"""Numbers of matrices, and those matrices -> their results."""


def with_whole_matrices(shares: Matrices, weights: Sequence[torch.Tensor], work: Work) -> Matrices:
    """Let every matrix be computed on by one process, that gets the whole of it, and give all their shares of the result.

    `shares` are this process' shares of matrices of the same shapes as `weights`; `work` is given the numbers of the matrices
    that this process owns, and those matrices. One process owns all. Matrices are dealt out by size, so that all have
    about as much to do: the iteration of Muon would else be done in every process anew. Under HSDP they are dealt out to groups
    of processes first, and within each to its members.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or not weights:
        return work(list(range(len(shares))), shares)
    sizes = [weight.numel() for weight in weights]
    if not is_shared(weights[0]):
        return _collected(shares, sizes, None, lambda mine: work(mine, [shares[number] for number in mine]))
    mesh: Any = weights[0].device_mesh  # type: ignore[attr-defined]
    sharing = mesh.get_group(mesh.ndim - 1)

    def by_members(mine: list[int]) -> Matrices:
        if not mine:
            return []

        def work_on_mine(numbers: list[int], matrices: Matrices) -> Matrices:
            return work([mine[number] for number in numbers], matrices)

        parts, full = [shares[number] for number in mine], [weights[number] for number in mine]
        return _exchanged(parts, full, sharing, work_on_mine)

    if mesh.ndim == 1:
        return by_members(list(range(len(shares))))
    return _collected(shares, sizes, mesh.get_group(0), by_members)


def dealt(sizes: list[int], players: int) -> list[list[int]]:
    """Numbers of things by player, the largest first, each to who has least."""
    owned: list[list[int]] = [[] for _ in range(players)]
    held = [0] * players
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        least = held.index(min(held))
        owned[least].append(number)
        held[least] += sizes[number]
    return owned


def _collected(like: Matrices, sizes: list[int], group: Any, results_of: Callable[[list[int]], Matrices]) -> Matrices:
    """All results in all processes of a group, each of which makes those that are dealt to it; they are shaped as `like`."""
    owned, rank = dealt(sizes, distributed.get_world_size(group)), distributed.get_rank(group)
    results = results_of(owned[rank])
    lengths = [sum(like[number].numel() for number in numbers) for numbers in owned]
    padded = max(lengths) * len(owned) <= MOST_PADDING * sum(lengths)
    buffers = [max(lengths)] * len(owned) if padded else lengths
    everything = like[0].new_zeros(sum(buffers))
    received = list(torch.split(everything, buffers))
    if results:
        torch.cat([result.flatten() for result in results], out=received[rank][: lengths[rank]])
    if padded:
        distributed.all_gather(received, received[rank].clone(), group=group)
    else:
        # With more processes than matrices most have none: a sum with zeros takes no room for each of them.
        distributed.all_reduce(everything, group=group)
    found: dict[int, torch.Tensor] = {}
    for numbers, buffer, length in zip(owned, received, lengths, strict=True):
        parts = torch.split(buffer[:length], [like[number].numel() for number in numbers])
        found |= {number: part.view(like[number].shape) for number, part in zip(numbers, parts, strict=True)}
    return [found[number] for number in range(len(like))]


def _exchanged(shares: Matrices, weights: Sequence[torch.Tensor], group: Any, work: Work) -> Matrices:
    """Shares to the owners and back: rows of each matrix lie with the processes of a group in order."""
    members = distributed.get_world_size(group)
    owned = dealt([weight.numel() for weight in weights], members)
    mine, order = owned[distributed.get_rank(group)], [number for numbers in owned for number in numbers]
    sent = [sum(shares[number].numel() for number in numbers) for numbers in owned]
    counts = [_rows_by_process(weights[number], members) for number in mine]
    lengths = [
        [rows[rank] * weights[number].shape[1] for rows, number in zip(counts, mine, strict=True)]
        for rank in range(members)
    ]
    received = [sum(by_matrix) for by_matrix in lengths]
    buffer = shares[0].new_empty(sum(received))
    flat = torch.cat([shares[number].flatten() for number in order])
    distributed.all_to_all_single(buffer, flat, received, sent, group=group)
    pieces = [torch.split(part, sizes) for part, sizes in zip(torch.split(buffer, received), lengths, strict=True)]
    matrices = [torch.cat(parts).view(weights[number].shape) for number, parts in zip(mine, zip(*pieces), strict=True)]  # noqa: B905  # one tuple a rank
    done = [torch.split(matrix, rows) for matrix, rows in zip(work(mine, matrices), counts, strict=True)]
    back = [part[rank].flatten() for rank in range(members) for part in done]
    returned = shares[0].new_empty(sum(sent))
    distributed.all_to_all_single(
        returned, torch.cat(back) if back else returned.new_empty(0), sent, received, group=group
    )
    parts = torch.split(returned, [shares[number].numel() for number in order])
    found = {number: part.view(shares[number].shape) for number, part in zip(order, parts, strict=True)}
    return [found[number] for number in range(len(shares))]


def _rows_by_process(weight: torch.Tensor, members: int) -> list[int]:
    """How many rows of a weight each process has: FSDP2 cuts as torch.chunk does."""
    count = weight.shape[0]
    size = -(-count // members)
    return [max(0, min(size, count - rank * size)) for rank in range(members)]
