"""What the last digits of a run's losses depend on beside its plan: kernels, library, processor. Kept in each checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from selftaught import compilation
from selftaught.compute import Machine
from selftaught.model import kernels

PYTORCH = "PyTorch's"


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """With the same of each, and as many processes, a run that is continued has the losses of one that was not, to the bit."""

    kernels: str = ""
    """Our own with their version, PyTorch's, or those that torch.compile wrote."""
    torch: str = ""
    """Version of PyTorch."""
    processor: str = ""
    """On which tensors are computed."""

    def changes(self, before: Arithmetic) -> list[str]:
        """What is not as it was before, where that is known."""
        found = [(field.name, getattr(before, field.name), getattr(self, field.name)) for field in fields(self)]
        return [f"{name}: {old} -> {new}" for name, old, new in found if old and old != new]


def arithmetic(machine: Machine, *, compiled: bool = False) -> Arithmetic:
    """Of a training run on this machine. Compiles the kernels if that was never done.

    Of a network whose blocks they cannot compute, they still clip the gradients and step.
    """
    able = machine.device == "cpu" and machine.precision == "bfloat16"
    library = kernels.library() if able else None
    name = f"our own, version {compilation.version(library)}" if library is not None else PYTORCH
    return Arithmetic(
        kernels=f"torch.compile's, {name}" if compiled else name,
        torch=torch.__version__,
        processor=machine.processor,
    )
