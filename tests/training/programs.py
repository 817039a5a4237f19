"""Programs that tests start under torchrun, in several processes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from selftaught import compute
from selftaught.compute import Machine
from selftaught.training import pretraining
from selftaught.training.optimizer import Optimizer
from selftaught.training.parallel import Processes, rows, whole
from selftaught.training.pretraining import pretrain
from selftaught.training.step import mean_loss, train_step
from tests.reference.networks import network
from tests.training.conftest import plan

Kind = Literal["ddp", "fsdp"]
OptimizerName = Literal["adamw", "muon"]


def stepped(kind: Kind, optimizer: OptimizerName) -> dict[str, Any]:
    """Losses, gradient norms and whole weights of a small network over three steps, in micro-batches of one row."""
    machine = Machine(
        device="cpu", precision="float32", threads=1, rank=compute.rank(), world_size=compute.world_size()
    )
    model = network(layers=3)
    processes = Processes(model, machine, kind)
    stepper, losses = Optimizer(model, plan(optimizer=optimizer)), []
    for number in range(3):
        ids = torch.randint(50, (8, 17), generator=torch.Generator().manual_seed(number))
        mine = torch.split(ids[list(rows(8, machine))], 1)
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
    weights = {name: whole(weight).detach().clone() for name, weight in model.named_parameters()}
    return {"losses": losses, "weights": weights}


def steps(out: str) -> None:
    """`stepped` of every kind with every optimizer; rank 0 keeps what came out."""
    kinds: tuple[Kind, ...] = ("ddp", "fsdp")
    names: tuple[OptimizerName, ...] = ("adamw", "muon")
    with compute.joined():
        found = {f"{kind} {name}": stepped(kind, name) for kind in kinds for name in names}
        if compute.rank() == 0:
            torch.save(found, out)


def stop_in(step: int) -> None:
    """Send SIGTERM to this process in the middle of a step, counted from the start or restart."""
    real, calls = pretraining.train_step, iter(range(10**9))

    def train_step(*rest: Any, **more: Any) -> Any:
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*rest, **more)

    pretraining.train_step = train_step


def runs(tokens: str, folder: str, steps: str) -> None:
    """Go on for some steps with the runs `folder`/ddp and `folder`/fsdp, until the last process alone is told to stop."""
    kinds: tuple[Kind, ...] = ("ddp", "fsdp")
    with compute.joined():
        for kind in kinds:
            if compute.rank() == compute.world_size() - 1:
                stop_in(int(steps))
            with pytest.raises(SystemExit, match="143"):
                pretrain(plan(parallel=kind, dropout=0.0), tokens=tokens, out=Path(folder) / kind)


if __name__ == "__main__":
    {"steps": steps, "runs": runs}[sys.argv[1]](*sys.argv[2:])
