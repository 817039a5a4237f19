"""Training step: ours beside a plain nanoGPT-style loop, transformers and litgpt, on the same weights and batches.

    python bench/training.py [--quick] [--case TEXT] [--peers NAME ...] [--json FILE]

Whole steps: forward, backward, clipping and AdamW, in the format that our step would choose on this machine for all contenders.
Each contender is a process of its own, and they take turns of a second, or of a step if that is longer, so that neither one's
memory nor its allocator's settings are another's. Of each: tokens a second by the clock and by processor time (all threads
added), the share that the network's FLOPs are of what this machine reaches in large products of matrices (MFU; the median of
what it reached before each round), and the memory taken on top of what the imported libraries had. Where other programs take
more than a tenth of the processors, it is said.

Before anything is timed, the losses of all are compared in float32. litgpt has no learned positions: its network is the same
without them, and its loss compared with ours with positions of zero. It is not in the bench extra, since it holds torch back:
install it without its dependencies. The plain loop is also timed compiled, but for --quick, which takes one thread and the two
small cases. `--case` takes those whose name has the text in it, `--peers` these peers alone, so that it can be done in pieces.
The whole wants a quiet machine.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

from selftaught import compute
from selftaught.model import cost
from selftaught.model.initial import initialise
from selftaught.model.loss import loss_sum
from selftaught.model.transformer import Transformer
from selftaught.training.optimizer import Optimizer
from selftaught.training.plan import TrainingPlan
from selftaught.training.step import train_step
from side_by_side import SideBySide

T = TypeVar("T")
Batch = tuple[torch.Tensor, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""ids_BT and targets_BT -> mean loss."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A shape and a batch."""

    name: str
    plan: TrainingPlan
    vocabulary: int
    slow: bool = False


def _case(name: str, *, vocabulary: int, slow: bool = False, **shape: Any) -> Case:
    plan = TrainingPlan(**shape, micro_batch_size=shape["batch_size"], optimizer="adamw")
    return Case(name=name, plan=plan, vocabulary=vocabulary, slow=slow)


CASES = (
    _case("4 x 192, context 256, 4,096 ids, batch 8", layers=4, heads=6, channels=192, batch_size=8, vocabulary=4096),
    _case("4 x 256, context 256, 8,192 ids, batch 16", layers=4, heads=4, channels=256, batch_size=16, vocabulary=8192),
    _case(
        "6 x 384, context 256, 65 ids, batch 16",
        layers=6,
        heads=6,
        channels=384,
        batch_size=16,
        vocabulary=65,
        slow=True,
    ),
    _case(
        "GPT-2 small, context 1,024, 50,257 ids, batch 1",
        layers=12,
        heads=12,
        channels=768,
        context=1024,
        batch_size=1,
        vocabulary=50257,
        slow=True,
    ),
)


class PlainBlock(nn.Module):
    """A block of the plain loop: torch's modules, scaled dot-product attention."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.c_attn, self.c_proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.c_fc, self.mlp_proj = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Residual attention, residual feed-forward."""
        batch, time, channels = x.shape
        q, k, v = (
            part.view(batch, time, self.heads, channels // self.heads).transpose(1, 2)
            for part in self.c_attn(self.ln_1(x)).split(channels, dim=2)
        )
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(batch, time, channels))
        return x + self.mlp_proj(functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))  # type: ignore[no-any-return]


class Plain(nn.Module):
    """GPT-2 as short loops write it: all logits at once, cross-entropy over them."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        plan = case.plan
        self.wte = nn.Embedding(case.vocabulary, plan.channels)
        self.wpe = nn.Embedding(plan.context, plan.channels)
        self.h = nn.ModuleList(PlainBlock(plan.channels, plan.heads) for _ in range(plan.layers))
        self.ln_f = nn.LayerNorm(plan.channels)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss."""
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            x = block(x)
        logits = functional.linear(self.ln_f(x), self.wte.weight)
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


PLAIN_NAMES = {
    "tokens": "wte",
    "positions": "wpe",
    "blocks": "h",
    "norm": "ln_f",
    "attention_norm": "ln_1",
    "feed_norm": "ln_2",
    "attention.query_key_value": "c_attn",
    "attention.output": "c_proj",
    "feed.inner": "c_fc",
    "feed.outer": "mlp_proj",
}
HUGGING_FACE_NAMES = {
    "attention.query_key_value": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed.inner": "mlp.c_fc",
    "feed.outer": "mlp.c_proj",
}


LITGPT_NAMES = {
    "tokens": "transformer.wte",
    "blocks": "transformer.h",
    "norm": "transformer.ln_f",
    "attention_norm": "norm_1",
    "feed_norm": "norm_2",
    "attention.query_key_value": "attn.qkv",
    "attention.output": "attn.proj",
    "feed.inner": "mlp.fc",
    "feed.outer": "mlp.proj",
}


def renamed(weights: Mapping[str, T], names: Mapping[str, str]) -> dict[str, T]:
    """What goes by the names of our weights under a peer's."""
    found = {}
    for name, weight in weights.items():
        parts, _, last = name.rpartition(".")
        head, index, rest = "", "", parts
        if parts.startswith("blocks."):
            head, index, rest = parts.split(".", 2)
        path = [names.get(head, head), index, names.get(rest, rest), last]
        found[".".join(part for part in path if part)] = weight
    return found


def plain(case: Case, ours: Transformer) -> Plain:
    """The plain loop's network with our weights."""
    model = Plain(case)
    model.load_state_dict(renamed(ours.state_dict(), PLAIN_NAMES))
    return model


def _hugging_face(case: Case, ours: Transformer) -> nn.Module:
    transformers: Any = importlib.import_module("transformers")
    plan = case.plan
    config = transformers.GPT2Config(
        vocab_size=case.vocabulary,
        bos_token_id=None,
        eos_token_id=None,
        n_positions=plan.context,
        n_embd=plan.channels,
        n_layer=plan.layers,
        n_head=plan.heads,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    )
    model: nn.Module = transformers.GPT2LMHeadModel(config)
    matrices = {"c_attn.weight", "c_proj.weight", "c_fc.weight"}
    weights = {
        # Its matrices stand the other way round.
        f"transformer.{name}": weight.T if ".".join(name.split(".")[-2:]) in matrices else weight
        for name, weight in renamed(ours.state_dict(), PLAIN_NAMES | HUGGING_FACE_NAMES).items()
    }
    model.load_state_dict(weights | {"lm_head.weight": weights["transformer.wte.weight"]})
    return model.train()


def _litgpt(case: Case, ours: Transformer) -> nn.Module:
    from litgpt.config import Config
    from litgpt.model import GPT

    plan = case.plan
    config = Config(
        name="bench",
        block_size=plan.context,
        vocab_size=case.vocabulary,
        padded_vocab_size=case.vocabulary,
        n_layer=plan.layers,
        n_head=plan.heads,
        n_embd=plan.channels,
        rotary_percentage=0.0,
        parallel_residual=False,
        bias=True,
        norm_class_name="LayerNorm",
        mlp_class_name="GptNeoxMLP",
        gelu_approximate="tanh",
    )
    model: Any = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight
    weights = {
        name: weight for name, weight in renamed(ours.state_dict(), LITGPT_NAMES).items() if name != "positions.weight"
    }
    model.load_state_dict(weights | {"lm_head.weight": weights["transformer.wte.weight"]})
    found: nn.Module = model.train()
    return found


def _steps(
    model: nn.Module, loss: Loss, batch: Batch, machine: compute.Machine, plan: TrainingPlan
) -> Callable[[], float]:
    """A peer's training step, as such loops write it."""
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
    on_gpu = machine.device != "cpu"
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(plan.beta1, plan.beta2), fused=on_gpu)

    def step() -> float:
        with torch.autocast("cuda" if on_gpu else "cpu", machine.dtype, enabled=machine.precision == "bfloat16"):
            value = loss(*batch)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(value.detach())

    return step


def _our_steps(model: Transformer, batch: Batch, machine: compute.Machine, plan: TrainingPlan) -> Callable[[], float]:
    optimizer = Optimizer(model, plan, machine.dtype)

    def step() -> float:
        return train_step(
            model, optimizer, [batch], tokens=plan.step_tokens, rate=1e-4, clip=plan.clip, machine=machine
        ).loss

    return step


def _loss(name: str, model: Any) -> Loss:
    """A peer's mean loss: the plain loop gives it, the others give logits."""
    if name == "transformers":
        return lambda ids, targets: _cross_entropy(model(ids, use_cache=False).logits, targets)
    if name == "litgpt":
        return lambda ids, targets: _cross_entropy(model(ids), targets)
    found: Loss = torch.compile(model) if name == COMPILED else model
    return found


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


COMPILED = "plain loop, compiled"
TURN_SECONDS = 1.0
MAKERS: dict[str, Callable[[Case, Transformer], nn.Module]] = {
    "plain loop": plain,
    "transformers": _hugging_face,
    "litgpt": _litgpt,
    COMPILED: plain,
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One step of a contender."""

    wall: float
    cpu: float
    memory: int
    """Bytes at most so far, above what the process had before its network was made."""
    foreign: float = 0.0
    """Share of the machine's time that other programs took meanwhile."""


def _serve(connection: Connection, case: Case, name: str, threads: int) -> None:
    """A contender: says the float32 loss of its network, then makes a step whenever it is told to."""
    if name == "ours":
        compute.keep_freed_memory()  # as training does
    elif name == "transformers":
        importlib.import_module(name)
    torch.set_num_threads(threads)
    before, machine = _memory(), compute.machine()
    ours = Transformer(case.plan.shape(case.vocabulary))
    initialise(ours, compute.generator("bench"))
    size = (case.plan.batch_size, case.plan.context + 1)
    ids = torch.randint(case.vocabulary, size, generator=compute.generator("ids"))
    batch = ids[:, :-1].contiguous().to(machine.device), ids[:, 1:].contiguous().to(machine.device)
    if name == "ours":
        ours.to(machine.device).train()
        connection.send([_our_loss(ours, batch, positions=positions) for positions in (True, False)])
        step = _our_steps(ours, batch, machine, case.plan)
    else:
        model = MAKERS[name](case, ours).to(machine.device).train()
        del ours
        with torch.no_grad():
            connection.send(float(_loss("plain loop" if name == COMPILED else name, model)(*batch)))
        step = _steps(model, _loss(name, model), batch, machine, case.plan)
    while connection.recv():
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        sample = Sample(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu, memory=_memory() - before)
        connection.send(sample)


def _memory() -> int:
    on_gpu = torch.cuda.is_available()
    return torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@torch.no_grad()
def _our_loss(ours: Transformer, batch: Batch, *, positions: bool) -> float:
    kept = ours.positions.weight.clone()
    if not positions:
        ours.positions.weight.zero_()
    loss = float(loss_sum(ours, *batch)) / batch[1].numel()
    ours.positions.weight.copy_(kept)
    return loss


class Contender:
    """The other end of `_serve`."""

    def __init__(self, case: Case, name: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, case, name, threads), daemon=True)
        self._process.start()
        self.loss: Any = self._here.recv()

    def step(self) -> Sample:
        """Let it make a step."""
        started, busy = time.perf_counter(), _busy_seconds()
        self._here.send(obj=True)
        sample: Sample = self._here.recv()
        available = (time.perf_counter() - started) * compute.usable_cores()
        foreign = max(0.0, _busy_seconds() - busy - sample.cpu) / available
        return Sample(wall=sample.wall, cpu=sample.cpu, memory=sample.memory, foreign=foreign)

    def turn(self) -> list[Sample]:
        """Let it make steps for a second, at least one: what the one before left running is soon over."""
        taken = [self.step()]
        while sum(sample.wall for sample in taken) < TURN_SECONDS:
            taken.append(self.step())
        return taken

    def end(self) -> None:
        """Let it go."""
        self._here.send(obj=False)
        self._process.join()


def _busy_seconds() -> float:
    """Processor time that all programs of this machine have had."""
    try:
        with open("/proc/stat", encoding="ascii") as lines:
            ticks = [int(word) for word in lines.readline().split()[1:9]]
    except OSError:
        return 0.0
    return (sum(ticks) - ticks[3] - ticks[4]) / 100  # without idle, and waiting for a disk


def _compare(bench: SideBySide, case: Case, peers: list[str]) -> None:
    threads = 1 if bench.quick else torch.get_num_threads()
    contenders = {name: Contender(case, name, threads) for name in ("ours", *peers)}
    with_positions, without = contenders["ours"].loss
    for name in peers:
        expected = without if name == "litgpt" else with_positions
        if abs(contenders[name].loss - expected) > 1e-4:
            raise SystemExit(f"{name} and ours disagree on the loss: {contenders[name].loss} and {expected}")
    for contender in contenders.values():
        contender.step()
        contender.step()
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    peaks = []
    for turn in range(bench.repeats):
        names = list(contenders)
        peaks.append(compute.measured_flops_per_second(compute.machine(), repeats=20))
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            samples[name] += contenders[name].turn()
    for contender in contenders.values():
        contender.end()
    _note(bench, case, samples, statistics.median(peaks))


def _note(bench: SideBySide, case: Case, samples: Mapping[str, list[Sample]], peak: float) -> None:
    machine, tokens = compute.machine(), case.plan.step_tokens
    flops = cost.training_flops_per_token(case.plan.shape(case.vocabulary)) * tokens
    wall = {name: statistics.median(one.wall for one in taken) for name, taken in samples.items()}
    cpu = {name: statistics.median(one.cpu for one in taken) for name, taken in samples.items()}
    memory = {name: max(one.memory for one in taken) / 2**20 for name, taken in samples.items()}
    tables = [("tokens/s", {name: tokens / taken for name, taken in wall.items()})]
    if machine.device == "cpu":
        tables.append(("tokens/CPU-s", {name: tokens / taken for name, taken in cpu.items()}))
    tables += [("% of peak", {name: 100 * flops / taken / peak for name, taken in wall.items()}), ("MB", memory)]
    label = f"{case.name}, {machine.precision}"
    for unit, values in tables:
        for name in list(values)[1:]:
            bench.note(label, values["ours"], values[name], name, unit=unit, larger_is_better=unit != "MB")
    others = statistics.median(one.foreign for taken in samples.values() for one in taken)
    print(f"{label}: measured peak {peak / 1e9:.0f} GFLOP/s, other programs took {others:.0%} of the processors")
    if others > 0.1:
        print("  that is too much: the figures by the clock say little")


def main() -> None:
    """Compare and show."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--case", default="")
    parser.add_argument("--peers", nargs="*", choices=list(MAKERS), default=[])
    given, rest = parser.parse_known_args()
    bench = SideBySide("training", rest)
    wanted = given.peers or [name for name in MAKERS if name != COMPILED or not bench.quick]
    peers = [name for name in wanted if name not in {"transformers", "litgpt"} or bench.peer(name)]
    for case in CASES:
        if given.case in case.name and not (case.slow and bench.quick):
            _compare(bench, case, peers)
    bench.finish()


if __name__ == "__main__":
    main()
