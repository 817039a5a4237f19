"""Reading data sets that a user brings: a complaint names the file and the line."""

from __future__ import annotations

import dataclasses
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
    """Number and value of each line of a JSON-lines file; empty lines, and a byte-order mark, are passed over.

    Raises InputError for a line that is no JSON of a `kind`, and for a file without rows.
    """
    found = False
    with storage.reading(path) as stream:
        for number, line in enumerate(stream, start=1):
            text = _decoded(path, number, line).strip()
            if not text:
                continue
            found = True
            try:
                yield number, storage.decode_json(text.encode(), kind, path)
            except DamagedFileError as problem:
                raise malformed(path, number, expected=_described(kind), got=problem.got) from problem
    if not found:
        raise InputError(f"{path} holds nothing", expected="one JSON document a line")


def read_lines(path: Path, limit: int = 0) -> list[str]:
    """The lines of a text file without their ends, or the first `limit` of them.

    A line ends at a newline, or carriage return and newline, and nowhere else; a byte-order mark is left out.

    Raises InputError for a file that is empty or not UTF-8.
    """
    lines: list[str] = []
    with storage.reading(path) as stream:
        for number, line in enumerate(stream, start=1):
            lines.append(_decoded(path, number, line).removesuffix("\n").removesuffix("\r"))
            if len(lines) == limit:
                break
    if not any(map(str.strip, lines)):
        raise InputError(f"{path} holds no text")
    return lines


def _decoded(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as problem:
        raise malformed(path, number, expected="text in UTF-8", got=problem.reason) from problem


def _described(kind: type) -> str:
    """What a line should be, in words."""
    if not dataclasses.is_dataclass(kind):
        return "a JSON object"
    absent = dataclasses.MISSING
    needed = [one.name for one in dataclasses.fields(kind) if one.default is absent and one.default_factory is absent]
    return f"a JSON object with {', '.join(needed)}" if needed else "a JSON object"
