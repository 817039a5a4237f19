"""The rows of overlap and memorization: what of a text stands in another, and what a model copies of what it read."""

from __future__ import annotations

from dataclasses import dataclass

OVERLAP_FILE, COPIED_FILE = "overlap.json", "copied.jsonl"
EXAMPLES_FILE = "examples-{name}.jsonl"
"""Overlap of a data set's examples; `name` as its task is called."""
SPLIT_FILE = "by-overlap.json"
MEMORIZATION_FILE = "memorization.json"


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Share of one text's (or set's) 8-grams that stand in another."""

    name: str
    """What was looked up: `heldout`, `samples 4x192`, `lambada`..."""
    against: str
    """What it was looked up in: `train`, `heldout`."""
    documents: int
    ngrams: int
    hits: int
    share: float
    """hits / ngrams."""
    false_positive_rate: float
    """Upper bound of the filter's false-positive rate; 0 if hits were recounted exactly."""
    by_document: list[float]
    """Share for each document, in order; documents of fewer than 8 words are left out."""


@dataclass(frozen=True, kw_only=True)
class ExampleOverlap:
    """Overlap of one example of a data set."""

    example: str
    """As `evaluate` calls it in its answers."""
    ngrams: int
    in_corpus: int
    """n-grams that stand in the corpus."""
    in_own: int | None = None
    """n-grams that stand in the data set's own training text, where that is there."""


@dataclass(frozen=True, kw_only=True)
class OverlapSplit:
    """A score on the examples of which nothing stands in the training text, and on the others (GPT-2 paper, section 4)."""

    model: str
    task: str
    metric: str
    protocol: str
    value: float
    """On all examples."""
    without: float | None
    """On those without overlap; None if there are none."""
    without_error: float | None
    without_n: int
    within: float | None
    """On those with any."""
    within_error: float | None
    within_n: int


@dataclass(frozen=True, kw_only=True)
class CopiedSpan:
    """The longest stretch of a text that stands word for word in the training text."""

    name: str
    """The set that the text is from: `samples 4x192`."""
    sample: int
    """Which text, counted over all sets."""
    words: int
    text: str
    """In normal form: lower-cased words."""
    document: str
    """Id of a training document that holds it."""
    url: str
    position: int = 0
    """Number of the document's word that it begins with, counted from 0."""


@dataclass(frozen=True, kw_only=True)
class Continued:
    """One held-out context with what follows it in truth and what a model wrote instead."""

    document: str
    url: str
    context: str
    real: str
    drawn: str
    real_share: float
    """Share of the 8-grams of `real` that stand in the training text."""
    drawn_share: float


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """Several continuations of one context."""

    document: str
    context: str
    completions: tuple[str, ...]
    distinct: tuple[float, ...]
    """Distinct n-grams of words of all completions / all their n-grams, for n = 1, 2, 3, 4."""
    self_bleu: float
    """Mean BLEU of each completion against the others, 0 to 1: the higher, the more alike."""


@dataclass(frozen=True, kw_only=True)
class Recall:
    """How far one continuation of a prompt from the training text goes on as the text does."""

    settings: str
    """`greedy`, or the sampling settings with the seed."""
    text: str
    words: int
    """Words that agree with the text after one of the prompt's occurrences."""
    tokens: int
    """Tokens in which those words were written."""
    left: bool
    """Whether it left the text; else it followed it to its own end, or to the text's."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A prompt that occurs in the training text, and how the model goes on."""

    documents: int
    """Training documents that hold the prompt and the words after it; 0 for held-out text."""
    prompt: str
    following: str
    """What follows at the first occurrence."""
    document: str
    url: str
    position: int
    """Number of the document's word that the prompt begins with, counted from 0."""
    nats_per_token: float
    """Mean loss on the words after the prompt that all occurrences share."""
    recalls: tuple[Recall, ...]


@dataclass(frozen=True, kw_only=True)
class DocumentLoss:
    """The loss on one document, or on its beginning."""

    document: str
    nats: float
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Loss on training and on held-out text, in nats per token, with a bootstrap interval over documents."""

    train: float
    heldout: float
    low: float
    """Lower end of the 95 % interval of heldout - train."""
    high: float
    train_documents: tuple[DocumentLoss, ...]
    heldout_documents: tuple[DocumentLoss, ...]

    @property
    def value(self) -> float:
        """How much better the model predicts what it was trained on."""
        return self.heldout - self.train


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean of a paired difference, with a 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Memorization:
    """What one model remembers of its training text."""

    model: str
    parameters: int
    protocol: str
    """Every choice that the numbers depend on, in words."""
    shares: tuple[Overlap, ...]
    """Overlap of real and of drawn continuations with the training text (GPT-2 paper, figure 5)."""
    more_copied: Difference
    """By document: share of the drawn minus share of the real continuation."""
    continued: tuple[Continued, ...]
    copies: tuple[CopiedSpan, ...]
    """For each real and drawn continuation with eight words from the training text, the longest such stretch."""
    diversity: tuple[Diversity, ...]
    passages: tuple[Passage, ...]
    """Most frequent first."""
    gap: Gap
    seconds: float
