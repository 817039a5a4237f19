"""The rows that verbs write and the report reads: scores, learning curves, samples.

They live here, below the verbs, so that whoever writes a row and whoever draws it share one definition; those of overlap and
memorization in `overlap_records`.
"""

from __future__ import annotations

from dataclasses import dataclass

RESULTS_FILE = "results.json"
"""A JSON list of `Score`, in every folder that an evaluation wrote."""
ALONG_FILE = "along.json"
"""A JSON list of `StepScore`, in every folder that an evaluation along a training run wrote."""
SAMPLES_FILE = "samples.jsonl"
FINETUNED_FILE = "finetuned.json"
"""A JSON list of `FineTuned`, in every folder that fine-tuning wrote."""


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
    baseline: float | None = None
    """What is reached by chance or by a trivial rule."""
    baseline_words: str = ""
    """Which."""
    float32_difference: float | None = None
    """Where products are not float32: `value` less what float32 gives, both on the same items."""
    float32_n: int = 0
    """How many those are: all, or the first ones."""


@dataclass(frozen=True, kw_only=True)
class StepScore:
    """One measured number of a model that is still being trained."""

    step: int
    tokens: int
    """Trained on by then; 0 if that is not known."""
    score: Score


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
    gradient_norm: float | None
    """None where it was no finite number: JSON has none."""
    tokens_per_second: float
    seconds: float
    """Time spent training so far, over all starts of this run."""
    heldout_bits_per_byte: float | None = None
    heldout_loss: float | None = None
    """The same in nats per token; its exponential is the perplexity."""
    spikes: int = 0
    """Steps since the last row whose loss leapt, or was no number."""


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
class FineTuned:
    """One number of one task under one plan of fine-tuning, over all seeds."""

    model: str
    """Name of the pre-trained model."""
    parameters: int
    task: str
    variant: str
    """`full`, `no-auxiliary`, `from-scratch`, `lstm`, `layers-2`..."""
    split: str
    """`dev` chose the epoch; `test`, `mismatched`, `middle`, `high`; `train`: as many of the rows it was trained on."""
    metric: str
    median: float
    lowest: float
    highest: float
    by_seed: tuple[float, ...]
    error: float
    """Standard error of the first seed's value, from the number of items."""
    n: int
    seconds: float
    """All seeds together, measuring included."""
    protocol: str
