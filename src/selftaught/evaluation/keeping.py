"""Answers kept while a task runs, so that one that is killed goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from selftaught import settings, storage
from selftaught.errors import InputError, MismatchError

BLOCK = 64
"""Questions that are answered before their answers are kept."""
PROBE_TOLERANCE_NATS = 0.01


class Identified(Protocol):
    """What has an id."""

    @property
    def id(self) -> str:
        """A name of its own among its kind."""
        ...


T = TypeVar("T")
AskedType = TypeVar("AskedType", bound=Identified)
AnswerType = TypeVar("AnswerType", bound=Identified)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What answers depend on: the text, the settings and the model."""

    source: str
    settings: dict[str, Any]
    probe_nats: float
    """Log-probability of a sentence: other weights, another number."""

    def difference(self, other: Measure) -> list[str]:
        """What differs, in words."""
        changed = settings.difference(self.settings, other.settings)
        if Path(self.source).absolute() != Path(other.source).absolute():
            changed.append(f"text: {self.source} -> {other.source}")
        if abs(self.probe_nats - other.probe_nats) > PROBE_TOLERANCE_NATS:
            changed.append("another model")
        return changed


@dataclass(frozen=True, kw_only=True)
class _Spent:
    """Seconds that a block of answers took; stands after it."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """The answers of one task in one folder."""

    folder: Path
    task: str
    measure: Measure

    @property
    def unfinished(self) -> Path:
        """Answers so far: what they depend on, then one a line."""
        return self.folder / f"answers-{self.task}.unfinished.jsonl"

    def table(self, name: str, rows: Iterable[Any]) -> None:
        """Write rows that are neither answers nor scores."""
        storage.write_jsonl(self.folder / f"{name}-{self.task}.jsonl", rows)

    def answers(
        self,
        asked: Sequence[AskedType],
        kind: type[AnswerType],
        ask: Callable[[Sequence[AskedType]], Iterable[AnswerType]],
        advance: Callable[[float], None],
        *,
        block: int = BLOCK,
    ) -> list[AnswerType]:
        """An answer for each question, in order; those that an earlier start kept are not asked again.

        `ask` answers several questions at a time, in order; their ids are those of the questions. Raises InputError where two
        questions have one id, MismatchError where the answers that were kept depend on something else.
        """
        ids = [one.id for one in asked]
        if len(set(ids)) < len(ids):
            twice = next(name for number, name in enumerate(ids) if name in ids[:number])
            raise InputError(f"two questions of {self.task} are called {twice}", expected="an id for each of its own")
        found = {answer.id: answer for answer in self._kept(kind)}
        kept = [one for one in asked if one.id in found]
        advance(len(kept))
        left = [one for one in asked if one.id not in found]
        for first in range(0, len(left), block):
            started = time.monotonic()
            answered = list(ask(left[first : first + block]))
            rows = [*answered, _Spent(seconds=time.monotonic() - started)]
            storage.append_line(self.unfinished, b"\n".join(map(msgspec.json.encode, rows)))
            found |= {answer.id: answer for answer in answered}
        return [found[one.id] for one in asked]

    def spent(self) -> float:
        """Seconds that the answers which are kept took when they were made."""
        if not self.unfinished.is_file():
            return 0.0
        return sum(one.seconds for one in _decoded(self._whole_lines()[1:], _Spent))

    def finish(self) -> None:
        """Forget unfinished answers: all of them are written elsewhere."""
        self.unfinished.unlink(missing_ok=True)

    def _kept(self, kind: type[AnswerType]) -> list[AnswerType]:
        if not self.unfinished.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            storage.append_line(self.unfinished, msgspec.json.encode(self.measure))
            return []
        rows = self._whole_lines()
        if not rows:
            self.unfinished.unlink()
            return self._kept(kind)
        changed = storage.decode_json(rows[0], Measure, self.unfinished).difference(self.measure)
        if changed:
            raise MismatchError(
                f"{self.unfinished} was begun otherwise", got=", ".join(changed), hint="Choose another --out."
            )
        return list(_decoded(rows[1:], kind))

    def _whole_lines(self) -> list[bytes]:
        """The lines of the file; one that was cut short by a kill is removed from it."""
        data = storage.read_bytes(self.unfinished)
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            storage.write_bytes(self.unfinished, whole)
        return whole.splitlines()


def _decoded(rows: Iterable[bytes], kind: type[T]) -> Iterator[T]:
    """The rows of one kind; answers to several kinds of question, and times, stand in one file."""
    for row in rows:
        with suppress(msgspec.ValidationError):
            yield msgspec.json.decode(row, type=kind)
