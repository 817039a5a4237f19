"""What an experiment is given and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from selftaught.evaluation.answers import Answer
from selftaught.evaluation.keeping import Keeping
from selftaught.evaluation.measuring import Measured
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.inference.language_model import LanguageModel

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a task is given."""

    model: LanguageModel
    source: Path
    """The corpus, or the folder of data sets."""
    rules: EvaluateSettings
    keeping: Keeping
    """Where answers are kept while it runs."""

    def limited(self, items: Sequence[T]) -> Sequence[T]:
        """As many as the limit allows, the first."""
        return items[: self.rules.limit] if self.rules.limit else items


Result: TypeAlias = tuple[Sequence[Answer], list[Measured]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One experiment."""

    summary: str
    ask: Callable[[Question], Result]
    files: tuple[str, ...] = ()
    """Patterns of its files in the folder of data sets, any of which will do; none for a task made from the corpus."""
    long: bool = False
    """Whether it is run only if it is named: it takes long, or asks again what another task asks."""

    def found(self, data: Path) -> list[Path]:
        """Its files in a folder of data sets, those of the first pattern first."""
        return [path for pattern in self.files for path in sorted(data.glob(pattern))]
