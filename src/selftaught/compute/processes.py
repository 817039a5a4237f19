"""The processes beside this one: those that torchrun started, and workers that it or others started."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from selftaught.compute.variables import environment
from selftaught.errors import SelftaughtError

T = TypeVar("T")


def follow_parent() -> None:
    """End this worker process when the one that started it is gone, even by kill -9, instead of waiting for ever."""
    # An eighth of the time that `selftaught --help` takes.
    import multiprocessing
    import multiprocessing.connection

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
