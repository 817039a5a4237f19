"""A pre-training run: from a plan and token shards to checkpoints, resumable to the bit, in one process or in many."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from selftaught import compute, console, storage
from selftaught.checkpoint import loading, native
from selftaught.compute import Machine
from selftaught.errors import DivergedError
from selftaught.model import cost
from selftaught.model.initial import initialise
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.training import checkpoints, spikes, threads
from selftaught.training.activations import checkpoint_blocks
from selftaught.training.arithmetic import arithmetic
from selftaught.training.compiling import compile_blocks
from selftaught.training.optimizer import Optimizer
from selftaught.training.parallel import Processes, rows, will_shard
from selftaught.training.plan import TrainingPlan
from selftaught.training.progress import Log, Pace, Progress, Stop, StopRequested, require_same_plan
from selftaught.training.schedule import rate
from selftaught.training.step import StepResult, train_step
from selftaught.training.texts import open_texts

_BYTES_PER_PARAMETER = 12
"""Of a checkpoint: a float32 weight and the optimizer's two means."""


Watch = Callable[[Transformer, Tokenizer, int], None]
"""Looks at a network after a step: it must change neither weights nor torch's own generator."""


@dataclass(frozen=True, kw_only=True)
class _Watching:
    """What looks at the network, every so many steps."""

    look: Watch
    every: int


def pretrain(
    plan: TrainingPlan,
    *,
    tokens: str | Path,
    out: str | Path,
    hold_out: float = 0.0,
    watch: Watch | None = None,
    watch_every: int = 1,
) -> Path:
    """Run a plan on a TOKENS folder; checkpoints and log.jsonl go to `out`. Returns the last checkpoint.

    A second call continues after the newest whole checkpoint, with the same result to the bit. Ctrl-C and SIGTERM save a
    checkpoint first. Under torchrun every process calls it alike. With `hold_out`, that share of the training documents is
    measured on instead of the held-out text, and not trained on. `watch` is called every `watch_every` steps in rank 0, with the
    whole network; other processes wait for it.

    Raises UsageError for a plan that fits no network or number of processes, InputError or DamagedFileError for shards that are
    none, MismatchError for a tokenizer that is not theirs or a run begun with another plan, OutputError where the disk is too
    small, DivergedError if the loss is not a number any more.
    """
    with compute.joined(), compute.threads_kept():
        watching = _Watching(look=watch, every=watch_every) if watch is not None else None
        return _Pretraining(plan, Path(tokens), Path(out), hold_out, watching).run()


def _examine(plan: TrainingPlan, tokens: Path, out: Path, hold_out: float) -> checkpoints.Found | None:
    """Where to continue, if the run was begun. Raises whatever is wrong with it, before any work."""
    texts = open_texts(plan, tokens, hold_out)
    shape = plan.shape(texts.train.vocabulary_size)
    # One more than are kept, since a new one is there before the oldest goes; some may be there already.
    missing = plan.checkpoints_kept + 1 - min(plan.checkpoints_kept, len(loading.checkpoints(out)))
    storage.require_space(out, missing * cost.parameters(shape) * _BYTES_PER_PARAMETER)
    found = checkpoints.newest(out, texts.train)
    if found:
        require_same_plan(found.progress.plan, plan)
        if found.progress.step < plan.steps:
            console.line(f"continuing after step {found.progress.step:,} of {plan.steps:,}")
    return found


def _new(plan: TrainingPlan, vocabulary: int, machine: Machine) -> Progress:
    """A run at its beginning, with the threads that it will have."""
    number = threads.chosen(plan, vocabulary, machine)
    torch.set_num_threads(number)
    return Progress(
        plan=plan,
        precision=machine.precision,
        arithmetic=arithmetic(machine, compiled=plan.compile),
        threads=number if machine.world_size == 1 else 0,
    )


def _continued(before: Progress, plan: TrainingPlan, machine: Machine) -> Progress:
    """A run that was begun, with as many threads as it had; says so if it cannot go on to the bit on this machine."""
    alone, cores = machine.world_size == 1, compute.usable_cores()
    number = plan.threads or (min(before.threads, cores) if alone else 0) or torch.get_num_threads()
    torch.set_num_threads(number)
    now = arithmetic(machine, compiled=plan.compile)
    changes = now.changes(before.arithmetic)
    if alone and before.threads not in (0, number):
        changes.append(f"threads: {before.threads} -> {number}")
    if changes:
        console.warn(f"from here on, losses are not to the bit those of a run without a break; {', '.join(changes)}")
    return replace(before, plan=plan, arithmetic=now, threads=number if alone else before.threads)


class _Pretraining:
    def __init__(self, plan: TrainingPlan, tokens: Path, out: Path, hold_out: float, watch: _Watching | None) -> None:
        compute.keep_freed_memory()
        # Rank 0 looks first: what is wrong is said once.
        found = compute.from_first(lambda: _examine(plan, tokens, out, hold_out))
        self.plan, self.out, self.texts = plan, out, open_texts(plan, tokens, hold_out)
        begun = found.progress.precision if found else plan.precision
        self.machine = compute.machine("auto", begun)
        vocabulary = self.texts.train.vocabulary_size
        # What is reached is compared with all of the machine, so this comes before threads are chosen.
        self.pace = Pace(plan.shape(vocabulary), self.machine)
        self.progress = (
            _continued(found.progress, plan, self.machine) if found else _new(plan, vocabulary, self.machine)
        )
        self.model = self._network(found).to(self.machine.device).train()
        if plan.activation_checkpointing:
            checkpoint_blocks(self.model)
        end_of_text = self.texts.tokenizer.end_of_text if plan.attention == "documents" else None
        if plan.compile and not compile_blocks(self.model, plan, self.machine, documents=end_of_text is not None):
            self.progress = replace(self.progress, arithmetic=arithmetic(self.machine))
        self.processes = Processes(
            self.model, self.machine, plan.parallel, end_of_text=end_of_text, shard_processes=plan.shard_processes
        )
        self.rows = rows(plan.batch_size, self.machine)
        self.optimizer = Optimizer(self.model, plan, self.machine.dtype)
        if found:
            checkpoints.restore(found, self.model, self.optimizer, self.processes)
        elif self.processes.sharded:
            self.optimizer.begin()
        self.stop, self.watch = Stop(), watch
        self._damaged = found.damaged if found else ()
        self._kept = self.progress.step if found else None
        """The step of the newest checkpoint."""
        self._saved = time.monotonic()

    def _network(self, found: checkpoints.Found | None) -> Transformer:
        """The weights to begin with; those of shares are read when the network is shared out."""
        if found and not (native.is_sharded(found.folder) and will_shard(self.machine, self.plan.parallel)):
            return native.load(found.folder, verified=True)[0]
        model = Transformer(self.plan.shape(self.texts.train.vocabulary_size))
        if not found:
            initialise(model, compute.generator("weights", self.plan.seed))
        return model

    def run(self) -> Path:
        """Train to the end and return the last checkpoint."""
        plan = self.plan
        log = Log(self.out, after=self.progress.step, writes=self.machine.rank == 0)
        done = self.progress.step * plan.step_tokens
        with self.stop, console.progress("training", plan.tokens, unit="tokens", done=done) as bar:
            try:
                while self.progress.step < plan.steps:
                    result = self._step()
                    self._log(log, result)
                    self._watch()
                    bar.advance(plan.step_tokens, self.pace.words(result))
                    self._save_if_wanted()
            except StopRequested as request:
                self._save()
                console.line(f"saved after step {self.progress.step:,} of {plan.steps:,}")
                raise request.ending() from None
        if self.progress.step != self._kept:
            return self._save()
        return checkpoints.folder_of(self.out, self.progress.step)

    def _step(self) -> StepResult:
        step, started, plan = self.progress.step, time.monotonic(), self.plan
        limit = spikes.limit(self.progress.recent, plan.spike_deviations)
        result = train_step(
            self.model,
            self.optimizer,
            self._micro_batches(step),
            tokens=plan.step_tokens,
            rate=rate(plan, step),
            clip=plan.clip,
            machine=self.machine,
            processes=self.processes,
            limit=limit if plan.skip_spikes else math.inf,
        )
        spike = not result.finite or result.loss > limit
        if spike:
            self._report(result, limit)
        seconds = time.monotonic() - started
        self.pace.add(plan.step_tokens, seconds)
        self.progress = self.progress.after(result, seconds, spike=spike)
        return result

    def _report(self, result: StepResult, limit: float) -> None:
        """Say that a loss leapt. Raises DivergedError, after a checkpoint, where that is too much."""
        step, left_out = self.progress.step, self.progress.left_out
        most = min(spikes.MOST_IN_A_ROW, self.plan.steps)  # a run of which nothing was done has no result
        if (not result.finite and not self.plan.skip_spikes) or left_out + 1 >= most:
            self._save()
            raise DivergedError(
                f"training diverged at step {step + 1}",
                got=f"loss {result.loss}, gradient norm {result.gradient_norm}",
                hint="Begin in another --out with a smaller --peak-rate.",
            )
        against = f"a limit of {limit:.3f}" if math.isfinite(limit) else "losses that are numbers"
        ending = "" if result.done else "; the step is left out"
        console.warn(f"step {step + 1:,}: loss {result.loss:.3f} against {against}{ending}")

    def _micro_batches(self, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        size = self.plan.micro_batch_size
        for first in self.rows[::size]:
            if self.machine.world_size == 1:  # several agree on it between steps
                self.stop.check()
            # Dropout draws from torch's own generator: seeding it by step and row makes a resumed run the same to the bit.
            torch.manual_seed(compute.seed_of("step", self.plan.seed, step, *([first] if first else [])))
            yield self.texts.batches.rows(step, first, min(size, self.rows.stop - first))

    def _log(self, log: Log, result: StepResult) -> None:
        done, plan = self.progress.step, self.plan
        evaluated = done in (1, plan.steps) or done % plan.evaluate_every == 0
        if evaluated or done % plan.log_every == 0:
            heldout = self.texts.heldout
            loss = heldout.loss(self.model, self.machine, self.processes) if evaluated else None
            if loss is not None:
                self.pace.heldout = heldout.as_bits_per_byte(loss)
                self.progress = self.progress.measured(loss)
            self.progress = log.add(
                self.progress,
                rate=rate(plan, done - 1),
                gradient_norm=result.gradient_norm,
                heldout_loss=loss,
                heldout_bits_per_byte=None if loss is None else heldout.as_bits_per_byte(loss),
            )

    def _watch(self) -> None:
        watch, step = self.watch, self.progress.step
        if watch is None or step % watch.every:
            return
        if (model := self.processes.gathered()) is not None:
            watch.look(model, self.texts.tokenizer, step)
        self.model.train()
        self.processes.wait_for_first()

    def _save_if_wanted(self) -> None:
        """Save when it is time to, by the clock of rank 0; stop all when one was asked to."""
        wanted = time.monotonic() - self._saved > self.plan.checkpoint_seconds and self.machine.rank == 0
        save, asked = self.processes.largest([int(wanted), self.stop.asked or 0])
        if save or self.progress.is_kept:
            self._save()
        if asked and self.machine.world_size > 1:
            raise StopRequested(asked)

    def _save(self) -> Path:
        self._kept = self.progress.step
        folder = checkpoints.save(
            self.out,
            self.model,
            self.optimizer,
            tokenizer=self.texts.tokenizer,
            progress=self.progress,
            processes=self.processes,
            damaged=self._damaged,
        )
        self._damaged = ()
        self._saved = time.monotonic()
        return folder
