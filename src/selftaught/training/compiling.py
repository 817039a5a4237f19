"""torch.compile for the blocks of a network while it is trained.

Block by block: all of a network's are alike, so that one is compiled, in seconds, and sharing out, activation checkpointing and
the loss stay as they are. Measurements and samples take the plain way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from selftaught import console
from selftaught.compute import Machine
from selftaught.model.transformer import Block, Documents, Transformer
from selftaught.training.plan import TrainingPlan


def compile_blocks(model: Transformer, plan: TrainingPlan, machine: Machine, *, documents: bool = False) -> bool:
    """Let the blocks be computed by what torch.compile makes of them; whether that works here. Says how long it took.

    To be called after `checkpoint_blocks` and before the network is shared out. Where it does not work, nothing changes.
    """
    console.line("compiling the blocks")
    started = time.monotonic()
    blocks = [block for block in model.blocks if isinstance(block, Block)]
    before = [(block.forward, block.fusible) for block in blocks]
    for block in blocks:
        block.fusible = False  # our own kernels are nothing that it can look into
        _let(block, _compiled(block.forward))
    try:
        _warm_up(blocks[0], plan, machine, documents=documents)
    except Exception as problem:  # noqa: BLE001  # whatever Inductor, Triton or a compiler that they start has
        console.warn(f"torch.compile does not work here, so training goes on without it ({_words(problem)})")
        for block, (plain, block.fusible) in zip(blocks, before, strict=True):
            _let(block, plain)
        return False
    console.line(f"compiled the blocks in {time.monotonic() - started:.0f} s")
    return True


def _compiled(plain: Callable[..., Any]) -> Callable[..., Any]:
    made = torch.compile(plain, dynamic=False)

    def forward(hidden: torch.Tensor, cache: Any, layer: int, mask: Any, watch: Any = None) -> Any:
        if not torch.is_grad_enabled():
            return plain(hidden, cache, layer, mask, watch)
        return made(hidden, cache, layer, mask.mask if isinstance(mask, Documents) else mask, watch)

    return forward


def _warm_up(block: nn.Module, plan: TrainingPlan, machine: Machine, *, documents: bool) -> None:
    """Go forth and back through one block, in all that training will ask for; its weights get no gradients."""
    rows = min(plan.micro_batch_size, plan.batch_size // machine.world_size)
    hidden = torch.zeros(rows, plan.context, plan.channels, device=machine.device, requires_grad=True)
    seen = torch.ones(rows, 1, plan.context, plan.context, dtype=torch.bool, device=machine.device)
    kind = machine.device.partition(":")[0]
    with torch.autocast(kind, machine.dtype, enabled=machine.dtype is not torch.float32):
        result = block(hidden, None, 0, seen.tril() if documents else None)
    result.float().sum().backward()
    block.zero_grad(set_to_none=True)


def _let(block: nn.Module, forward: Callable[..., Any]) -> None:
    block.forward = forward


def _words(problem: BaseException) -> str:
    first = next(iter(str(problem).strip().splitlines()), "")
    return f"{type(problem).__name__}: {first}"
