"""How a model is asked and marked: whole texts, last words, choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from selftaught.inference.language_model import LanguageModel
from selftaught.tasks import marking
from selftaught.tasks.examples import Choice, Passage, Text

Advance: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class TextAnswer:
    """The loss on one text."""

    id: str
    nats: float
    units: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class PassageAnswer:
    """One last word."""

    id: str
    context_end: str
    word: str
    nats: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class ChoiceAnswer:
    """One choice: the log-probability of each candidate, in nats."""

    id: str
    candidates: tuple[str, ...]
    log_probs: tuple[float, ...]
    answer: int
    chosen: int
    right: bool


Answer: TypeAlias = TextAnswer | PassageAnswer | ChoiceAnswer


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number of a task."""

    metric: str
    mark: marking.Mark
    protocol: str


def texts(model: LanguageModel, asked: Sequence[Text], *, stride: int, advance: Advance) -> list[TextAnswer]:
    """Score whole texts."""
    scored = model.document_log_probs([one.text for one in asked], stride=stride or None, advance=advance)
    return [
        TextAnswer(id=text.id, nats=-one.total, units=text.units, tokens=len(one.by_token))
        for text, one in zip(asked, scored, strict=True)
    ]


def last_words(model: LanguageModel, asked: Sequence[Passage], *, advance: Advance) -> list[PassageAnswer]:
    """Ask for the last words of passages; right means that every token of the word is the model's first choice."""
    scored = model.log_probs([(passage.context, passage.word) for passage in asked], advance)
    return [
        PassageAnswer(
            id=passage.id,
            context_end=passage.context[-80:],
            word=passage.word.strip(),
            nats=-one.total,
            right=all(one.greedy),
        )
        for passage, one in zip(asked, scored, strict=True)
    ]


def choices(model: LanguageModel, asked: Sequence[Choice], *, advance: Advance) -> list[ChoiceAnswer]:
    """Ask for the most probable candidate: the highest sum of log-probabilities, not divided by length; the first of equals."""
    pairs = [pair for question in asked for pair in _pairs(model, question)]
    totals = iter([one.total for one in model.log_probs(pairs, advance)])
    answers = []
    for question in asked:
        log_probs = tuple(next(totals) for _ in question.candidates)
        chosen = max(range(len(log_probs)), key=log_probs.__getitem__)
        answers.append(
            ChoiceAnswer(
                id=question.id,
                candidates=question.candidates,
                log_probs=log_probs,
                answer=question.answer,
                chosen=chosen,
                right=chosen == question.answer,
            )
        )
    return answers


def _pairs(model: LanguageModel, question: Choice) -> list[tuple[str, str]]:
    contexts = question.contexts
    if len(set(contexts)) == 1:
        contexts = (model.trimmed(contexts[0], question.continuations),) * len(contexts)
    return list(zip(contexts, question.continuations, strict=True))


def mark_last_words(answers: Sequence[PassageAnswer], protocol: str) -> list[Measured]:
    """Accuracy, and perplexity of a word."""
    nats = marking.ratio([one.nats for one in answers], [1] * len(answers))
    return [
        Measured(metric="accuracy", mark=marking.accuracy([one.right for one in answers]), protocol=protocol),
        Measured(metric="perplexity", mark=marking.perplexity(nats), protocol=protocol),
    ]


def mark_choices(answers: Sequence[ChoiceAnswer], protocol: str, metric: str = "accuracy") -> list[Measured]:
    """Accuracy."""
    return [Measured(metric=metric, mark=marking.accuracy([one.right for one in answers]), protocol=protocol)]
