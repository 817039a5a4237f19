"""How a model is asked and marked: whole texts, last words, choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from selftaught.errors import InputError
from selftaught.inference import prompting
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.windows import Windows
from selftaught.tasks import marking
from selftaught.tasks.examples import Choice, Passage, Text

Advance: TypeAlias = Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class TextAnswer:
    """The loss on one text."""

    id: str
    nats: float
    units: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class StretchAnswer:
    """The loss on a part of a long text."""

    id: str
    """Name of the text and number of its first token."""
    nats: float
    tokens: int


@dataclass(frozen=True, kw_only=True)
class PassageAnswer:
    """One last word."""

    id: str
    context_end: str
    word: str
    nats: float
    right: bool
    """Each of its tokens is the model's first choice."""
    right_filtered: bool
    """Each is the first choice among the words that are not barred."""
    right_last_token: bool
    """The last of them is the model's first choice."""
    said: str = ""
    """The most probable word that is no stop word, as beam search found it."""
    cut: bool = False
    """There was no room for the beginning of the passage."""


@dataclass(frozen=True, kw_only=True)
class ChoiceAnswer:
    """One choice: the log-probability of each candidate, in nats."""

    id: str
    context_end: str
    candidates: tuple[str, ...]
    log_probs: tuple[float, ...]
    answer: int
    chosen: int
    right: bool
    cut: bool = False
    """There was no room for the beginning of a context."""


@dataclass(frozen=True, kw_only=True)
class ConversationAnswer:
    """What was said in one conversation, turn by turn."""

    id: str
    source: str
    said: tuple[str, ...]
    f1: tuple[float, ...]
    exact: tuple[float, ...]
    turns_left_out: int
    """Turns before, counted at each turn that had no room for them."""
    stories_cut: int
    """Turns that had no room for the end of the story."""
    questions_cut: int = 0
    """Turns that had no room for their question."""


@dataclass(frozen=True, kw_only=True)
class QuizAnswer:
    """One short answer."""

    id: str
    question: str
    said: str
    answers: tuple[str, ...]
    probability: float
    exact: bool
    f1: float
    cut: bool = False
    """There was no room for the beginning of the question."""


@dataclass(frozen=True, kw_only=True)
class SummaryAnswer:
    """One summary."""

    id: str
    """The article's, and how the summary was made."""
    written: str
    """All that the model wrote."""
    summary: tuple[str, ...]
    """Its sentences that count."""
    rouge_1: float
    rouge_2: float
    rouge_l: float
    rouge_average: float
    cut: bool
    """There was no room for the end of the article."""


@dataclass(frozen=True, kw_only=True)
class TranslationAnswer:
    """One translated sentence."""

    id: str
    source: str
    said: str
    reference: str
    examples: int
    """Pairs shown before it."""
    cut: bool = False
    """There was no room for the beginning of the sentence."""


@dataclass(frozen=True, kw_only=True)
class SentenceAnswer:
    """How probable a sentence is, and whether people accept it."""

    id: str
    sentence: str
    mean_log_prob: float
    """Nats of a token."""
    acceptable: bool


Answer: TypeAlias = (
    TextAnswer
    | SentenceAnswer
    | StretchAnswer
    | PassageAnswer
    | ChoiceAnswer
    | ConversationAnswer
    | QuizAnswer
    | SummaryAnswer
    | TranslationAnswer
)


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
