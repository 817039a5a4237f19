"""The one place that asks the machine: device, number format, threads, ranks, memory, environment.

Importing this module does not import torch; only the functions that need it do.
"""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import platform
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from selftaught.errors import SelftaughtError, UsageError

if TYPE_CHECKING:
    import torch

_CGROUP = Path("/sys/fs/cgroup")
_TOO_LITTLE = ("not enough memory", "out of memory", "can't allocate memory", "could not create a primitive")
"""What PyTorch and oneDNN say where memory that is no accelerator's cannot be had: a bare RuntimeError."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""From malloc.h."""
_MADV_HUGEPAGE, _LARGE_PAGE = 14, 1 << 21
"""From mman.h; the size of x86-64's and most ARM systems' large pages."""
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName = Literal["auto", "float32", "bfloat16"]
T = TypeVar("T")


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
    def dtype(self) -> torch.dtype:
        """The torch dtype of matrix products."""
        import torch

        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32


def environment(name: str, default: str = "") -> str:
    """Read one environment variable."""
    return os.environ.get(name, default)


def environment_with(changes: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process with some variables set, for a process that it starts."""
    return {**os.environ, **changes}


def share_processors() -> None:
    """Let torch's threads sleep soon instead of spinning while they wait for one another; to be called before torch is imported.

    With the default they spin, and where another program uses a core, small training steps get 5 to 20 times slower. The
    price is up to a quarter of the speed of the smallest networks on an idle machine. A setting of the user's own is respected.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def keep_freed_memory() -> None:
    """Let the C library keep large blocks that were freed, for the next step, instead of handing each back to the system.

    Else every training step is given fresh pages for all that it computes, which takes a sixth of its time on two cores.
    The peak is the same. Only glibc knows how; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, -1)


def return_freed_memory() -> None:
    """Hand back to the system memory that was freed and the C library kept. Only glibc knows how; elsewhere nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def prefer_large_pages(address: int, size: int) -> None:
    """Ask Linux to put pages of 2 MiB under memory that nobody has written to yet; it is read a tenth faster then.

    Elsewhere, and where the system does not grant it, nothing changes.
    """
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    first = -(-address // _LARGE_PAGE) * _LARGE_PAGE
    whole = (address + size - first) // _LARGE_PAGE * _LARGE_PAGE
    if sys.platform == "linux" and advise is not None and whole > 0:
        advise(ctypes.c_void_p(first), ctypes.c_size_t(whole), _MADV_HUGEPAGE)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Whatever number of torch's threads the block sets, afterwards there are as many as before."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def follow_parent() -> None:
    """End this worker process when the one that started it is gone, even by kill -9, instead of waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="follow-parent").start()


def processor_seconds(process: int) -> tuple[float, bool]:
    """Processor time of another process so far, and whether it is asleep now instead of working or waiting for a processor.

    Only Linux tells; elsewhere, and of a process that is gone, the answer is (inf, True).
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("inf"), True
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] not in "RD"


def rank() -> int:
    """Rank of this process as torchrun sets it; 0 without torchrun."""
    return int(environment("RANK", "0"))


def world_size() -> int:
    """Number of processes as torchrun sets it; 1 without torchrun."""
    return int(environment("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """Number of processes on this machine as torchrun sets it; 1 without torchrun."""
    return int(environment("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started beside this one for the time of the block; one process alone does nothing.

    Should torchrun be killed, its processes are told to stop as by SIGTERM, instead of running on alone.
    """
    if world_size() == 1:
        yield
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(environment("LOCAL_RANK", "0")))
    _follow_launcher()
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _follow_launcher() -> None:
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="follow-launcher").start()


def from_first(work: Callable[[], T]) -> T:
    """What `work` returns in the process of rank 0, in all of them; what it raises there ends all, and is told once."""
    if world_size() == 1:
        return work()
    from torch import distributed

    answer: list[Any] = [None, None]
    problem: BaseException | None = None
    if rank() == 0:
        try:
            answer[0] = work()
        except BaseException as raised:  # noqa: BLE001  # raised again below, when the others know
            problem = raised
            answer[1] = raised.code if isinstance(raised, SystemExit) else getattr(raised, "exit_code", 1)
    distributed.broadcast_object_list(answer, src=0)
    if problem is not None:
        raise problem
    if answer[1] is not None:
        told = SelftaughtError("the process of rank 0 has failed")
        told.exit_code, told.told = answer[1], True
        raise told
    value: T = answer[0]
    return value


@dataclass(frozen=True, kw_only=True)
class Group:
    """Processes that share a piece of work; by default this one alone."""

    rank: int = 0
    size: int = 1

    def first(self, work: Callable[[], T]) -> T:
        """`from_first`, in a group of more than one."""
        return from_first(work) if self.size > 1 else work()

    def each(self, work: Callable[[], T]) -> list[T]:
        """What `work` returns in each process, in order of rank, in all of them.

        What one of them raises ends all; rank 0 raises it, so that it is told once.
        """
        if self.size == 1:
            return [work()]
        from torch import distributed

        done: list[tuple[T | None, SelftaughtError | None]] = [(None, None)] * self.size
        value: T | None = None
        problem: SelftaughtError | None = None
        try:
            value = work()
        except SelftaughtError as raised:
            problem = raised
        distributed.all_gather_object(done, (value, problem and _plain(problem)))
        found = next((one for _, one in done if one is not None), None)
        if found is not None:
            found.told = self.rank != 0
            raise found
        return [cast("T", one) for one, _ in done]


ALONE = Group()


def group() -> Group:
    """The processes that torchrun started, or this one alone."""
    return Group(rank=rank(), size=world_size())


def _plain(problem: SelftaughtError) -> SelftaughtError:
    """The same error as a value that can be sent to another process."""
    sent = SelftaughtError(problem.message, expected=problem.expected, got=problem.got, hint=problem.hint)
    sent.exit_code, sent.told = problem.exit_code, problem.told
    return sent


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


def seed_of(*parts: object) -> int:
    """Derive a 63-bit seed from any parts: equal parts, equal seed, on every machine and Python."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: object, device: str = "cpu") -> torch.Generator:
    """Return a torch generator seeded by `seed_of(*parts)`."""
    import torch

    return torch.Generator(device=device).manual_seed(seed_of(*parts))


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_memory_bytes(machine: Machine) -> int:
    """Largest memory that tensors took so far where they are computed: on the GPU, or of this process."""
    if not machine.device.startswith("cuda"):
        return peak_memory_bytes()
    import torch

    return int(torch.cuda.max_memory_allocated())


def free_memory_bytes(device: str) -> int | None:
    """Memory that may still be taken where tensors are computed; None where the system does not tell."""
    if device.startswith("cuda"):
        import torch

        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    try:
        told = Path("/proc/meminfo").read_text(encoding="ascii")
        free = 1024 * int(told.partition("MemAvailable:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        return None
    with suppress(OSError, ValueError):  # the limit of a container, where there is one
        most, taken = (int((_CGROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        free = min(free, max(0, most - taken))
    return free


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether something failed for want of memory, wherever that was."""
    import torch

    words = str(problem).lower()
    return isinstance(problem, MemoryError | torch.OutOfMemoryError) or any(part in words for part in _TOO_LITTLE)


def release_memory() -> None:
    """Give back what failed work held on an accelerator."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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


def usable_cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of what a result depends on, without importing any of it."""
    from importlib import metadata  # which takes as long as all else that is imported here

    names = ("selftaught", "torch", "numpy", "safetensors")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def description() -> dict[str, str | int]:
    """What kind of machine this is, for the record of a run."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor_name(),
        "cores": usable_cores(),
        "world_size": world_size(),
    }


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"
