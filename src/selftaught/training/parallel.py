"""Training in many processes: the plain model is wrapped from outside, by DDP or by FSDP2; one process needs neither.

Each process takes its own rows of every batch. A loss is a sum over all tokens divided by their number, so gradients are
added up over processes, not averaged. Under DDP each process has all weights and gradients are added up while the backward
pass still runs; under FSDP2 it has a share of weights, gradients and the optimizer's state, and gathers a block's weights when
the block is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import distributed, nn

from selftaught.compute import Machine
from selftaught.errors import UsageError
from selftaught.model.transformer import Transformer, document_mask, loss_sum

Kind = Literal["ddp", "fsdp"]


class _Loss(nn.Module):
    """The network and its loss as one module, so that a wrapper sees every use of a weight."""

    def __init__(self, model: Transformer, machine: Machine, end_of_text: int | None) -> None:
        super().__init__()
        self.model, self._machine, self._end_of_text = model, machine, end_of_text

    def forward(self, ids_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        """Sum of -log p(target) in nats."""
        kind = self._machine.device.partition(":")[0]
        with torch.autocast(kind, self._machine.dtype, enabled=self._machine.dtype is not torch.float32):
            mask = None if self._end_of_text is None else document_mask(ids_BT, self._end_of_text)
            return loss_sum(self.model, ids_BT, targets_BT, mask)


class Processes:
    """The processes that train one network; made after its weights are there and before its optimizer.

    With `end_of_text`, tokens see those of their own document only.
    """

    def __init__(
        self, model: Transformer, machine: Machine, kind: Kind = "ddp", *, end_of_text: int | None = None
    ) -> None:
        self.machine, self._loss = machine, _Loss(model, machine, end_of_text)
        self.sharded = will_shard(machine, kind)
        self._root: Any = self._loss
        if self.sharded:
            _shard(model, self._loss, machine)
        elif machine.world_size > 1:
            devices = [machine.local_rank] if machine.device.startswith("cuda") else None
            self._root = nn.parallel.DistributedDataParallel(
                self._loss, device_ids=devices, gradient_as_bucket_view=True
            )

    def loss_sum(self, ids_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        """Sum of -log p(target) over this process' tokens, in the precision of training."""
        device = self.machine.device
        loss: torch.Tensor = self._root(ids_BT.to(device), targets_BT.to(device))
        return loss

    def add_gradients(self, micro_batches: Iterable[tuple[torch.Tensor, torch.Tensor]], tokens: int) -> torch.Tensor:
        """Gradients of the mean loss over `tokens`, all processes' together; returns that loss.

        Micro-batches (ids_BT, targets_BT) are added up here and their sum sent to the others once, with the last.
        """
        total = torch.zeros((), device=self.machine.device)
        for last, (ids_BT, targets_BT) in _marking_last(micro_batches):
            with self._exchanging(last=last):
                loss = self.loss_sum(ids_BT, targets_BT) / tokens
                # Both wrappers take the mean over processes; a multiplication by their number makes it the sum.
                (loss * self.machine.world_size).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return self.sum(total)

    @contextmanager
    def _exchanging(self, *, last: bool) -> Iterator[None]:
        if self.sharded:
            self._root.set_requires_gradient_sync(last)
            self._root.set_is_last_backward(last)
        waiting = self.machine.world_size > 1 and not self.sharded and not last
        with self._root.no_sync() if waiting else nullcontext():
            yield

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of all processes' values."""
        if self.machine.world_size > 1:
            distributed.all_reduce(value)
        return value

    def largest(self, values: Sequence[int]) -> list[int]:
        """The largest of all processes' values, place by place."""
        if self.machine.world_size == 1:
            return list(values)
        found = torch.tensor(values, device=self.machine.device)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return [int(value) for value in found]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.machine.world_size > 1:
            distributed.barrier()

    def every(self, value: Any) -> list[Any]:
        """All processes' values of something, in order of rank."""
        found = [value] * self.machine.world_size
        if self.machine.world_size > 1:
            distributed.all_gather_object(found, value)
        return found


def will_shard(machine: Machine, kind: Kind) -> bool:
    """Whether each process will have a share of the weights only."""
    return machine.world_size > 1 and kind == "fsdp"


def _shard(model: Transformer, loss: _Loss, machine: Machine) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(machine.device.partition(":")[0], (machine.world_size,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    # The root is gathered again on the way back too: else its weights would stay whole, and old, after a measurement.
    fully_shard(loss, mesh=mesh, reshard_after_forward=True)


def _marking_last(items: Iterable[Any]) -> Iterator[tuple[bool, Any]]:
    """Each item and whether it is the last."""
    waiting: list[Any] = []
    for item in items:
        if waiting:
            yield False, waiting.pop()
        waiting.append(item)
    for item in waiting:
        yield True, item


def whole(tensor: Any) -> torch.Tensor:
    """A tensor with all processes' shares of it."""
    full: torch.Tensor = tensor.full_tensor() if _is_shared(tensor) else tensor
    return full


def share_like(full: torch.Tensor, weight: Any) -> torch.Tensor:
    """This process' share of a tensor that all have, divided as `weight` is; a single number is left where it is."""
    if not full.ndim:
        return full
    if not _is_shared(weight):
        return full.to(weight.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)


def own_share(tensor: Any) -> torch.Tensor:
    """This process' share of a tensor, as a plain tensor that shares its memory."""
    local: torch.Tensor = tensor.to_local() if _is_shared(tensor) else tensor
    return local


def _is_shared(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def rows(batch_size: int, machine: Machine) -> range:
    """The rows of every batch that this process computes: all ranks' together are the batch, in order."""
    if batch_size % machine.world_size:
        raise UsageError(
            "processes cannot share a batch evenly",
            expected=f"--batch-size a multiple of {machine.world_size}, the number of processes",
            got=str(batch_size),
        )
    share = batch_size // machine.world_size
    return range(machine.rank * share, (machine.rank + 1) * share)


Matrices = list[torch.Tensor]


def with_whole_matrices(
    shares: Matrices, weights: Sequence[torch.Tensor], work: Callable[[list[int], Matrices], Matrices]
) -> Matrices:
    """Let every matrix be computed on by one process, that gets the whole of it, and give all their shares of the result.

    `shares` are this process' shares of matrices of the same shapes as `weights`; `work` is given the numbers of the matrices
    that this process owns, and those matrices. One process owns all. Matrices are dealt out by size, so that all have
    about as much to do: the iteration of Muon would else be done in every process anew.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or not weights:
        return work(list(range(len(shares))), shares)
    owned = _dealt([weight.numel() for weight in weights], distributed.get_world_size())
    mine = owned[distributed.get_rank()]
    if not _is_shared(weights[0]):
        return _collected(work(mine, [shares[number] for number in mine]), owned, shares)
    return _exchanged(shares, weights, owned, work)


def _dealt(sizes: list[int], players: int) -> list[list[int]]:
    """Numbers of things by player, the largest first, each to who has least."""
    owned: list[list[int]] = [[] for _ in range(players)]
    held = [0] * players
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        least = held.index(min(held))
        owned[least].append(number)
        held[least] += sizes[number]
    return owned


def _collected(results: Matrices, owned: list[list[int]], like: Matrices) -> Matrices:
    """All results in all processes, where each process has those of the matrices it owns, whole."""
    sizes = [sum(like[number].numel() for number in numbers) for numbers in owned]
    sent = like[0].new_zeros(max(sizes))
    if results:
        torch.cat([result.flatten() for result in results], out=sent[: sizes[distributed.get_rank()]])
    received = [torch.empty_like(sent) for _ in owned]
    distributed.all_gather(received, sent)
    found: dict[int, torch.Tensor] = {}
    for numbers, buffer, size in zip(owned, received, sizes, strict=True):
        parts = torch.split(buffer[:size], [like[number].numel() for number in numbers])
        found |= {number: part.view(like[number].shape) for number, part in zip(numbers, parts, strict=True)}
    return [found[number] for number in range(len(like))]


def _exchanged(
    shares: Matrices,
    weights: Sequence[torch.Tensor],
    owned: list[list[int]],
    work: Callable[[list[int], Matrices], Matrices],
) -> Matrices:
    """Shares to the owners and back: rows of each matrix lie with the processes in order."""
    mine, order = owned[distributed.get_rank()], [number for numbers in owned for number in numbers]
    sent = [sum(shares[number].numel() for number in numbers) for numbers in owned]
    counts = [_rows_by_process(weights[number]) for number in mine]
    lengths = [
        [rows[rank] * weights[number].shape[1] for rows, number in zip(counts, mine, strict=True)]
        for rank in range(len(owned))
    ]
    received = [sum(by_matrix) for by_matrix in lengths]
    buffer = shares[0].new_empty(sum(received))
    distributed.all_to_all_single(buffer, torch.cat([shares[number].flatten() for number in order]), received, sent)
    pieces = [torch.split(part, sizes) for part, sizes in zip(torch.split(buffer, received), lengths, strict=True)]
    matrices = [torch.cat(parts).view(weights[number].shape) for number, parts in zip(mine, zip(*pieces), strict=True)]  # noqa: B905  # one tuple a rank
    done = [torch.split(matrix, rows) for matrix, rows in zip(work(mine, matrices), counts, strict=True)]
    back = [part[rank].flatten() for rank in range(len(owned)) for part in done]
    returned = shares[0].new_empty(sum(sent))
    distributed.all_to_all_single(returned, torch.cat(back) if back else returned.new_empty(0), sent, received)
    parts = torch.split(returned, [shares[number].numel() for number in order])
    found = {number: part.view(shares[number].shape) for number, part in zip(order, parts, strict=True)}
    return [found[number] for number in range(len(shares))]


def _rows_by_process(weight: torch.Tensor) -> list[int]:
    """How many rows of a weight each process has: FSDP2 cuts as torch.chunk does."""
    count = weight.shape[0]
    size = -(-count // distributed.get_world_size())
    return [max(0, min(size, count - rank * size)) for rank in range(distributed.get_world_size())]
