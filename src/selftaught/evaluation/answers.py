"""What is kept of each question: how a model answered it, and what the mark comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


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
