"""Several processes for a test, forked from one that has imported torch: what torchrun does, without its wait for imports."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch.distributed

PATIENCE_SECONDS = 3600.0
"""Only so that nothing waits for ever: a busy machine may take minutes for what takes seconds."""
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "selftaught.cli.main",
        "selftaught.cli.train",
        "tests.training.programs",
        "torch._dynamo",
        "torch.distributed.checkpoint.hf_storage",
        "torch.distributed.fsdp",
        "torch.distributed.launcher.api",
        "torch.optim",
        "tyro",
    ]
)


def together(count: int, work: Callable[..., Any], *arguments: Any, log: Path) -> str:
    """Run `work` in `count` processes that know of one another as under torchrun; returns what they wrote, kept in `log`.

    Raises AssertionError, with what they wrote, if one of them fails.
    """
    # As torchrun does: a store of its own for all to meet at, so that nobody else takes its port before it listens there.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = (count, store.port, log, work, arguments)
    started = [_SERVER.Process(target=_member, args=(rank, *shared)) for rank in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join(PATIENCE_SECONDS)
    written = log.read_text()
    assert [process.exitcode for process in started] == [0] * count, written[-3000:]
    return written


def _member(  # noqa: PLR0917 - what torchrun sets, and the work
    rank: int, count: int, port: int, log: Path, work: Callable[..., Any], arguments: Sequence[Any]
) -> None:
    _write_to(log)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    _one_thread()
    work(*arguments)


def launch(count: int, argv: Sequence[str]) -> Any:
    """Start `programs.command` in `count` processes of torchrun's own launcher, which is a process that can be killed."""
    process = _SERVER.Process(target=_launcher, args=(count, list(argv)))
    process.start()
    return process


def _launcher(count: int, argv: list[str]) -> None:
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _write_to(Path(os.devnull))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="test",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        start_method="fork",
        max_restarts=0,
    )
    elastic_launch(config, _verb)(argv)


def _verb(argv: list[str]) -> None:
    from tests.training.programs import command

    _one_thread()
    sys.exit(command(argv))


def _one_thread() -> None:
    torch.set_num_threads(1)


def _write_to(path: Path) -> None:
    """Let standard output and error go to the end of a file."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(number, stream)
