"""Fine-tuned models in use: labels, scores and choices for new examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from selftaught import compute
from selftaught.errors import InputError, UsageError
from selftaught.finetuning import inputs, saving
from selftaught.finetuning.heads import predictions, run_all
from selftaught.finetuning.inputs import Encoded, Encoder
from selftaught.finetuning.saving import Finetuned
from selftaught.tasks.labelled import Labelled

_TOKENS_AT_A_TIME = 16384
_EXAMPLES_AT_A_TIME = 4096
"""So that a pipe is answered while it still runs, and memory is bounded."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a fine-tuned model says of one example."""

    id: str
    label: str | float
    """The class, the answer's text, or the score."""
    probabilities: tuple[float, ...] = ()
    """Of the classes or the answers, in order; empty for scores."""
    truncated: int = 0
    """Tokens that did not fit."""


class FinetunedModel:
    """A fine-tuned network with its tokenizer. Make one with `FinetunedModel.load`."""

    def __init__(self, found: Finetuned, machine: compute.Machine) -> None:
        self.description, self.machine = found.description, machine
        self.model = found.model.to(machine.device).eval()
        about = found.description
        self._encoder = Encoder(found.tokenizer, about.head.kind, about.specials, about.context)

    @classmethod
    def load(
        cls, path: str | Path, *, device: compute.DeviceName = "auto", precision: compute.PrecisionName = "float32"
    ) -> FinetunedModel:
        """Read a fine-tuned model, or the best one of a run of `selftaught finetune`."""
        return cls(saving.load(saving.find(Path(path))), compute.machine(device, precision))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty for scores and choices."""
        return self.description.head.labels

    def predict(self, examples: Sequence[Labelled | str]) -> list[Prediction]:
        """Predictions for examples, in their order; a text alone is an example of a classification.

        Raises InputError for an example without what the task needs.
        """
        return list(self.stream(iter(examples)))

    def stream(self, examples: Iterator[Labelled | str]) -> Iterator[Prediction]:
        """The same for many examples, some thousands at a time."""
        done = 0
        while chunk := list(islice(examples, _EXAMPLES_AT_A_TIME)):
            whole = [self._whole(example, done + place) for place, example in enumerate(chunk)]
            encoded = [self._encoder.encode(example) for example in whole]
            outputs = self._outputs(encoded)
            for example, ids, prediction in zip(whole, encoded, outputs, strict=True):
                yield self._said(example, ids, prediction)
            done += len(chunk)

    def _whole(self, example: Labelled | str, number: int) -> Labelled:
        kind = self.description.head.kind
        if isinstance(example, str):
            if kind != "classification":
                raise UsageError(f"a text alone is no example of {kind}", expected="Labelled(first=..., second=...)")
            example = Labelled(id=str(number + 1), first=example)
        if kind in ("entailment", "similarity") and not example.second.strip():
            raise InputError(f"example {example.id} has no second text")
        if kind == "choice" and len(example.options) < 2:
            raise InputError(f"example {example.id} has no answers to choose among", expected="at least two")
        if not example.first.strip():
            raise InputError(f"example {example.id} has no text")
        return example

    def _outputs(self, encoded: Sequence[Encoded]) -> list[torch.Tensor]:
        """Outputs of each example; questions with equally many answers are computed together."""
        found: dict[int, torch.Tensor] = {}
        for count in {len(one.rows) for one in encoded}:
            places = [place for place, one in enumerate(encoded) if len(one.rows) == count]
            part = [encoded[place] for place in places]
            outputs_EL = run_all(self.model, part, self._collated, _TOKENS_AT_A_TIME, self.machine)
            found |= dict(zip(places, outputs_EL, strict=True))
        return [found[place] for place in range(len(encoded))]

    def _collated(self, examples: Sequence[Encoded]) -> inputs.Batch:
        padding = self.description.specials.extract
        return inputs.collate(examples, padding=padding, device=self.machine.device)

    def _said(self, example: Labelled, encoded: Encoded, outputs_L: torch.Tensor) -> Prediction:
        head = self.description.head
        chosen = predictions(outputs_L[None], head)[0].item()
        if head.scored:
            return Prediction(id=example.id, label=round(chosen, 6), truncated=encoded.dropped)
        names = example.options if head.kind == "choice" else head.labels
        return Prediction(
            id=example.id,
            label=names[int(chosen)],
            probabilities=tuple(outputs_L.softmax(0).tolist()),
            truncated=encoded.dropped,
        )
