"""How a model is asked and marked: whole texts, last words, choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from selftaught.errors import InputError
from selftaught.evaluation.answers import (
    ChoiceAnswer,
    PassageAnswer,
    QuizAnswer,
    StretchAnswer,
    TextAnswer,
    TranslationAnswer,
)
from selftaught.inference import prompting
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.windows import Windows
from selftaught.report.records import Score
from selftaught.tasks import marking
from selftaught.tasks.examples import Choice, Passage, Text

Advance: TypeAlias = Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What is reached without a model."""

    what: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number of a task."""

    metric: str
    mark: marking.Mark
    protocol: str
    baseline: Baseline | None = None

    def score(self, *, model: str, parameters: int, task: str, seconds: float) -> Score:
        """The same as a result that is kept."""
        return Score(
            model=model,
            parameters=parameters,
            task=task,
            protocol=self.protocol,
            metric=self.metric,
            value=self.mark.value,
            error=self.mark.error,
            n=self.mark.n,
            seconds=seconds,
            baseline=self.baseline.value if self.baseline else None,
            baseline_words=self.baseline.what if self.baseline else "",
        )


def require_numbers(values: Sequence[float], what: str) -> None:
    """Raise InputError if what a model says of `what` holds anything but numbers."""
    if not all(map(math.isfinite, values)):
        raise InputError(
            "the model gives no numbers",
            got=f"{', '.join(map(str, values))} for {what}",
            hint="Look at its training run: the loss may have diverged.",
        )


def texts(
    model: LanguageModel, asked: Sequence[Text], *, stride: int, advance: Advance, filled: bool = False
) -> list[TextAnswer]:
    """Score whole texts."""
    scored = model.document_log_probs(
        [one.text for one in asked], stride=stride or None, filled=filled, advance=advance
    )
    return [
        TextAnswer(id=text.id, nats=-one.total, units=text.units, tokens=len(one.by_token))
        for text, one in zip(asked, scored, strict=True)
    ]


def stretches(model: LanguageModel, read: Windows, parts: Sequence[tuple[str, range]]) -> list[StretchAnswer]:
    """Score parts of one long text, each given by its name and its windows."""
    scored = model.window_log_probs(read, [windows for _, windows in parts])
    return [
        StretchAnswer(id=name, nats=-one.total, tokens=len(one.by_token))
        for (name, _), one in zip(parts, scored, strict=True)
    ]


def last_words(
    model: LanguageModel, asked: Sequence[Passage], *, advance: Advance, barred: Sequence[str] = ()
) -> list[PassageAnswer]:
    """Ask for the last words of passages; `barred` words may not be predicted."""
    scored = model.log_probs([(passage.context, passage.word) for passage in asked], advance, barred=barred)
    return [
        PassageAnswer(
            id=passage.id,
            context_end=passage.context[-80:],
            word=passage.word.strip(),
            nats=-one.total,
            right=all(one.greedy),
            right_filtered=all(one.allowed),
            right_last_token=one.greedy[-1],
            cut=not prompting.fits(model, passage.context, passage.word),
        )
        for passage, one in zip(asked, scored, strict=True)
    ]


def choices(
    model: LanguageModel, asked: Sequence[Choice], *, advance: Advance, mean: bool = False
) -> list[ChoiceAnswer]:
    """Ask for the most probable candidate: the highest sum of log-probabilities, or `mean` of a token; the first of equals."""
    pairs = [pair for question in asked for pair in _pairs(model, question)]
    scored = model.log_probs(pairs, advance)
    totals = iter([one.total / max(1, len(one.by_token)) if mean else one.total for one in scored])
    answers = []
    for question in asked:
        log_probs = tuple(next(totals) for _ in question.candidates)
        chosen = max(range(len(log_probs)), key=log_probs.__getitem__)
        answers.append(
            ChoiceAnswer(
                id=question.id,
                context_end=question.contexts[0][-80:],
                candidates=question.candidates,
                log_probs=log_probs,
                answer=question.answer,
                chosen=chosen,
                right=chosen == question.answer,
                cut=not all(
                    prompting.fits(model, *pair) for pair in zip(question.contexts, question.continuations, strict=True)
                ),
            )
        )
    return answers


def _pairs(model: LanguageModel, question: Choice) -> list[tuple[str, str]]:
    contexts = question.contexts
    if len(set(contexts)) == 1:
        contexts = (model.trimmed(contexts[0], question.continuations),) * len(contexts)
    return list(zip(contexts, question.continuations, strict=True))


def left_out(answers: Sequence[PassageAnswer | ChoiceAnswer | QuizAnswer | TranslationAnswer]) -> str:
    """Of how many questions the beginning was left out, in words with a separator before them; nothing where it was of none."""
    count = sum(one.cut for one in answers)
    return f"; of {count:,} longer than the context the beginning left out" if count else ""


def mark_long_text(answers: Sequence[StretchAnswer], units: int) -> marking.Mark:
    """Nats per unit."""
    return marking.per_unit([one.nats for one in answers], [one.tokens for one in answers], units)


def mark_texts(answers: Sequence[TextAnswer]) -> marking.Mark:
    """Nats per unit."""
    return marking.ratio([one.nats for one in answers], [one.units for one in answers])


def mark_last_words(answers: Sequence[PassageAnswer], protocol: str) -> list[Measured]:
    """Accuracy, and perplexity of a word."""
    nats = marking.ratio([one.nats for one in answers], [1] * len(answers))
    protocol += left_out(answers)
    return [
        Measured(
            metric="accuracy",
            mark=marking.accuracy([one.right for one in answers]),
            protocol=f"{protocol}; every token of the word first choice",
        ),
        Measured(metric="perplexity", mark=marking.perplexity(nats), protocol=f"{protocol}; of the whole word"),
    ]


def mark_choices(answers: Sequence[ChoiceAnswer], protocol: str, metric: str = "accuracy") -> list[Measured]:
    """Accuracy."""
    mark = marking.accuracy([one.right for one in answers])
    return [Measured(metric=metric, mark=mark, protocol=protocol + left_out(answers))]
