"""The rows that verbs write and the report reads: scores, learning curves, samples, overlap.

They live here, below the verbs, so that whoever writes a row and whoever draws it share one definition.
"""

from __future__ import annotations

from dataclasses import dataclass

RESULTS_FILE = "results.json"
"""A JSON list of `Score`, in every folder that an evaluation wrote."""
SAMPLES_FILE = "samples.jsonl"
OVERLAP_FILE, COPIED_FILE = "overlap.json", "copied.jsonl"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measured number."""

    model: str
    parameters: int
    task: str
    """`heldout`, `train`, `lastword`, `cloze`, `lambada`, `wikitext2`, `winograd`..."""
    protocol: str
    """Every choice that the number depends on, in words."""
    metric: str
    """`bits_per_byte`, `perplexity`, `accuracy`, `f1`..."""
    value: float
    error: float
    """Standard error of `value`."""
    n: int
    """Number of items that `value` averages over."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LearningPoint:
    """One row of a training run's log.jsonl."""

    step: int
    tokens: int
    """Tokens trained on so far."""
    loss: float
    """Mean training loss since the last row, nats per token."""
    rate: float
    """Learning rate of this step."""
    gradient_norm: float
    tokens_per_second: float
    seconds: float
    """Time spent training so far, over all starts of this run."""
    heldout_bits_per_byte: float | None = None


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One generated token as text, with the probability the model gave it (before truncation of the distribution)."""

    text: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One continuation of a prompt."""

    model: str
    parameters: int
    prompt: str
    text: str
    pieces: list[Piece]
    settings: str
    """Sampling settings in words, such as `top-k 40, temperature 1, seed 3`."""


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
