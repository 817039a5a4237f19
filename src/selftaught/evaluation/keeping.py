"""Answers kept while a task runs, so that one that is killed goes on where it was; made by one process or by several.

Questions are asked in blocks, which are the same whoever asks them and whatever was kept before: so are the answers, to the last
bit where processes have as many threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from selftaught import settings, storage
from selftaught.compute import ALONE, Group
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
    group: Group = ALONE
    """Those who ask; rank 0 keeps what all answer."""

    @property
    def unfinished(self) -> Path:
        """Answers so far: what they depend on, then one a line."""
        return self.folder / f"answers-{self.task}.unfinished.jsonl"

    def table(self, name: str, rows: Iterable[Any]) -> None:
        """Write rows as NAME-TASK.jsonl."""
        if self.group.rank == 0:
            storage.write_jsonl(self.folder / f"{name}-{self.task}.jsonl", rows)

    def answers(
        self,
        asked: Sequence[AskedType],
        kind: type[AnswerType],
        ask: Callable[[Sequence[AskedType]], Iterable[AnswerType]],
        advance: Callable[[float], None],
        *,
        block: int = BLOCK,
        weight: Callable[[AskedType], int] = lambda _: 1,
    ) -> list[AnswerType]:
        """An answer for each question, in order; blocks of them that an earlier start kept are not asked again.

        `ask` answers a block at a time, in order, and tells `advance`; the answers' ids are those of the questions. A block has
        `block` questions, or as many as weigh that much. Raises InputError where two questions have one id, MismatchError where
        the answers that were kept depend on something else.
        """
        _require_names(self.task, asked)
        found = {answer.id: answer for answer in self.group.first(lambda: self._kept(kind))}
        blocks = [list(one) for one in _blocks(asked, block, weight)]
        left = [one for one in blocks if any(each.id not in found for each in one)]
        advance(len(asked) - sum(map(len, left)))
        for first in range(0, len(left), self.group.size):
            together = left[first : first + self.group.size]
            started = time.monotonic()
            own = together[self.group.rank] if self.group.rank < len(together) else ()
            answered = [one for part in self.group.each(partial(_asked, ask, own)) for one in part]
            self._keep([*answered, _Spent(seconds=time.monotonic() - started)])
            found |= {answer.id: answer for answer in answered}
            advance(sum(map(len, together)) - len(own))
        return [found[one.id] for one in asked]

    def _keep(self, rows: Sequence[Any]) -> None:
        if self.group.rank == 0:
            storage.append_line(self.unfinished, b"\n".join(map(msgspec.json.encode, rows)))

    def spent(self) -> float:
        """Seconds that the answers which are kept took when they were made."""
        if not self.unfinished.is_file() or self.group.rank:
            return 0.0
        return sum(one.seconds for one in _decoded(storage.whole_lines(self.unfinished)[1:], _Spent))

    def finish(self) -> None:
        """Forget unfinished answers: all of them are written elsewhere."""
        if self.group.rank == 0:
            self.unfinished.unlink(missing_ok=True)

    def _kept(self, kind: type[AnswerType]) -> list[AnswerType]:
        if not self.unfinished.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            storage.append_line(self.unfinished, msgspec.json.encode(self.measure))
            return []
        rows = storage.whole_lines(self.unfinished)
        if not rows:
            self.unfinished.unlink()
            return self._kept(kind)
        changed = storage.decode_json(rows[0], Measure, self.unfinished).difference(self.measure)
        if changed:
            raise MismatchError(
                f"{self.unfinished} was begun otherwise", got=", ".join(changed), hint="Choose another --out."
            )
        return list(_decoded(rows[1:], kind))


def _require_names(task: str, asked: Sequence[Identified]) -> None:
    names: set[str] = set()
    for one in asked:
        if one.id in names:
            raise InputError(f"two questions of {task} are called {one.id}", expected="an id for each of its own")
        names.add(one.id)


def _blocks(asked: Sequence[AskedType], most: int, weight: Callable[[AskedType], int]) -> Iterator[Sequence[AskedType]]:
    """Neighbours that weigh at least `most` together, but for the last ones."""
    begun = held = 0
    for number, one in enumerate(asked, start=1):
        held += weight(one)
        if held >= most or number == len(asked):
            yield asked[begun:number]
            begun, held = number, 0


def _asked(ask: Callable[[Sequence[AskedType]], Iterable[AnswerType]], block: Sequence[AskedType]) -> list[AnswerType]:
    return list(ask(block)) if block else []


def _decoded(rows: Iterable[bytes], kind: type[T]) -> Iterator[T]:
    """The rows of one kind; answers to several kinds of question, and times, stand in one file."""
    for row in rows:
        with suppress(msgspec.ValidationError):
            yield msgspec.json.decode(row, type=kind)
