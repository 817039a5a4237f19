"""One fine-tuning run: a task, a plan, a seed. Resumable to the bit."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import msgspec
import torch

from selftaught import compute, console, storage
from selftaught.checkpoint import native
from selftaught.errors import DamagedFileError, SelftaughtError
from selftaught.finetuning import inputs, networks, objective, saving
from selftaught.finetuning.heads import Classifier, autocast, predictions, run_all
from selftaught.finetuning.inputs import Encoded
from selftaught.finetuning.lstm import Lstm
from selftaught.finetuning.optimizer import Optimizer, rate
from selftaught.finetuning.plan import FinetuningPlan
from selftaught.finetuning.preparing import Prepared
from selftaught.finetuning.progress import (
    PROGRESS_FILE,
    RESULT_FILE,
    LogRow,
    Marked,
    Progress,
    Result,
    require_same,
)
from selftaught.finetuning.saving import BEST, LAST, Description, Finetuned
from selftaught.model.transformer import Transformer
from selftaught.tasks.agreement import MEASURES
from selftaught.training.progress import Stop, StopRequested

OPTIMIZER_FILE = "optimizer.safetensors"


class Fitting:
    """A run of one task under one plan with one seed; its folder is its own."""

    def __init__(
        self,
        plan: FinetuningPlan,
        prepared: Prepared,
        pretrained: Transformer,
        *,
        out: Path,
        seed: int,
        stop: Stop,
        lstm: Lstm | None = None,
        source: str = "",
    ) -> None:
        compute.keep_freed_memory()
        self.plan, self.prepared, self.out, self.seed, self.stop = plan, prepared, out, seed, stop
        self.source = source
        self.lengths = [one.length for one in prepared.train]
        self.per_epoch = len(inputs.epoch_order(self.lengths, plan.batch_size, seed=seed, epoch=0))
        self.steps = self.per_epoch * plan.epochs
        begun = self._last()
        self.model, self.progress = begun or self._fresh(pretrained, lstm)
        self.machine = compute.machine(plan.device, self.progress.precision)
        self.model.to(self.machine.device).train()
        self.optimizer = Optimizer(self.model, plan)
        if begun:
            self.optimizer.restore(native.read_tensors(out / LAST / OPTIMIZER_FILE))
        self._order: tuple[int, list[list[int]]] = (-1, [])
        self._recent = 0.0
        self._about_lstm = () if plan.network == "transformer" or lstm else ("the LSTM was not pre-trained",)
        self._keep_log()

    def _fresh(self, pretrained: Transformer, lstm: Lstm | None) -> tuple[Classifier, Progress]:
        network = networks.begin(self.plan, pretrained, seed=self.seed, lstm_pretrained=lstm)
        model = Classifier(network, self.prepared.head)
        model.initialise(compute.generator("finetuning output", self.seed))
        machine = compute.machine(self.plan.device, self.plan.precision)
        return model, Progress(plan=self.plan, precision=machine.precision, source=self.source)

    def _last(self) -> tuple[Classifier, Progress] | None:
        """Where the run was left, if it was; a damaged checkpoint costs the run's time."""
        if not (self.out / LAST).is_dir():
            return None
        try:
            found = saving.load(self.out / LAST)
            progress = storage.read_json(self.out / LAST / PROGRESS_FILE, Progress)
        except DamagedFileError as problem:
            console.warn(f"{problem.line()}; begun anew")
            shutil.rmtree(self.out / LAST)
            return None
        require_same(progress, self.plan, self.source, self.out)
        console.line(f"continuing after step {progress.step:,} of {self.steps:,}")
        return found.model, progress

    def run(self, bar: console.Bar) -> Result:
        """Train to the end, measure the best epoch on every set, and write result.json."""
        saved = time.monotonic()
        try:
            while self.progress.step < self.steps:
                self.stop.check()
                self._step()
                bar.advance(1, f"loss {self._recent:.3f}")
                if self.progress.step % self.per_epoch == 0:
                    self._end_epoch()
                if time.monotonic() - saved > self.plan.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
            return self._finish()
        except StopRequested as request:
            self._save()
            console.line(f"saved after step {self.progress.step:,} of {self.steps:,}")
            raise request.ending() from None

    def _batch(self) -> list[Encoded]:
        epoch, place = divmod(self.progress.step, self.per_epoch)
        if self._order[0] != epoch:
            order = inputs.epoch_order(self.lengths, self.plan.batch_size, seed=self.seed, epoch=epoch)
            self._order = epoch, order
        return [self.prepared.train[number] for number in self._order[1][place]]

    def _step(self) -> None:
        plan, step, started = self.plan, self.progress.step, time.monotonic()
        # Dropout draws from torch's own generator: seeding it by step makes a resumed run the same to the bit.
        torch.manual_seed(compute.seed_of("finetuning step", self.seed, step))
        examples = self._batch()
        task, language = self._gradients(examples)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), plan.clip))
        if not all(map(math.isfinite, (task, language, norm))):
            raise SelftaughtError(
                f"fine-tuning diverged at step {step + 1} ({self.out})",
                got=f"task loss {task}, language loss {language}, gradient norm {norm}",
                hint="Start again in another folder with a smaller --peak-rate.",
            )
        speed = rate(plan, step, self.steps)
        self.optimizer.step(speed)
        self._recent = task
        self.progress = replace(
            self.progress,
            step=step + 1,
            seconds=self.progress.seconds + time.monotonic() - started,
            losses=(*self.progress.losses, (task, language)),
        )
        if self.progress.step % plan.log_every == 0:
            self._log(speed, norm)

    def _gradients(self, examples: Sequence[Encoded]) -> tuple[float, float]:
        """Add up the gradients of a batch, part by part; mean task loss and mean language loss."""
        plan, count, rows = self.plan, len(examples), len(examples) * len(examples[0].rows)
        totals = [0.0, 0.0]
        for part in inputs.micro_batches(examples, plan.micro_batch_tokens):
            with autocast(self.machine):
                task, language = objective.losses(self.model, self._collated(part), language=plan.language_weight > 0)
                loss = task / count + plan.language_weight * language / rows
            loss.backward()  # type: ignore[no-untyped-call]
            totals[0] += float(task.detach()) / count
            totals[1] += float(language.detach()) / rows
        return totals[0], totals[1]

    def _collated(self, examples: Sequence[Encoded]) -> inputs.Batch:
        return inputs.collate(
            examples,
            padding=self.prepared.specials.extract,
            scored=self.prepared.head.scored,
            device=self.machine.device,
        )

    def _log(self, speed: float, norm: float) -> None:
        """Write a row about the steps since the last one."""
        losses = self.progress.losses
        row = LogRow(
            step=self.progress.step,
            epoch=self.progress.step / self.per_epoch,
            task_loss=sum(task for task, _ in losses) / len(losses),
            language_loss=sum(language for _, language in losses) / len(losses),
            rate=speed,
            gradient_norm=norm,
            seconds=self.progress.seconds,
        )
        storage.append_line(self.out / storage.LOG_FILE, msgspec.json.encode(row))
        self.progress = replace(self.progress, losses=())

    def _keep_log(self) -> None:
        """Drop rows of steps that are done again."""
        path = self.out / storage.LOG_FILE
        try:
            rows = storage.read_lines(path, LogRow) if path.is_file() else []
        except DamagedFileError:
            rows = []
        storage.write_jsonl(path, [row for row in rows if row.step <= self.progress.step])

    def _end_epoch(self) -> None:
        started = time.monotonic()
        (first, *_) = self._marks("dev", self.prepared.dev)
        self.progress = replace(
            self.progress,
            dev_by_epoch=(*self.progress.dev_by_epoch, first.value),
            seconds=self.progress.seconds + time.monotonic() - started,
        )
        if self.progress.best_epoch == len(self.progress.dev_by_epoch) - 1:
            saving.save(self._described(first.value), self.out / BEST)
        if self.progress.step < self.steps:
            self._save()

    def _described(self, dev: float | None) -> Finetuned:
        prepared = self.prepared
        return Finetuned(
            model=self.model,
            tokenizer=prepared.tokenizer,
            description=Description(
                task=prepared.task,
                name=prepared.model_name,
                network=self.plan.network,
                head=prepared.head,
                specials=prepared.specials,
                context=prepared.context,
                columns=prepared.columns,
                dev=dev,
            ),
        )

    def _save(self) -> None:
        """Write where the run stands."""
        saving.save(
            self._described(None),
            self.out / LAST,
            tensors={OPTIMIZER_FILE: self.optimizer.state()},
            documents={PROGRESS_FILE: self.progress},
        )

    def _finish(self) -> Result:
        started = time.monotonic()
        self.model = saving.load(self.out / BEST).model.to(self.machine.device)
        marks = [mark for split, examples in self._sets.items() for mark in self._marks(split, examples)]
        result = Result(
            plan=self.plan,
            seed=self.seed,
            best_epoch=self.progress.best_epoch + 1,
            dev_by_epoch=self.progress.dev_by_epoch,
            marks=tuple(marks),
            parameters=networks.parameters(self.model),
            steps=self.steps,
            seconds=self.progress.seconds + time.monotonic() - started,
            precision=self.machine.precision,
            notes=(*self.prepared.notes, *self._about_lstm),
            source=self.source,
        )
        storage.write_json(self.out / RESULT_FILE, result)
        shutil.rmtree(self.out / LAST, ignore_errors=True)
        return result

    @cached_property
    def _sets(self) -> dict[str, Sequence[Encoded]]:
        """Every set that is measured; of the training rows as many as dev has."""
        prepared = self.prepared
        return {"dev": prepared.dev, **prepared.others, "train": prepared.train[: len(prepared.dev)]}

    def _marks(self, split: str, examples: Sequence[Encoded]) -> list[Marked]:
        outputs_EL = run_all(self.model, examples, self._collated, self.plan.micro_batch_tokens, self.machine)
        self.model.train()
        if not outputs_EL.isfinite().all():
            raise SelftaughtError(
                f"the model's outputs on {split} are no numbers ({self.out})",
                hint="Start again in another folder with a smaller --peak-rate.",
            )
        chosen = predictions(outputs_EL, self.prepared.head).tolist()
        labels = [one.label for one in examples if one.label is not None]
        found = {name: MEASURES[name](chosen, labels) for name in self.prepared.measures}
        return [
            Marked(split=split, metric=name, value=mark.value, error=mark.error, n=mark.n)
            for name, mark in found.items()
        ]
