"""Programs that tests start in several processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from selftaught import compute
from selftaught.cli.main import main
from selftaught.compute import Machine
from selftaught.model import kernels
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.training import matrices, pretraining
from selftaught.training.activations import checkpoint_blocks
from selftaught.training.optimizer import Optimizer
from selftaught.training.parallel import Processes, rows
from selftaught.training.pretraining import Watch, pretrain
from selftaught.training.progress import Stop
from selftaught.training.step import mean_loss, train_step
from tests.reference.networks import network
from tests.training.conftest import plan

Kind = Literal["ddp", "fsdp", "hsdp"]
WATCH_EVERY = 4
KILLED_BEFORE = 20
"""Steps, counted from the start or restart, that a run does not pass where the test is to kill it."""
KINDS: tuple[Kind, ...] = ("ddp", "fsdp", "hsdp")
OptimizerName = Literal["adamw", "muon"]


def stepped(
    kind: Kind,
    optimizer: OptimizerName,
    *,
    checkpointing: bool = False,
    channels: int = 16,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> dict[str, Any]:
    """Losses, gradient norms and whole weights of a small network over two steps of two micro-batches.

    Under HSDP pairs of processes hold the weights between them.
    """
    machine = Machine(
        device="cpu", precision=precision, threads=1, rank=compute.rank(), world_size=compute.world_size()
    )
    model = network(layers=3, channels=channels)
    if checkpointing:
        checkpoint_blocks(model)
    processes = Processes(model, machine, kind, shard_processes=min(2, machine.world_size))
    stepper, losses = Optimizer(model, plan(optimizer=optimizer)), []
    for number in range(2):
        ids = torch.randint(50, (8, 17), generator=torch.Generator().manual_seed(number))
        mine = ids[list(rows(8, machine))].chunk(2)
        result = train_step(
            model,
            stepper,
            [(part[:, :-1], part[:, 1:]) for part in mine],
            tokens=8 * 16,
            rate=0.01,
            clip=0.5,
            machine=machine,
            processes=processes,
        )
        measured = mean_loss(model, [(part[:, :-1], part[:, 1:]) for part in torch.split(ids, 3)], machine, processes)
        losses.append([result.loss, result.gradient_norm, measured])
    gathered = processes.gathered()
    return {"losses": losses, "weights": gathered.state_dict() if gathered is not None else {}}


def steps(out: str) -> None:
    """`stepped` of every kind with every optimizer; rank 0 keeps what came out."""
    names: tuple[OptimizerName, ...] = ("adamw", "muon")
    with compute.joined():
        both = [(kind, name) for kind in KINDS for name in names]
        found = {f"{kind} {name}": stepped(kind, name, checkpointing=name == "muon") for kind, name in both}
        if compute.rank() == 0:
            torch.save(found, out)


def few_matrices(out: str) -> None:
    """What processes that are more than the matrices give one another: each matrix times its number."""
    whole = [torch.full((2, 3), 2.0), torch.full((4, 1), 3.0)]

    def work(numbers: list[int], mine: matrices.Matrices) -> matrices.Matrices:
        return [number * matrix for number, matrix in zip(numbers, mine, strict=True)]

    with compute.joined():
        found = matrices.with_whole_matrices(whole, whole, work)
        torch.save(found, f"{out}-{compute.rank()}")


def steps_by_own_kernels(out: str) -> None:
    """The same of a network in bfloat16 that our own kernels fit, which must be there."""
    products, real = list[int](), kernels.product

    def product(*rest: Any, **more: Any) -> None:
        products.append(1)
        real(*rest, **more)

    kernels.product = product
    with compute.joined():
        found = {kind: stepped(kind, "muon", channels=32, precision="bfloat16", checkpointing=True) for kind in KINDS}
        assert products, "computed by PyTorch's kernels"
        if compute.rank() == 0:
            torch.save(found, out)


def stop_in(step: int) -> None:
    """Send SIGTERM to this process in the middle of a step, counted from the start or restart."""
    _before(step, lambda: os.kill(os.getpid(), signal.SIGTERM))


def wait_in(step: int) -> None:
    """Let this process wait in the middle of a step, counted from the start or restart, until it is told to stop."""
    stops: list[Stop] = []

    def stop() -> Stop:
        stops.append(Stop())
        return stops[-1]

    def wait() -> None:
        while stops[-1].asked is None:
            time.sleep(0.01)

    pretraining.Stop = stop
    _before(step, wait)


def _before(step: int, act: Callable[[], None]) -> None:
    real, calls = pretraining.train_step, iter(range(10**9))

    def train_step(*rest: Any, **more: Any) -> Any:
        if next(calls) == step:
            act()
        return real(*rest, **more)

    pretraining.train_step = train_step


def looking(out: Path) -> Watch:
    """Keeps what the network says of one text."""

    def look(model: Transformer, _tokenizer: Tokenizer, step: int) -> None:
        with torch.no_grad():
            torch.save(model.eval().logits(model(torch.arange(16)[None])), out / f"seen-{step}.pt")

    return look


def runs(tokens: str, folder: str, steps: int) -> None:
    """Go on for some steps with the runs of every kind in `folder`, until the last process alone is told to stop."""
    with compute.joined():
        for kind in KINDS:
            if compute.rank() == compute.world_size() - 1:
                stop_in(steps)
            with pytest.raises(SystemExit, match="143"):
                out = Path(folder) / kind
                chosen = plan(parallel=kind, shard_processes=2, dropout=0.0)
                pretrain(chosen, tokens=tokens, out=out, watch=looking(out), watch_every=WATCH_EVERY)


def command(argv: list[str]) -> int:
    """`selftaught` with some words, to be killed."""
    wait_in(KILLED_BEFORE)
    return main(argv)


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
