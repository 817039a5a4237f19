"""The choices that the papers leave open, as named settings whose defaults are the paper's reading."""

from __future__ import annotations

from dataclasses import dataclass

from selftaught.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Every choice that a score depends on; each score's protocol repeats those it used."""

    stride: int = 32
    """Tokens scored by each window of a long text (the authors are reported to have used 32); 0: windows do not overlap."""
    detokenise: bool = True
    """Undo the data sets' tokenisation (GPT-2 paper, section 3.1); losses are still divided by the original units."""
    clean_lambada: bool = True
    """Straight quotes and a newline before each passage, as the authors said they did."""
    most_bytes: int = 400_000
    """Of held-out text, and as much of training text."""
    most_questions: int = 400
    """Of each kind made from held-out text."""
    limit: int = 0
    """Use only the first questions of each data set; 0: all. For trying things out."""
    seed: int = 1
    """Seed of what is chosen from the corpus."""

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
