"""Reading data sets that a user brings: a complaint names the file and the line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError

T = TypeVar("T")


def malformed(path: Path, number: int, *, expected: str = "", got: str = "") -> InputError:
    """What to raise for a line that cannot be used."""
    return InputError(f"{path}, line {number} cannot be used", expected=expected, got=got)


def read_rows(path: Path, kind: type[T]) -> Iterator[tuple[int, T]]:
    """Number and value of each line of a JSON-lines file; empty lines are passed over.

    Raises InputError for a line that is no JSON of a `kind`, and for a file without rows.
    """
    found = False
    with storage.reading(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            found = True
            try:
                yield number, storage.decode_json(line, kind, path)
            except DamagedFileError as problem:
                raise malformed(path, number, expected=problem.expected, got=problem.got) from problem
    if not found:
        raise InputError(f"{path} holds nothing", expected="one JSON document a line")


def read_lines(path: Path, limit: int = 0) -> list[str]:
    """The lines of a text file without their ends, or the first `limit` of them; a line ends at a newline and nowhere else.

    Raises InputError for a file that is empty or not UTF-8.
    """
    lines: list[str] = []
    with storage.reading(path) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                lines.append(line.decode("utf-8").removesuffix("\n"))
            except UnicodeDecodeError as problem:
                raise malformed(path, number, expected="text in UTF-8", got=problem.reason) from problem
            if len(lines) == limit:
                break
    if not any(map(str.strip, lines)):
        raise InputError(f"{path} holds no text")
    return lines
