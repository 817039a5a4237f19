"""The choices that the papers leave open, as named settings whose defaults are the paper's reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selftaught.compute import DeviceName, PrecisionName
from selftaught.errors import UsageError
from selftaught.tasks.modelling import Form, Reading


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Every choice that a score depends on; each score's protocol repeats those it used."""

    stride: int = 32
    """Tokens scored by each window of a long text (the authors are reported to have used 32); 0: windows do not overlap."""
    detokeniser: Form = "invertible"
    """How the tokenisation of data sets is undone: so that it can be had back (GPT-2 paper, section 3.1), by the rules of
    Megatron-LM (WikiText only), or not at all. Losses are always divided by the original units."""
    unknown: Literal["keep", "replace"] = "keep"
    """Whether <unk> stays in a data set's text or becomes `?`, which is easier to predict."""
    units: Literal["words-and-ends", "words"] = "words-and-ends"
    """What WikiText and One Billion Words divide losses by: words with or without line ends."""
    sentences_alone: bool = False
    """Score the sentences of One Billion Words each alone instead of joined by newlines."""
    clean_lambada: bool = True
    """Straight quotes and a newline before each passage, as the authors said they did."""
    most_bytes: int = 400_000
    """Of held-out text, and as much of training text."""
    most_questions: int = 400
    """Of each kind made from held-out text."""
    limit: int = 0
    """Use only the first questions or lines of each data set; 0: all. For trying things out."""
    seed: int = 1
    """Seed of what is chosen from the corpus."""
    device: DeviceName = "auto"
    """Where the model is computed."""
    precision: PrecisionName = "float32"
    """Format of matrix products; auto: bfloat16 where the machine has it."""

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        for name in ("stride", "limit"):
            if getattr(self, name) < 0:
                raise UsageError(f"--{name} is too small", expected="0 or more", got=str(getattr(self, name)))
        for name in ("most_bytes", "most_questions"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"--{name.replace('_', '-')} is too small", expected="at least 1", got=str(getattr(self, name))
                )

    @property
    def windows(self) -> str:
        """The stride in words."""
        return f"windows scoring {self.stride} tokens each" if self.stride else "windows that do not overlap"

    @property
    def first_only(self) -> str:
        """The limit in words, with a separator before it."""
        return f"; only the first {self.limit:,}" if self.limit else ""

    @property
    def reading(self) -> Reading:
        """How text that was tokenised is read."""
        return Reading(detokeniser=self.detokeniser, unknown=self.unknown, units=self.units, limit=self.limit)
