"""What a step needs to know of other processes. One process trains today; DDP and FSDP2 come in here, from outside the model."""

from __future__ import annotations

from selftaught.compute import Machine
from selftaught.errors import UsageError


def require_one_process(machine: Machine) -> None:
    """Refuse to train the same thing several times under torchrun."""
    if machine.world_size > 1:
        raise UsageError(
            "training runs in one process so far",
            expected="a start without torchrun",
            got=f"{machine.world_size} processes",
        )


def rows(batch_size: int, machine: Machine) -> range:
    """The rows of every batch that this process computes: all ranks' together are the batch, in order."""
    first, end = (batch_size * rank // machine.world_size for rank in (machine.rank, machine.rank + 1))
    return range(first, end)
