"""Where and how tensors are computed: device, number format, threads, and how fast that is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from selftaught.compute.processes import rank, world_size
from selftaught.compute.system import description
from selftaught.compute.variables import environment
from selftaught.errors import UsageError

if TYPE_CHECKING:
    import torch

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how tensors are computed in this process."""

    device: str
    """`cpu`, `cuda:0`, `mps`."""
    precision: Literal["float32", "bfloat16"]
    """Format of matrix products; weights, losses and statistics stay float32."""
    threads: int
    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def processor(self) -> str:
        """Name of what computes."""
        import torch

        on_gpu = self.device.startswith("cuda")
        return torch.cuda.get_device_name(self.device) if on_gpu else str(description()["processor"])

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype of matrix products."""
        import torch

        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32


def machine(device: DeviceName = "auto", precision: PrecisionName = "auto") -> Machine:
    """Choose the device and the number format.

    `auto` takes CUDA, then Apple's MPS, then the CPU; and bfloat16 where its products run in hardware.
    Raises UsageError for a device that this machine lacks.
    """
    import torch

    local_rank = int(environment("LOCAL_RANK", "0"))
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(kind for kind, there in found.items() if there) if device == "auto" else device
    if not found[name]:
        available = ", ".join(kind for kind, there in found.items() if there)
        raise UsageError(f"no {name} device on this machine", expected=available, hint="Type: --device auto")
    return Machine(
        device=f"cuda:{local_rank}" if name == "cuda" else name,
        precision=_fastest_precision(name) if precision == "auto" else precision,
        threads=torch.get_num_threads(),
        rank=rank(),
        local_rank=local_rank,
        world_size=world_size(),
    )


def _fastest_precision(device: str) -> Literal["float32", "bfloat16"]:
    import torch

    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device == "cpu":
        flags = torch.cpu.get_capabilities()
        return "bfloat16" if flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("arm_bf16") else "float32"
    return "float32"


@contextmanager
def threads_kept() -> Iterator[None]:
    """Whatever number of torch's threads the block sets, afterwards there are as many as before."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measured_flops_per_second(machine: Machine, *, repeats: int = 5) -> float:
    """What the device reaches in products of large square matrices in the machine's format: the best of a few.

    Takes a tenth of a second. Foreign load makes it, and what is measured against it, uncertain.
    """
    import torch

    on_gpu = machine.device.startswith("cuda")
    size = 8192 if on_gpu else 1024
    one, other = (torch.ones(size, size, dtype=machine.dtype, device=machine.device) for _ in range(2))
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        product = one @ other
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
        del product
    return 2 * size**3 / min(times[1:])
