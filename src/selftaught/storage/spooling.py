"""Rows that may be too many for memory: kept, and sorted, on the disk; or taken some at a time."""

from __future__ import annotations

import heapq
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Generic, TypeVar, cast

import msgspec

from selftaught.errors import OutputError
from selftaught.storage.compression import compressed
from selftaught.storage.files import writing

_FRAME_BYTES, _LEVEL = 1 << 18, 1
"""What is soon thrown away is compressed in a hurry: by level 1 in half the time of level 3."""

T = TypeVar("T")


def grouped(texts: Iterable[str], characters: int) -> Iterator[list[str]]:
    """Texts in order, as many to a list as make up so many characters: few enough to be held, enough to be worth a call."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text) + 1  # so that empty ones come to an end too
        if size >= characters:
            yield held
            held, size = [], 0
    if held:
        yield held


class _Temporary(io.FileIO):
    """An unnamed temporary file, closed without a warning when nobody needs it any more."""

    def __del__(self) -> None:
        self.close()

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as problem:
            raise _temporary_error(problem) from problem


def _temporary_error(problem: OSError) -> OutputError:
    """Say which disk it is that scratch data does not fit on: not that of --out."""
    return OutputError(
        f"cannot write temporary files in {tempfile.gettempdir()}",
        got=problem.strerror or str(problem),
        hint="Free some space or set TMPDIR to a folder on another disk, then run the same command again: finished work is kept.",
    )


def temporary() -> IO[bytes]:
    """Open an unnamed file for scratch data, not buffered; TMPDIR says on which disk. It goes when it or its process does.

    Raises OutputError if the disk is full, also on writing.
    """
    try:
        number, name = tempfile.mkstemp(prefix="selftaught-")
        Path(name).unlink()
    except OSError as problem:
        raise _temporary_error(problem) from problem
    return _Temporary(number, "w+b")


class Spool(Generic[T]):
    """Rows that may be too many for memory: appended, counted, read again in order, as often as wanted.

    They lie compressed in an unnamed temporary file (TMPDIR says on which disk), which goes when this object or its process does.
    """

    def __init__(self, kind: type[T], rows: Iterable[T] = ()) -> None:
        self._encoder, self._decoder = msgspec.json.Encoder(enc_hook=str), msgspec.json.Decoder(kind)
        self._waiting, self._count = bytearray(), 0
        self._file: IO[bytes] | None = None
        self._frames: list[tuple[int, int]] = []
        for row in rows:
            self.append(row)

    def __len__(self) -> int:
        """How many rows were appended."""
        return self._count

    def append(self, row: T) -> None:
        """Add one row at the end. Raises OutputError if the temporary disk is full."""
        self._waiting += self._encoder.encode(row)
        self._waiting += b"\n"
        self._count += 1
        if len(self._waiting) >= _FRAME_BYTES:
            self._write()

    def extend(self, rows: Sequence[T]) -> None:
        """Add rows at the end, at once. Raises OutputError if the temporary disk is full."""
        self._waiting += self._encoder.encode_lines(rows)
        self._count += len(rows)
        if len(self._waiting) >= _FRAME_BYTES:
            self._write()

    def __iter__(self) -> Iterator[T]:
        """All rows in order; several iterations may go on at a time."""
        for data in self._blocks():
            yield from self._decoder.decode_lines(data)

    def save(self, path: Path) -> None:
        """Write all rows to a JSON-lines file, as `write_jsonl` would, which takes each of them apart."""
        with writing(path) as raw, compressed(raw, path) as stream:
            for data in self._blocks():
                stream.write(data)

    def _blocks(self) -> Iterator[bytes]:
        import zstandard

        for place, size in list(self._frames):
            yield zstandard.decompress(os.pread(cast("IO[bytes]", self._file).fileno(), size, place))
        yield bytes(self._waiting)

    def _write(self) -> None:
        import zstandard

        data = zstandard.compress(bytes(self._waiting), _LEVEL)
        if self._file is None:
            self._file = temporary()
        place = sum(self._frames[-1]) if self._frames else 0
        self._file.write(data)
        self._frames.append((place, len(data)))
        self._waiting.clear()


def sorted_rows(
    rows: Iterable[T],
    kind: type[T],
    key: Callable[[T], Any],
    *,
    weight: Callable[[T], int] = lambda _: 1,
    most: int = 500_000,
) -> Iterator[T]:
    """Rows in order of `key`, equal ones as they came, with rows of at most `most` total `weight` in memory at a time."""
    runs: list[Spool[T]] = []
    held: list[T] = []
    room = most
    for row in rows:
        held.append(row)
        room -= weight(row)
        if room <= 0:
            runs.append(Spool(kind, sorted(held, key=key)))
            held, room = [], most
    held.sort(key=key)
    yield from heapq.merge(*runs, held, key=key)
