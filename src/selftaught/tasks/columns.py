"""Rows of named columns that a user brings: CSV, TSV, JSON lines, or plain lines. One row at a time, from a file or a pipe."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError, UsageError
from selftaught.tasks.rows import malformed

Form: TypeAlias = Literal["auto", "lines", "csv", "tsv", "jsonl"]
Row: TypeAlias = dict[str, Any]
STANDARD_INPUT = Path("-")
TEXT = "text"
"""Name of the only column of plain lines."""
_BY_NAME: dict[str, Form] = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_LONGEST_FIELD = 1 << 27
"""Characters of a CSV field; the csv module would stop at 131,072."""


def read_columns(path: Path, form: Form = "auto") -> Iterator[tuple[int, Row]]:
    """Number of the line and columns of each row; `-` is standard input, `auto` goes by the name of the file.

    Plain lines have one column, `text`, and keep their blank lines; other forms pass over them. TSV is read as GLUE writes it:
    a quote is an ordinary character. Raises InputError for what is no such row, by line, and for a file without any.
    """
    readers = {"lines": _plain, "jsonl": _json, "csv": _csv, "tsv": _tsv}
    return _rows(path, readers[form_of(path) if form == "auto" else form])


def read_loose_tsv(path: Path, header: Sequence[str] = ()) -> Iterator[tuple[int, Row]]:
    """The same of a TSV file as data sets bring them: a line may have more or fewer cells than there are names of columns.

    `header` are the names where no line of the file gives them.
    """

    def reader(stream: IO[bytes], shown: Path) -> Iterator[tuple[int, Row]]:
        names = list(header)
        for number, cells in _cells(stream, shown):
            if not names:
                names = cells
            elif any(cell.strip() for cell in cells):
                yield number, dict(zip(names, cells, strict=False))

    return _rows(path, reader)


def _rows(path: Path, reader: Callable[[IO[bytes], Path], Iterator[tuple[int, Row]]]) -> Iterator[tuple[int, Row]]:
    shown, found = named(path), False
    with _opened(path) as stream:
        for number, row in reader(stream, shown):
            found = True
            yield number, row
    if not found:
        raise InputError(f"{shown} holds no rows", expected="one text a row")


def named(path: Path) -> Path:
    """How messages call a file."""
    return Path("standard input") if path == STANDARD_INPUT else path


def form_of(path: Path) -> Form:
    """The form that a file's name stands for; plain lines if it says nothing."""
    return _BY_NAME.get(uncompressed(path).suffix.lower(), "lines")


def uncompressed(path: Path) -> Path:
    """The name that a compressed file has without the last suffix; any other as it is."""
    return path.with_suffix("") if path.suffix in _COMPRESSED else path


def column(row: Row, name: str, path: Path, number: int) -> str | None:
    """A column of a row as text; None where it is null. Whole numbers are written as such.

    Raises UsageError for a column that the row does not have, InputError for a value that is neither text nor number.
    """
    if name not in row:
        raise UsageError(
            f"{path}, line {number} has no column {name}", expected=f"one of {', '.join(map(str, row)) or 'none'}"
        )
    value = row[name]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise malformed(path, number, expected=f"text or a number as {name}", got=type(value).__name__)
    return str(int(value)) if float(value).is_integer() else str(value)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    with storage.reading(path) as stream:
        yield stream


def _decoded(stream: IO[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as problem:
            raise malformed(path, number, expected="text in UTF-8", got=problem.reason) from problem
        if "\0" in text:
            raise malformed(path, number, expected="text", got="a zero byte")
        yield text


def _plain(stream: IO[bytes], path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(_decoded(stream, path), start=1):
        yield number, {TEXT: line.rstrip("\r\n")}


def _json(stream: IO[bytes], path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(_decoded(stream, path), start=1):
        if not line.strip():
            continue
        try:
            yield number, storage.decode_json(line.encode(), dict[str, Any], path)
        except DamagedFileError as problem:
            raise malformed(path, number, expected="a JSON object", got=problem.got) from problem


def _csv(stream: IO[bytes], path: Path) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(_LONGEST_FIELD)
    yield from _table(csv.reader(_decoded(stream, path), strict=True), path)


def _tsv(stream: IO[bytes], path: Path) -> Iterator[tuple[int, Row]]:
    yield from _named(_cells(stream, path), path)


def _cells(stream: IO[bytes], path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = enumerate((line.rstrip("\r\n") for line in _decoded(stream, path)), start=1)
    return ((number, line.split("\t")) for number, line in lines if line)


def _table(reader: Any, path: Path) -> Iterator[tuple[int, Row]]:
    def cells() -> Iterator[tuple[int, list[str]]]:
        first = 1
        try:
            for row in reader:
                if row:
                    yield first, row
                first = reader.line_num + 1
        except csv.Error as problem:
            raise malformed(path, reader.line_num, expected="CSV", got=str(problem)) from problem

    yield from _named(cells(), path)


def _named(rows: Iterator[tuple[int, Sequence[str]]], path: Path) -> Iterator[tuple[int, Row]]:
    """The first row names the columns."""
    number, names = next(rows, (0, ()))
    if len(set(names)) < len(names):
        raise malformed(path, number, expected="a different name for each column", got=", ".join(names))
    for number, cells in rows:
        if len(cells) != len(names):
            raise malformed(path, number, expected=f"{len(names)} columns", got=str(len(cells)))
        yield number, dict(zip(names, cells, strict=True))
