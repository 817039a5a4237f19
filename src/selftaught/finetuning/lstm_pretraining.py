"""Pre-training of the LSTM, so that it goes through the same framework as the Transformer (GPT-1 paper, section 5)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from selftaught import compute, console, storage
from selftaught.checkpoint import native
from selftaught.checkpoint.loading import Loaded
from selftaught.errors import DamagedFileError, MismatchError, SelftaughtError
from selftaught.finetuning import lstm
from selftaught.finetuning.lstm import Lstm, LstmShape
from selftaught.finetuning.objective import weighted_loss
from selftaught.finetuning.optimizer import Optimizer, rate
from selftaught.finetuning.plan import FinetuningPlan
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.batches import Batches
from selftaught.tokens.shards import open_shards
from selftaught.training.progress import Stop, StopRequested

_OPTIMIZER_FILE, _PROGRESS_FILE = "optimizer.safetensors", "pretraining.json"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the pre-training stands."""

    steps: int
    rate: float
    batch_size: int
    seed: int
    step: int = 0
    loss: float = 0.0
    """Of the last step, nats per token."""
    seconds: float = 0.0


def pretrain_lstm(plan: FinetuningPlan, loaded: Loaded, *, tokens: Path, out: Path) -> Lstm:
    """An LSTM pre-trained on token shards of the model's tokenizer, kept in `out` and continued there if it was interrupted.

    Raises MismatchError for shards of another tokenizer, or where `out` has an LSTM that was trained otherwise.
    """
    shards = open_shards(tokens, "train")
    if shards.fingerprint != loaded.tokenizer.fingerprint:
        raise MismatchError(f"the token shards in {tokens} were made with another tokenizer", expected="the model's")
    model, optimizer, progress = _begin(plan, loaded, out)
    batches = Batches(shards, seed=plan.seed, batch_size=plan.lstm_batch_size, context=model.shape.context)
    model.train()
    saved = time.monotonic()
    with Stop() as stop, console.progress("LSTM", plan.lstm_steps, unit="steps", done=progress.step) as bar:
        try:
            while progress.step < plan.lstm_steps:
                stop.check()
                progress = _step(model, optimizer, batches, progress, plan)
                bar.advance(1, f"loss {progress.loss:.3f}")
                done = progress.step == plan.lstm_steps
                if done or time.monotonic() - saved > plan.checkpoint_seconds:
                    _save(model, loaded.tokenizer, optimizer, progress, out)
                    saved = time.monotonic()
        except StopRequested as request:
            _save(model, loaded.tokenizer, optimizer, progress, out)
            raise request.ending() from None
    return model.eval()


def _begin(plan: FinetuningPlan, loaded: Loaded, out: Path) -> tuple[Lstm, Optimizer, Progress]:
    wanted = Progress(steps=plan.lstm_steps, rate=plan.lstm_rate, batch_size=plan.lstm_batch_size, seed=plan.seed)
    old = loaded.model.shape
    shape = LstmShape(
        units=plan.lstm_units,
        channels=old.channels,
        context=old.context,
        vocabulary=old.vocabulary,
        input_scale=lstm.UNIT_INPUT,
    )
    model = Lstm(shape)
    lstm.initialise(model, compute.generator("lstm weights", plan.seed))
    begun = _kept(out, wanted, shape)
    if begun:
        model.load_state_dict(native.read_tensors(out / native.WEIGHTS_FILE))
    optimizer = Optimizer(model, plan)
    if begun:
        optimizer.restore(native.read_tensors(out / _OPTIMIZER_FILE))
    return model, optimizer, begun or wanted


def _kept(out: Path, wanted: Progress, shape: LstmShape) -> Progress | None:
    """Where an earlier start left it; None if there is nothing whole."""
    if not out.is_dir():
        return None
    try:
        native.verify(out)
    except DamagedFileError as problem:
        console.warn(f"{problem.line()}; begun anew")
        return None
    found = storage.read_json(out / _PROGRESS_FILE, Progress)
    same = (found.steps, found.rate, found.batch_size, found.seed) == (
        *(wanted.steps, wanted.rate, wanted.batch_size, wanted.seed),
    )
    if not same or storage.read_json(out / native.SHAPE_FILE, LstmShape) != shape:
        raise MismatchError(f"the LSTM in {out} was pre-trained otherwise", hint="Choose another --out.")
    return found


def _step(model: Lstm, optimizer: Optimizer, batches: Batches, progress: Progress, plan: FinetuningPlan) -> Progress:
    started = time.monotonic()
    ids_BT, targets_BT = batches.rows(progress.step, 0, plan.lstm_batch_size)
    targets_N = targets_BT.flatten()
    weights_N = torch.full((len(targets_N),), 1 / len(targets_N))
    loss = weighted_loss(model(ids_BT).flatten(0, 1), model.head_weight, targets_N, weights_N)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip))
    value = float(loss.detach())
    if not math.isfinite(value) or not math.isfinite(norm):
        raise SelftaughtError(
            f"pre-training the LSTM diverged at step {progress.step + 1}",
            got=f"loss {value}",
            hint="A smaller --lstm-rate.",
        )
    optimizer.step(plan.lstm_rate / plan.peak_rate * rate(plan, progress.step, plan.lstm_steps))
    return Progress(
        steps=progress.steps,
        rate=progress.rate,
        batch_size=progress.batch_size,
        seed=progress.seed,
        step=progress.step + 1,
        loss=value,
        seconds=progress.seconds + time.monotonic() - started,
    )


def _save(model: Lstm, tokenizer: Tokenizer, optimizer: Optimizer, progress: Progress, out: Path) -> None:
    native.save(
        cast("Transformer", model),  # as in `saving`
        tokenizer,
        out,
        tensors={_OPTIMIZER_FILE: optimizer.state()},
        documents={_PROGRESS_FILE: progress},
    )
