"""What all runs on a task share: its examples as ids, its output layer, its measures."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from selftaught import compute, console
from selftaught.checkpoint.loading import Loaded
from selftaught.finetuning import inputs
from selftaught.finetuning.heads import HeadShape, head_shape
from selftaught.finetuning.inputs import Encoded, Encoder, Specials
from selftaught.finetuning.plan import FinetuningPlan
from selftaught.tasks.labelled import Columns, Labelled, Task
from selftaught.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A task as a network sees it."""

    task: str
    model_name: str
    tokenizer: Tokenizer
    specials: Specials
    context: int
    head: HeadShape
    measures: tuple[str, ...]
    columns: Columns
    train: Sequence[Encoded]
    dev: Sequence[Encoded]
    others: Mapping[str, Sequence[Encoded]]
    notes: tuple[str, ...]
    """What was left out or cut, in words."""


def prepare(task: Task, loaded: Loaded, plan: FinetuningPlan) -> Prepared:
    """Encode the examples of a task for a pre-trained model."""
    shape = loaded.model.shape
    context = min(plan.context or shape.context, shape.context)
    specials = Specials.after(shape.vocabulary)
    encoder = Encoder(loaded.tokenizer, task.kind, specials, context)
    drawn = {
        "train": some(task.splits.train, plan.train_rows, task.name),
        "dev": some(task.splits.dev, plan.dev_rows, task.name),
    }
    drawn |= {name: some(rows, plan.dev_rows, task.name) for name, rows in task.splits.others.items()}
    encoded = {}
    with console.progress(f"encoding {task.name}", sum(map(len, drawn.values())), unit="examples") as bar:
        for name, rows in drawn.items():
            encoded[name] = inputs.encode_all(encoder, rows, f"{task.name} {name}")
            bar.advance(len(rows))
    cut = [inputs.truncation_note(rows, name) for name, rows in encoded.items()]
    notes = (*task.splits.notes, *_subset_notes(task, drawn), *filter(None, cut))
    for note in notes:
        console.line(f"{task.name}: {note}")
    return Prepared(
        task=task.name,
        model_name=loaded.name,
        tokenizer=loaded.tokenizer,
        specials=specials,
        context=context,
        head=head_shape(task.kind, task.labels, soft=plan.scores == "soft-classes", dropout=plan.classifier_dropout),
        measures=task.measures,
        columns=task.columns,
        train=encoded.pop("train"),
        dev=encoded.pop("dev"),
        others=encoded,
        notes=notes,
    )


def source(task: Task, loaded: Loaded) -> str:
    """What results depend on beside the plan, as a hash: pre-trained weights, tokenizer, examples."""
    found = hashlib.blake2b(loaded.tokenizer.fingerprint.encode(), digest_size=16)
    for name, rows in {"train": task.splits.train, "dev": task.splits.dev, **task.splits.others}.items():
        found.update(repr((name, [(row.first, row.second, row.options, row.label) for row in rows])).encode())
    for name, weight in loaded.model.state_dict().items():
        found.update(name.encode())
        found.update(weight.cpu().contiguous().view(torch.uint8).numpy())
    return found.hexdigest()


def some(examples: Sequence[Labelled], count: int, name: str) -> list[Labelled]:
    """So many examples, drawn by lot, the same ones each time, in their order; all if `count` is 0."""
    if not count or count >= len(examples):
        return list(examples)
    chosen = random.Random(compute.seed_of("rows", name, len(examples))).sample(range(len(examples)), count)
    return [examples[place] for place in sorted(chosen)]


def _subset_notes(task: Task, drawn: Mapping[str, Sequence[Labelled]]) -> list[str]:
    whole = {"train": task.splits.train, "dev": task.splits.dev, **task.splits.others}
    return [
        f"{name}: {len(rows):,} of {len(whole[name]):,} examples"
        for name, rows in drawn.items()
        if len(rows) < len(whole[name])
    ]
