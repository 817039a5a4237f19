"""Training in many processes: the plain model is wrapped from outside, by DDP or by FSDP2; one process needs neither.

Each process takes its own rows of every batch. A loss is a sum over all tokens divided by their number, so gradients are
added up over processes, not averaged. Under DDP each process has all weights and gradients are added up while the backward
pass still runs; under FSDP2 it has a share of weights, gradients and the optimizer's state, and gathers a block's weights when
the block is computed. HSDP is both: groups of processes, each with all weights between its members, add up their gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import distributed, nn

from selftaught import compute
from selftaught.compute import Machine
from selftaught.errors import UsageError
from selftaught.model.initial import without_values
from selftaught.model.loss import loss_sum
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer, document_mask

Kind = Literal["ddp", "fsdp", "hsdp"]
LONGEST_WAIT = timedelta(days=1)
"""What rank 0 may take for work that the others wait for, such as an evaluation."""


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

    With `end_of_text`, tokens see those of their own document only. Under HSDP `shard_processes` hold the weights between
    them; 0: those of a machine. Raises UsageError where they do not divide the number of all.
    """

    def __init__(
        self,
        model: Transformer,
        machine: Machine,
        kind: Kind = "ddp",
        *,
        end_of_text: int | None = None,
        shard_processes: int = 0,
    ) -> None:
        self.machine, self._loss = machine, _Loss(model, machine, end_of_text)
        self.sharded = will_shard(machine, kind)
        self._root: Any = self._loss
        self._patient: Any = None
        if self.sharded:
            _shard(model, self._loss, machine, _sharing(machine, kind, shard_processes))
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

    def wait_for_first(self) -> None:
        """Wait until rank 0 is here too, however long its work takes, up to a day."""
        if self.machine.world_size > 1:
            if self._patient is None:
                self._patient = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
            distributed.barrier(self._patient)

    def gathered(self) -> Transformer | None:
        """The network with all weights, in rank 0: the model itself, or a copy where each process has a share."""
        model, first = self._loss.model, self.machine.rank == 0
        if not self.sharded:
            return model if first else None
        copy = _empty(model.shape, self.machine.device) if first else None
        places = dict(copy.named_parameters()) if copy is not None else {}
        for name, weight in model.named_parameters():
            full = whole(weight.detach())
            if name in places:
                places[name].data.copy_(full)
        return copy

    def every(self, value: Any) -> list[Any]:
        """All processes' values of something, in order of rank."""
        found = [value] * self.machine.world_size
        if self.machine.world_size > 1:
            distributed.all_gather_object(found, value)
        return found


def _empty(shape: ModelShape, device: str) -> Transformer:
    with without_values():
        model = Transformer(shape)
    return model.to_empty(device=device)


def will_shard(machine: Machine, kind: Kind) -> bool:
    """Whether each process will have a share of the weights only."""
    return machine.world_size > 1 and kind != "ddp"


def _sharing(machine: Machine, kind: Kind, shard_processes: int) -> int:
    """How many processes hold the weights between them."""
    count = machine.world_size if kind == "fsdp" else shard_processes or compute.local_world_size()
    if machine.world_size % count:
        raise UsageError(
            "processes cannot be grouped evenly",
            expected=f"--shard-processes a divisor of {machine.world_size}, the number of processes",
            got=str(count),
        )
    return count


def _shard(model: Transformer, loss: _Loss, machine: Machine, sharing: int) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # Neighbours in rank, which are on one machine, share; what lies apart only adds up gradients.
    groups = machine.world_size // sharing
    sizes, names = ((groups, sharing), ("replicate", "shard")) if groups > 1 else ((sharing,), ("shard",))
    mesh = init_device_mesh(machine.device.partition(":")[0], sizes, mesh_dim_names=names)
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
    full: torch.Tensor = tensor.full_tensor() if is_shared(tensor) else tensor
    return full


def share_like(full: torch.Tensor, weight: Any) -> torch.Tensor:
    """This process' share of a tensor that all have, divided as `weight` is; a single number is left where it is."""
    if not full.ndim:
        return full
    if not is_shared(weight):
        return full.to(weight.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)


def own_share(tensor: Any) -> torch.Tensor:
    """This process' share of a tensor, as a plain tensor that shares its memory."""
    local: torch.Tensor = tensor.to_local() if is_shared(tensor) else tensor
    return local


def is_shared(tensor: torch.Tensor) -> bool:
    """Whether this process has a share of it only."""
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
