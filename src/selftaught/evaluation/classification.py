"""Classification without training: labels are words, and the model that learned to predict text says which fits a text best.

What does not depend on how labels are scored is here: empty texts, calibration, numbers that are none, and marking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from selftaught.evaluation.labelling import Advance, EntailmentModel, Scored, scorer
from selftaught.evaluation.measuring import Baseline, Measured, require_numbers
from selftaught.evaluation.templates import ClassifySettings, as_labels
from selftaught.inference.language_model import LanguageModel
from selftaught.tasks.confusion import Confusion, confusion

ROWS = 256
"""Texts that are scored together and held in memory."""


@dataclass(frozen=True, kw_only=True)
class Classified:
    """What was made of one text."""

    text: str
    label: str | None
    """The label with the highest score, the first of equals; None for an empty text, which is not scored."""
    scores: dict[str, float]
    """Of each label: the higher, the better it fits."""
    probabilities: dict[str, float]
    """The same as shares of one, where scores are logarithms."""
    cut: bool = False
    """Whether the text was longer than the context, so that only a part of it was read."""


def classify(
    model: LanguageModel | EntailmentModel | str | Path,
    texts: Sequence[str],
    labels: Sequence[str] | Mapping[str, str],
    *,
    settings: ClassifySettings | None = None,
) -> list[Classified]:
    """Say which label fits each text best, with no training: by what the model predicts.

    Labels are words, or names with the words that stand for them. For entailment the model is one fine-tuned on it,
    such as `finetuning.predicting.FinetunedModel.load(folder)`. Neither order nor company of texts changes a score by more than
    rounding. Raises UsageError for labels or a template that cannot be used, InputError where the model gives no numbers.
    """
    return list(Classifier(model, labels, settings=settings).classify(texts))


class Classifier:
    """A model, labels, and the choices that a classification depends on."""

    def __init__(
        self,
        model: LanguageModel | EntailmentModel | str | Path,
        labels: Sequence[str] | Mapping[str, str],
        *,
        settings: ClassifySettings | None = None,
    ) -> None:
        self.settings = settings or ClassifySettings()
        self.labels = as_labels(labels)
        if isinstance(model, str | Path):
            model = LanguageModel.load(model, device=self.settings.device, precision=self.settings.precision)
        self._precision = model.precision if isinstance(model, LanguageModel) else self.settings.precision
        self._scorer = scorer(model, self.labels, self.settings)
        self._free = self._content_free() if self.settings.calibrate else (0.0,) * len(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names."""
        return tuple(label.name for label in self.labels)

    @property
    def words(self) -> str:
        """Every choice that the result depends on, in words."""
        labels = ", ".join(f"{one.name}={one.words}" if one.name != one.words else one.name for one in self.labels)
        products = "" if self._precision == "float32" else f"; products in {self._precision}"
        return f"{self.settings.words}; labels {labels}{products}"

    def classify(
        self, texts: Iterable[str], *, rows: int = ROWS, advance: Advance = lambda _: None
    ) -> Iterator[Classified]:
        """Classify texts in order, `rows` of them at a time; `advance(n)` is called when n more are done."""
        waiting = iter(texts)
        while some := list(islice(waiting, rows)):
            bare = [text.strip() for text in some]
            asked = [text for text in bare if text]
            advance(len(bare) - len(asked))
            scored = iter(self._scorer.score(asked, advance))
            for text, shown in zip(bare, some, strict=True):
                yield self._chosen(shown, next(scored)) if text else _unscored(shown)

    def _chosen(self, text: str, scored: Scored) -> Classified:
        scores = [score - free for score, free in zip(scored.scores, self._free, strict=True)]
        require_numbers(scores, repr(text[:60]))
        best = max(range(len(scores)), key=scores.__getitem__)
        shares = _shares(scores) if self._scorer.logarithms else []
        return Classified(
            text=text,
            label=self.names[best],
            scores=dict(zip(self.names, scores, strict=True)),
            probabilities=dict(zip(self.names, shares, strict=bool(shares))),
            cut=scored.cut,
        )

    def _content_free(self) -> tuple[float, ...]:
        """What each label scores where there is nothing to say: the logarithm of its mean probability, or its mean score."""
        rows = [one.scores for one in self._scorer.score(self.settings.silent, lambda _: None)]
        for row in rows:
            require_numbers(row, "a text without content")
        if self._scorer.logarithms:
            return tuple(math.log(sum(column) / len(rows)) for column in zip(*map(_shares, rows), strict=True))
        return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))


def mark(names: Sequence[str], pairs: Sequence[tuple[str, str]], words: str) -> list[Measured]:
    """Accuracy and macro-F1 of pairs of the right label and the chosen one, beside those of always choosing the most frequent.

    `words` say how the choices came about.
    """
    if not pairs:
        return []
    found = confusion(names, pairs)
    most, _ = found.majority()
    always = confusion(names, [(right, most) for right, _ in pairs])
    return [
        Measured(
            metric=metric,
            mark=number(found),
            protocol=words,
            baseline=Baseline(what=f"always {most}", value=number(always).value),
        )
        for metric, number in (("accuracy", Confusion.accuracy), ("f1_macro", Confusion.macro_f1))
    ]


def _unscored(text: str) -> Classified:
    return Classified(text=text, label=None, scores={}, probabilities={})


def _shares(scores: Sequence[float]) -> list[float]:
    most = max(scores)
    powers = [math.exp(score - most) for score in scores]
    return [power / sum(powers) for power in powers]
