"""How many threads train a network fastest, found by trying before the first step.

Networks of a few channels are computed sooner by one thread than several can agree; and where cores are two to a unit, or other
programs use some of them, fewer are faster too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

from selftaught import compute, console
from selftaught.compute import Machine
from selftaught.model.initial import initialise
from selftaught.model.transformer import Transformer
from selftaught.training.adamw import clipping
from selftaught.training.optimizer import Optimizer
from selftaught.training.parallel import Processes
from selftaught.training.plan import TrainingPlan

Timed = Callable[[], float]
"""Takes one step and says how long it took."""
ROUNDS = 4
"""In each, every number of threads has its turn; the best of its times counts, since foreign load only ever adds to one."""
ROUND_SECONDS = 3.0
"""Of a trial at most: rows are left out where a micro-batch takes longer."""
TOO_SLOW = 1.5
"""Times the best: half as many threads are not tried where these are that slow."""
WORTH = 0.95
"""Fewer threads are taken where they need no more than this share of the time, so that an accident does not decide."""


def trial(plan: TrainingPlan, vocabulary: int, machine: Machine) -> Timed:
    """Seconds of one training step of a network of the plan's shape, on random ids; that of the run is not touched.

    A micro-batch and the optimizer are timed, and a step has as many micro-batches as it has.
    """
    model = Transformer(plan.shape(vocabulary)).train()
    initialise(model, compute.generator("trial"))
    processes, optimizer = Processes(model, machine), Optimizer(model, plan, machine.dtype)
    size = min(plan.micro_batch_size, plan.batch_size)
    ids_BT = torch.randint(vocabulary, (size, plan.context + 1), generator=compute.generator("trial"))

    def timed() -> float:
        nonlocal ids_BT
        started = time.perf_counter()
        processes.add_gradients([(ids_BT[:, :-1], ids_BT[:, 1:])], ids_BT[:, 1:].numel())
        computed = time.perf_counter()
        optimizer.step(plan.peak_rate, clipping(optimizer.gradient_norm(), plan.clip))
        ended, rows = time.perf_counter(), len(ids_BT)
        ids_BT = ids_BT[: max(1, int(rows * min(1.0, ROUND_SECONDS / (ended - started))))]
        return (computed - started) * plan.batch_size / rows + ended - computed

    return timed


def fastest(timed: Timed, most: int) -> Mapping[int, float]:
    """Seconds of a step by number of threads, the best number first: of `most`, half of them and so on.

    Where half of them take much longer, fewer still are not tried.
    """
    times, waiting = dict[int, float](), [most]
    with compute.threads_kept():
        timed()  # starts threads, touches pages
        for number in waiting:
            times[number] = _with(number, timed)
            if number > 1 and times[number] < TOO_SLOW * min(times.values()):
                waiting.append(number // 2)
        for _ in range(ROUNDS - 1):
            for number in times:
                times[number] = min(times[number], _with(number, timed))
    best = most
    for number, seconds in times.items():
        if seconds < WORTH * times[best]:
            best = number
    return {best: times[best], **times}


def _with(number: int, timed: Timed) -> float:
    torch.set_num_threads(number)
    return timed()


def chosen(plan: TrainingPlan, vocabulary: int, machine: Machine) -> int:
    """How many threads to train with: as the plan says, or what is fastest where one process computes on the processor."""
    most = torch.get_num_threads()
    if plan.threads or most == 1 or machine.device != "cpu" or machine.world_size > 1:
        return plan.threads or most
    times = fastest(trial(plan, vocabulary, machine), most)
    number, *others = times
    against = ", ".join(f"{other}: {times[other]:.3g} s" for other in sorted(others))
    console.line(f"training with {number} of {most} threads: {times[number]:.3g} s a step ({against})")
    return number
