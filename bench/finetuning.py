"""Fine-tuning and classification without training: ours beside plain transformers loops, same weights, same rows.

    python bench/finetuning.py [--quick] [--json FILE]

Fine-tuning: examples a second of processor time of whole steps (forward, backward, clipping, AdamW), batches of 32, with the
language model's own loss beside the task's (GPT-1 paper, section 3.2) and without it, in the format that ours would choose on
this machine for both. The plain loop shuffles and pads each batch to its longest row, as such loops are written. Before anything
is timed, the losses of both are compared in float32 without dropout. Classification: texts a second, four labels by their
probability after a template; the plain loop reads each text once a label, and the labels chosen must be the same.
One thread; texts are sentences of what Python carries, of 5 to 40 words. GPT-2 small's shape is left out by --quick.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from selftaught import compute, storage
from selftaught.checkpoint import huggingface
from selftaught.checkpoint.loading import Loaded
from selftaught.evaluation.classification import classify
from selftaught.finetuning.fitting import Fitting
from selftaught.finetuning.inputs import Encoded
from selftaught.finetuning.plan import FinetuningPlan
from selftaught.finetuning.preparing import Prepared, prepare
from selftaught.inference.language_model import LanguageModel
from selftaught.model.initial import initialise
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tasks.own import OwnData, read_own
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.training.progress import Stop
from side_by_side import SideBySide

SHAPES = {
    "4 x 192, 4,096 ids": ModelShape(layers=4, heads=6, channels=192, context=256, vocabulary=4096),
    "GPT-2 small": ModelShape(layers=12, heads=12, channels=768, context=1024, vocabulary=50257),
}
STEPS = {"4 x 192, 4,096 ids": 12, "GPT-2 small": 2}
LABELS = ("a language", "a machine", "a number", "a file")
TOLERANCE = 1e-4


def sentences(most: int) -> list[str]:
    """Sentences of 5 to 40 words, in an order drawn by lot."""
    found = [" ".join(one.split()) for text in topics.values() for one in text.split(".")]
    kept = sorted({one for one in found if 5 <= len(one.split()) <= 40})
    random.Random(1).shuffle(kept)
    return kept[:most]


class Plain(nn.Module):
    """transformers' network with a linear layer on the last token, and its own head for the auxiliary loss."""

    def __init__(self, network: Any, outputs: nn.Linear) -> None:
        super().__init__()
        self.network, self.outputs = network, outputs

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, weight: float) -> torch.Tensor:
        """Mean loss of a batch."""
        hidden = self.network.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        last = hidden[torch.arange(len(ids)), mask.sum(1) - 1]
        loss = functional.cross_entropy(self.outputs(functional.dropout(last, 0.1, self.training)), labels)
        if weight:
            logits = self.network.lm_head(hidden[:, :-1]).flatten(0, 1)
            each = functional.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
            real = mask[:, 1:]
            loss = loss + weight * ((each * real).sum(1) / real.sum(1)).mean()
        return loss

    def loss(self, rows: Sequence[Encoded], weight: float) -> torch.Tensor:
        """Pad rows to the longest and run them."""
        ids = nn.utils.rnn.pad_sequence([torch.tensor(one.rows[0]) for one in rows], batch_first=True)
        lengths = torch.tensor([one.length for one in rows])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        loss: torch.Tensor = self(ids, mask, torch.tensor([one.label for one in rows]), weight)
        return loss


def fitting(plan: FinetuningPlan, prepared: Prepared, network: Transformer, folder: Path) -> Fitting:
    """One of our runs, ready for its steps."""
    return Fitting(plan, prepared, network, out=folder, seed=1, stop=Stop())


def their_steps(model: Plain, plan: FinetuningPlan, rows: Sequence[Encoded], precision: str) -> None:
    """An epoch as such loops are written."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.peak_rate, weight_decay=plan.weight_decay)
    order = torch.randperm(len(rows)).tolist()
    for start in range(0, len(rows), plan.batch_size):
        batch = [rows[number] for number in order[start : start + plan.batch_size]]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model.loss(batch, plan.language_weight)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        optimizer.step()


def as_theirs(transformers: ModuleType, ours: Fitting, tokenizer: Tokenizer, folder: Path) -> Plain:
    """The network of ours as one of transformers."""
    network, outputs = ours.model.network, ours.model.output
    if not isinstance(network, Transformer):
        raise TypeError("the benchmark is of Transformers")
    huggingface.save(network, tokenizer, folder)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder)
    own = nn.Linear(outputs.in_features, outputs.out_features)
    own.load_state_dict(outputs.state_dict())
    return Plain(theirs, own)


def compare_fitting(bench: SideBySide, transformers: ModuleType, name: str, loaded: Loaded, folder: Path) -> None:
    """Time an epoch with and without the auxiliary loss."""
    steps = STEPS[name]
    rows = [{"text": text, "label": len(text) % 2} for text in sentences(32 * steps + 2)]
    storage.write_jsonl(folder / "train.jsonl", rows[2:])
    storage.write_jsonl(folder / "dev.jsonl", rows[:2])
    task = read_own(OwnData(train=folder / "train.jsonl", dev=folder / "dev.jsonl"))
    for auxiliary in (True, False):
        plan = FinetuningPlan(auxiliary=auxiliary, epochs=1000, device="cpu")
        still = FinetuningPlan(auxiliary=auxiliary, dropout=0.0, classifier_dropout=0.0, precision="float32")
        place = folder / plan.variant
        prepared = prepare(task, loaded, plan)
        check = fitting(still, prepare(task, loaded, still), loaded.model, place / "check")
        theirs = as_theirs(transformers, check, loaded.tokenizer, place / "hf")
        task_loss, language_loss = check._gradients(prepared.train[:32])  # noqa: SLF001  # a step without its update
        expected = float(theirs.eval().loss(prepared.train[:32], plan.language_weight).detach())
        difference = abs(task_loss + plan.language_weight * language_loss - expected) / expected
        print(f"{name}, {plan.variant}: losses differ by {difference:.1e} of {expected:.3f}")
        if difference > TOLERANCE:
            raise SystemExit("more than rounding would explain")
        ours = fitting(plan, prepared, loaded.model, place / "ours")

        def our_epoch(run: Fitting = ours) -> None:
            for _ in range(steps):
                run._step()  # noqa: SLF001

        def their_epoch(
            model: Plain = theirs, plan: FinetuningPlan = plan, known: Prepared = prepared, run: Fitting = ours
        ) -> None:
            their_steps(model.train(), plan, known.train, run.machine.precision)

        bench.compare(
            f"{name}, fine-tuning{'' if auxiliary else ' without auxiliary loss'}",
            our_epoch,
            {"transformers": their_epoch},
            amount=len(prepared.train),
            unit="1/CPU-s",
        )


@torch.inference_mode()
def their_labels(model: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Each text once a label; the label with the highest log-probability."""
    found = []
    for text in texts:
        context = tokenizer.encode(f"{text}\nThis text is about")
        ends = [tokenizer.encode(f" {label}.") for label in LABELS]
        padded = nn.utils.rnn.pad_sequence([torch.tensor(context + end) for end in ends], batch_first=True)
        log_probs = torch.log_softmax(model(padded, use_cache=False).logits.float(), -1)
        sums = [
            float(log_probs[row, range(len(context) - 1, len(context) - 1 + len(end)), end].sum())
            for row, end in enumerate(ends)
        ]
        found.append(LABELS[max(range(len(ends)), key=sums.__getitem__)])
    return found


def compare_labels(bench: SideBySide, transformers: ModuleType, name: str, loaded: Loaded, folder: Path) -> None:
    """Time labels without training."""
    texts = sentences(64 if name != "GPT-2 small" else 8)
    huggingface.save(loaded.model, loaded.tokenizer, folder / "lm")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder / "lm").eval()
    lm = LanguageModel(loaded.model, loaded.tokenizer)

    def ours() -> list[str | None]:
        return [one.label for one in classify(lm, texts, LABELS)]

    same = sum(a == b for a, b in zip(ours(), their_labels(theirs, loaded.tokenizer, texts), strict=True))
    print(f"{name}: {same} of {len(texts)} labels are the same")
    if same < len(texts):
        raise SystemExit("labels differ")
    bench.compare(
        f"{name}, classification",
        ours,
        {"transformers": lambda: their_labels(theirs, loaded.tokenizer, texts)},
        amount=len(texts),
        unit="1/CPU-s",
    )


def main() -> None:
    """Compare and show."""
    bench = SideBySide("finetuning")
    torch.set_num_threads(1)
    transformers = bench.peer("transformers")
    if transformers is None:
        return
    tokenizer = learn_tokenizer(topics.values(), vocabulary_size=4096)
    for name, shape in SHAPES.items():
        if bench.quick and name == "GPT-2 small":
            continue
        network = Transformer(shape)
        initialise(network, compute.generator("bench"))
        loaded = Loaded(model=network.eval(), tokenizer=tokenizer, name=name)
        with tempfile.TemporaryDirectory() as folder:
            compare_fitting(bench, transformers, name, loaded, Path(folder))
            compare_labels(bench, transformers, name, loaded, Path(folder))
    bench.finish()


if __name__ == "__main__":
    main()
