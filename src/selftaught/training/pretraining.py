"""A pre-training run: from a plan and token shards to checkpoints, resumable to the bit."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from selftaught import compute, console, storage
from selftaught.checkpoint import loading, native
from selftaught.errors import DamagedFileError, MismatchError, SelftaughtError
from selftaught.model.initial import initialise
from selftaught.model.transformer import Transformer
from selftaught.report.records import LearningPoint
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.batches import Batches
from selftaught.tokens.shards import Shards, open_shards
from selftaught.training.optimizer import Optimizer
from selftaught.training.plan import TrainingPlan
from selftaught.training.schedule import rate
from selftaught.training.step import StepResult, mean_loss, train_step

OPTIMIZER_FILE, TRAINING_FILE = "optimizer.safetensors", "training.json"
_KEPT = 2
"""Checkpoints: the newest, and one before it in case the newest is damaged."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands; kept with each checkpoint."""

    step: int
    """Steps done."""
    seconds: float
    """Time spent, over all starts."""


class _Pretraining:
    def __init__(self, plan: TrainingPlan, tokens: Path, out: Path) -> None:
        self.plan, self.out = plan, out
        self.machine = compute.machine("auto", plan.precision)
        self.train = open_shards(tokens, "train")
        self.batches = Batches(self.train, seed=plan.seed, batch_size=plan.batch_size, context=plan.context)
        self.tokenizer = Tokenizer.load(tokens)
        require_same_tokenizer(self.tokenizer, self.train)
        self.heldout = _Heldout(open_shards(tokens, "heldout"), plan)
        self.model, self.optimizer, self.progress = self._begin()

    def _begin(self) -> tuple[Transformer, Optimizer, Progress]:
        """Fresh weights, or the newest whole checkpoint."""
        steps = loading.checkpoints(self.out)
        if not steps:
            model = Transformer(self.plan.shape(self.train.vocabulary_size))
            initialise(model, compute.generator("weights", self.plan.seed))
            model.to(self.machine.device).train()
            return model, Optimizer(model, self.plan), Progress(step=0, seconds=0.0)
        folder, model, tokenizer = loading.newest(steps)
        require_same_tokenizer(tokenizer, self.train)
        progress = storage.read_json(folder / TRAINING_FILE, Progress)
        model.to(self.machine.device).train()
        optimizer = Optimizer(model, self.plan)
        optimizer.restore(native.read_tensors(folder / OPTIMIZER_FILE))
        if progress.step < self.plan.steps:
            console.line(f"continuing after step {progress.step} of {self.plan.steps}")
        return model, optimizer, progress

    def run(self) -> Path:
        """Train to the end and return the last checkpoint. On Ctrl-C or SIGTERM a checkpoint is written first."""
        _forget_after(self.out / storage.LOG_FILE, self.progress.step)
        started = saved = time.monotonic()
        before, step = self.progress, self.progress.step
        per_step = self.plan.batch_size * self.plan.context
        with console.progress("training", self.plan.tokens, unit="tokens", done=step * per_step) as bar:
            try:
                for step in range(before.step, self.plan.steps):
                    result = self._step(step)
                    seconds = before.seconds + time.monotonic() - started
                    self.progress = Progress(step=step + 1, seconds=seconds)
                    self._log(result, seconds)
                    bar.advance(per_step, f"loss {result.loss:.3f}")
                    if time.monotonic() - saved > self.plan.checkpoint_seconds:
                        self._save()
                        saved = time.monotonic()
            except (KeyboardInterrupt, SystemExit):
                self._save()
                console.line(f"saved after step {self.progress.step} of {self.plan.steps}")
                raise
        return self._save()

    def _step(self, step: int) -> StepResult:
        # Dropout draws from torch's own generator: seeding it by step makes a resumed run the same to the bit.
        torch.manual_seed(compute.seed_of("step", self.plan.seed, step))
        result = train_step(
            self.model,
            self.optimizer,
            self._micro_batches(step),
            tokens=self.plan.batch_size * self.plan.context,
            rate=rate(self.plan, step),
            clip=self.plan.clip,
            machine=self.machine,
        )
        if not math.isfinite(result.loss + result.gradient_norm):
            self._save()
            raise SelftaughtError(
                f"training diverged at step {step + 1}",
                got=f"loss {result.loss}, gradient norm {result.gradient_norm}",
                hint="start again in another folder with a smaller --peak-rate",
            )
        return result

    def _micro_batches(self, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        size = self.plan.micro_batch_size
        for first in range(0, self.plan.batch_size, size):
            yield self.batches.rows(step, first, size)

    def _log(self, result: StepResult, seconds: float) -> None:
        done, plan = self.progress.step, self.plan
        last = done == plan.steps
        evaluated = last or done % plan.evaluate_every == 0 or done == 1
        if not (evaluated or done % plan.log_every == 0):
            return
        point = LearningPoint(
            step=done,
            tokens=done * plan.batch_size * plan.context,
            loss=result.loss,
            rate=rate(plan, done - 1),
            gradient_norm=result.gradient_norm,
            tokens_per_second=done * plan.batch_size * plan.context / max(seconds, 1e-9),
            seconds=seconds,
            heldout_bits_per_byte=self.heldout.bits_per_byte(self.model, self.machine) if evaluated else None,
        )
        storage.append_line(self.out / storage.LOG_FILE, msgspec.json.encode(point))

    def _save(self) -> Path:
        folder = self.out / f"step-{self.progress.step:06}"
        native.save(
            self.model,
            self.tokenizer,
            folder,
            tensors={OPTIMIZER_FILE: self.optimizer.state()},
            documents={TRAINING_FILE: self.progress},
        )
        for old in loading.checkpoints(self.out)[:-_KEPT]:
            shutil.rmtree(old)
        return folder


class _Heldout:
    """A fixed stretch of held-out tokens."""

    def __init__(self, shards: Shards, plan: TrainingPlan) -> None:
        windows = max(1, min(plan.evaluate_tokens, shards.tokens - 1) // plan.context)
        length = min(plan.context, shards.tokens - 1)
        ids = torch.from_numpy(shards.slice(0, windows * length + 1))
        self._batches = [
            (ids[:-1].view(windows, length)[first : first + 16], ids[1:].view(windows, length)[first : first + 16])
            for first in range(0, windows, 16)
        ]
        self._bits = shards.tokens / max(1, shards.bytes) / math.log(2)
        """Bits per byte of one nat per token, over the whole of the held-out text."""

    def bits_per_byte(self, model: Transformer, machine: compute.Machine) -> float:
        return mean_loss(model, self._batches, machine) * self._bits


def pretrain(plan: TrainingPlan, *, tokens: str | Path, out: str | Path) -> Path:
    """Run a plan on a TOKENS folder; checkpoints and log.jsonl go to `out`. Returns the last checkpoint.

    A second call continues after the newest whole checkpoint, with the same result to the bit. Raises InputError or
    DamagedFileError for shards that are none, MismatchError for a tokenizer that is not theirs, SelftaughtError if the loss
    is not a number any more.
    """
    return _Pretraining(plan, Path(tokens), Path(out)).run()


def require_same_tokenizer(tokenizer: Tokenizer, shards: Shards) -> None:
    """Raise MismatchError if shards were made with another tokenizer."""
    if tokenizer.fingerprint != shards.fingerprint:
        raise MismatchError(
            f"the token shards in {shards.folder} were made with another tokenizer",
            expected=f"fingerprint {tokenizer.fingerprint[:12]}",
            got=shards.fingerprint[:12],
            hint="make the shards again: selftaught pack",
        )


def _forget_after(log: Path, step: int) -> None:
    """Drop the rows of steps that are going to be done again."""
    if not log.is_file():
        return
    try:
        rows = storage.read_lines(log, LearningPoint)
    except DamagedFileError:
        rows = []
    storage.write_jsonl(log, [row for row in rows if row.step <= step])
