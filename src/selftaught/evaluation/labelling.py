"""Ways to say how well a label fits a text that a model was never taught to label: each gives every label a number."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from selftaught.errors import UsageError
from selftaught.evaluation.templates import ClassifySettings, Label
from selftaught.inference import fitting, representations
from selftaught.inference.joining import LogProb
from selftaught.inference.language_model import LanguageModel
from selftaught.tasks.labelled import Labelled

Advance: TypeAlias = Callable[[float], None]
ENTAILMENT = "entailment"
"""Name of the class of pairs whose first text says that the second is true."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The numbers of one text."""

    scores: tuple[float, ...]
    """Of each label."""
    cut: bool = False


class Scorer(Protocol):
    """A way to say how well labels fit texts."""

    logarithms: bool
    """Whether its scores are logarithms, so that those of a text make probabilities."""

    def score(self, texts: Sequence[str], advance: Advance) -> list[Scored]:
        """Score texts; `advance(n)` is called when n more of them are done."""


class ByProbability:
    """The log-probability of label and rest of the template, given all before. What labels share is computed once."""

    logarithms = True

    def __init__(self, model: LanguageModel, labels: Sequence[Label], settings: ClassifySettings) -> None:
        self._model, self._settings = model, settings
        self._template = settings.parts
        self._continuations = [label.words + self._template.after for label in labels]

    def score(self, texts: Sequence[str], advance: Advance) -> list[Scored]:
        """Score texts."""
        parts = [(self._template.before, text, self._template.between) for text in texts]
        kept = [fitting.fit(self._model, one, self._continuations, keep=self._settings.keep) for one in parts]
        prompts = [f"{before}{text}{between}" for (before, _, between), text in zip(parts, kept, strict=True)]
        pairs = [(prompt, label) for prompt in prompts for label in self._continuations]
        count = len(self._continuations)
        found = iter(self._model.log_probs(pairs, lambda done: advance(done / count)))
        scores = [tuple(self._normalised(next(found), one) for one in self._continuations) for _ in texts]
        return [Scored(scores=values, cut=read != text) for values, read, text in zip(scores, kept, texts, strict=True)]

    def _normalised(self, found: LogProb, continuation: str) -> float:
        lengths = {"none": 1, "tokens": len(found.by_token), "bytes": len(continuation.encode("utf-8", "replace"))}
        return found.total / lengths[self._settings.normalise]


class BySimilarity:
    """The cosine of the angle between a text and a label, both read alone: of the means of the network's last states."""

    logarithms = False

    def __init__(self, model: LanguageModel, labels: Sequence[Label], settings: ClassifySettings) -> None:
        self._model, self._settings = model, settings
        phrases = [settings.parts.phrase(label.words) for label in labels]
        self._labels_MC = representations.represent(model, phrases).vectors

    def score(self, texts: Sequence[str], advance: Advance) -> list[Scored]:
        """Score texts."""
        found = representations.represent(self._model, texts, keep=self._settings.keep, advance=advance)
        cosines_NM = representations.cosines(found.vectors, self._labels_MC)
        return [Scored(scores=tuple(row), cut=cut) for row, cut in zip(cosines_NM.tolist(), found.cut, strict=True)]


class Judgement(Protocol):
    """What a fine-tuned model says of one example."""

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Of its classes, in order."""

    @property
    def truncated(self) -> int:
        """Tokens that did not fit."""


class EntailmentModel(Protocol):
    """A model fine-tuned to say whether one text entails another, such as `finetuning.predicting.FinetunedModel`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Its classes; one of them is `entailment`."""

    def predict(self, examples: Sequence[Labelled]) -> Sequence[Judgement]:
        """Judge pairs of texts, in order."""


class ByEntailment:
    """The log-probability that a text entails the label's phrase (Yin et al. 2019)."""

    logarithms = True

    def __init__(self, model: EntailmentModel, labels: Sequence[Label], settings: ClassifySettings) -> None:
        if ENTAILMENT not in model.labels:
            raise UsageError(
                "this model was not fine-tuned on entailment",
                expected=f"a class {ENTAILMENT}",
                got=", ".join(model.labels) or "no classes",
                hint="Type: selftaught finetune MODEL mnli --data DATA --out DIR",
            )
        self._model, self._place = model, model.labels.index(ENTAILMENT)
        self._phrases = [settings.parts.phrase(label.words) for label in labels]

    def score(self, texts: Sequence[str], advance: Advance) -> list[Scored]:
        """Score texts."""
        pairs = [Labelled(id=text[:60], first=text, second=phrase) for text in texts for phrase in self._phrases]
        judged = iter(self._model.predict(pairs))
        found = []
        for _ in texts:
            ours = [next(judged) for _ in self._phrases]
            scores = [math.log(max(one.probabilities[self._place], sys.float_info.min)) for one in ours]
            found.append(Scored(scores=tuple(scores), cut=any(one.truncated for one in ours)))
        advance(len(texts))
        return found


def scorer(model: LanguageModel | EntailmentModel, labels: Sequence[Label], settings: ClassifySettings) -> Scorer:
    """The way to score that the settings ask for. Raises UsageError for a model that cannot do so."""
    if settings.method == "entailment":
        if isinstance(model, LanguageModel):
            raise UsageError("entailment needs a model that was fine-tuned on it", got=f"{model.name}, which was not")
        return ByEntailment(model, labels, settings)
    if not isinstance(model, LanguageModel):
        raise UsageError(f"{settings.method} needs a language model", got="a fine-tuned one")
    return (ByProbability if settings.method == "probability" else BySimilarity)(model, labels, settings)
