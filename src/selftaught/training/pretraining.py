"""A pre-training run: from a plan and token shards to checkpoints, resumable to the bit."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from selftaught import compute, console, storage
from selftaught.checkpoint import loading, native
from selftaught.errors import MismatchError, SelftaughtError
from selftaught.model import cost
from selftaught.model.initial import initialise
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.batches import Batches
from selftaught.tokens.shards import Shards, open_shards
from selftaught.training import parallel
from selftaught.training.heldout import Heldout
from selftaught.training.optimizer import Optimizer
from selftaught.training.plan import TrainingPlan
from selftaught.training.progress import Log, Progress, Stop, StopRequested, require_same_plan
from selftaught.training.schedule import rate
from selftaught.training.step import StepResult, train_step

OPTIMIZER_FILE, TRAINING_FILE = "optimizer.safetensors", "training.json"
_BYTES_PER_PARAMETER = 12
"""Of a checkpoint: a float32 weight and the optimizer's two means."""


def pretrain(plan: TrainingPlan, *, tokens: str | Path, out: str | Path) -> Path:
    """Run a plan on a TOKENS folder; checkpoints and log.jsonl go to `out`. Returns the last checkpoint.

    A second call continues after the newest whole checkpoint, with the same result to the bit. Ctrl-C and SIGTERM save a
    checkpoint first. Raises UsageError for a plan that fits no network, InputError or DamagedFileError for shards that are
    none, MismatchError for a tokenizer that is not theirs or a run begun with another plan, OutputError where the disk is
    too small, SelftaughtError if the loss is not a number any more.
    """
    return _Pretraining(plan, Path(tokens), Path(out)).run()


class _Pretraining:
    def __init__(self, plan: TrainingPlan, tokens: Path, out: Path) -> None:
        compute.keep_freed_memory()
        self.plan, self.out = plan, out
        self.train = open_shards(tokens, "train")
        self.tokenizer = Tokenizer.load(tokens)
        require_same_tokenizer(self.tokenizer, self.train)
        shape = plan.shape(self.train.vocabulary_size)
        self.batches = Batches(self.train, seed=plan.seed, batch_size=plan.batch_size, context=plan.context)
        self.heldout = Heldout(
            open_shards(tokens, "heldout"),
            context=plan.context,
            tokens=plan.evaluate_tokens,
            rows=plan.micro_batch_size,
        )
        storage.require_space(out, (plan.checkpoints_kept + 1) * cost.parameters(shape) * _BYTES_PER_PARAMETER)
        begun = self._last_checkpoint()
        self.model, self.progress = begun or self._fresh()
        self.machine = compute.machine("auto", self.progress.precision)
        parallel.require_one_process(self.machine)
        self.model.to(self.machine.device).train()
        self.optimizer = Optimizer(self.model, plan, self.machine.dtype)
        if begun:
            self.optimizer.restore(native.read_tensors(self._folder() / OPTIMIZER_FILE))
        self.stop = Stop()
        self._kept = self.progress.step if begun else None
        """The step of the newest checkpoint."""

    def _fresh(self) -> tuple[Transformer, Progress]:
        model = Transformer(self.plan.shape(self.train.vocabulary_size))
        initialise(model, compute.generator("weights", self.plan.seed))
        return model, Progress(plan=self.plan, precision=compute.machine("auto", self.plan.precision).precision)

    def _last_checkpoint(self) -> tuple[Transformer, Progress] | None:
        """The newest whole checkpoint, if there is any."""
        folders = loading.checkpoints(self.out)
        if not folders:
            return None
        folder, model, tokenizer = loading.newest(folders)
        require_same_tokenizer(tokenizer, self.train)
        progress = storage.read_json(folder / TRAINING_FILE, Progress)
        require_same_plan(progress.plan, self.plan)
        if progress.step < self.plan.steps:
            console.line(f"continuing after step {progress.step:,} of {self.plan.steps:,}")
        return model, replace(progress, plan=self.plan)

    def run(self) -> Path:
        """Train to the end and return the last checkpoint."""
        log, plan, saved = Log(self.out, after=self.progress.step), self.plan, time.monotonic()
        done = self.progress.step * plan.step_tokens
        with self.stop, console.progress("training", plan.tokens, unit="tokens", done=done) as bar:
            try:
                while self.progress.step < plan.steps:
                    result = self._step()
                    self._log(log, result)
                    bar.advance(plan.step_tokens, f"loss {result.loss:.3f}")
                    if time.monotonic() - saved > plan.checkpoint_seconds:
                        self._save()
                        saved = time.monotonic()
            except StopRequested as request:
                self._save()
                console.line(f"saved after step {self.progress.step:,} of {plan.steps:,}")
                raise request.ending() from None
        return self._save() if self.progress.step != self._kept else self._folder()

    def _step(self) -> StepResult:
        step, started = self.progress.step, time.monotonic()
        # Dropout draws from torch's own generator: seeding it by step makes a resumed run the same to the bit.
        torch.manual_seed(compute.seed_of("step", self.plan.seed, step))
        result = train_step(
            self.model,
            self.optimizer,
            self._micro_batches(step),
            tokens=self.plan.step_tokens,
            rate=rate(self.plan, step),
            clip=self.plan.clip,
            machine=self.machine,
        )
        if not result.finite:
            self._save()
            raise SelftaughtError(
                f"training diverged at step {step + 1}",
                got=f"loss {result.loss}, gradient norm {result.gradient_norm}",
                hint="start again in another folder with a smaller --peak-rate",
            )
        self.progress = self.progress.after(result, time.monotonic() - started)
        return result

    def _micro_batches(self, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rows, size = parallel.rows(self.plan.batch_size, self.machine), self.plan.micro_batch_size
        for first in rows[::size]:
            self.stop.check()
            yield self.batches.rows(step, first, min(size, rows.stop - first))

    def _log(self, log: Log, result: StepResult) -> None:
        done, plan = self.progress.step, self.plan
        evaluated = done in (1, plan.steps) or done % plan.evaluate_every == 0
        if evaluated or done % plan.log_every == 0:
            heldout = self.heldout.bits_per_byte(self.model, self.machine) if evaluated else None
            self.progress = log.add(
                self.progress, rate=rate(plan, done - 1), gradient_norm=result.gradient_norm, heldout=heldout
            )

    def _folder(self) -> Path:
        return self.out / f"step-{self.progress.step:06}"

    def _save(self) -> Path:
        """Write a checkpoint and remove those that are too many, or damaged ones of steps that were done again."""
        native.save(
            self.model,
            self.tokenizer,
            self._folder(),
            tensors={OPTIMIZER_FILE: self.optimizer.state()},
            documents={TRAINING_FILE: self.progress},
        )
        folders = loading.checkpoints(self.out)
        whole = folders[: folders.index(self._folder()) + 1]
        for folder in set(folders) - set(whole[-self.plan.checkpoints_kept :]):
            shutil.rmtree(folder)
        self._kept = self.progress.step
        return self._folder()


def require_same_tokenizer(tokenizer: Tokenizer, shards: Shards) -> None:
    """Raise MismatchError if shards were made with another tokenizer."""
    if tokenizer.fingerprint != shards.fingerprint:
        raise MismatchError(
            f"the token shards in {shards.folder} were made with another tokenizer",
            expected=f"fingerprint {tokenizer.fingerprint[:12]}",
            got=shards.fingerprint[:12],
            hint="make the shards again: selftaught pack",
        )
