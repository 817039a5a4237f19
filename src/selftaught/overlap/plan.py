"""What counts as overlap. Imports no numpy, so that the command line answers at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from selftaught.compute import DeviceName, PrecisionName
from selftaught.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """What is kept of a text in a filter."""

    words: int = 8
    """Words of an n-gram (GPT-2 paper, section 4: 8)."""
    across: Literal["documents", "stream"] = "documents"
    """Whether n-grams end with their document or reach from one into the next, as if the text were one stream."""
    capacity: int = 0
    """Distinct n-grams that the filter has room for; 0: as many as there are. Filters that are to be merged need the same."""
    jobs: int = field(default=1, metadata={"changeable": True})
    """Threads that index and look up; the result is the same for any number."""

    def __post_init__(self) -> None:
        """Refuse n-grams of no words and work by nobody."""
        for name, least in (("words", 1), ("capacity", 0), ("jobs", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} is too small", expected=f"at least {least}", got=str(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class OverlapSettings(IndexSettings):
    """What counts as overlap."""

    count: Literal["repeated", "distinct"] = "repeated"
    """Count an n-gram as often as it occurs, or once (in each document, and in each text)."""
    exact: bool = False
    """Look every hit up in the text again, so that there are no false positives."""


@dataclass(frozen=True, kw_only=True)
class MergeSettings:
    """Nothing can be chosen: what is united says all."""


@dataclass(frozen=True, kw_only=True)
class MemorizeSettings:
    """What is drawn from the model and compared with its training text."""

    contexts: int = 40
    """Held-out documents to continue (GPT-2 paper, figure 5)."""
    context_tokens: int = 0
    """Tokens of a document that are given; 0: three quarters of the model's context (tables 7 to 11: 768 of 1,024)."""
    tokens: int = 256
    """Tokens of each continuation, real and drawn (tables 7 to 11: 256)."""
    top_k: int = 40
    """Draw continuations among the k most probable tokens (GPT-2 paper, section 8.3: 40); 0 among all."""
    diverse: int = 2
    """Contexts that are continued several times."""
    completions: int = 6
    """How many times (table 12: 6)."""
    prompts: int = 4
    """Prompts from the training text for each number of occurrences: 1, 2-3, 4-7, 8-15..., and as many held-out ones."""
    prompt_words: int = 30
    """Words of such a prompt."""
    following_words: int = 20
    """Words after it that all its occurrences share."""
    recall_tokens: int = 200
    """Tokens of its continuations (section 8.2: samples leave the Gettysburg Address after 100 to 200)."""
    draws: int = 2
    """Continuations of each such prompt drawn among all tokens, beside the greedy one."""
    text_bytes: int = 200_000
    """Of training and of held-out text, to compare their perplexities (figure 4)."""
    words: int = 8
    """Words of an n-gram (section 4: 8)."""
    seed: int = 1
    """Equal seeds choose and draw the same."""
    device: DeviceName = "auto"
    """Where the model is computed."""
    precision: PrecisionName = "float32"
    """Format of matrix products; auto: bfloat16 where the machine has it."""

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        least = dict.fromkeys(("contexts", "tokens", "prompts", "prompt_words", "recall_tokens", "text_bytes"), 1)
        least |= {"words": 1, "completions": 2, "following_words": 1}
        least |= dict.fromkeys(("context_tokens", "top_k", "diverse", "draws"), 0)
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} is too small", expected=f"{smallest} or more", got=str(getattr(self, name)))
