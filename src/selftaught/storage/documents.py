"""JSON and JSON-lines files as typed values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from selftaught.errors import DamagedFileError
from selftaught.storage.compression import compressed
from selftaught.storage.files import read_bytes, write_bytes, writing

T = TypeVar("T")


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document (dataclasses, paths and msgspec types included) atomically, indented, one final newline."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=1) + b"\n")


def read_json(path: Path, kind: type[T]) -> T:
    """Read a JSON file as a value of type `kind` (a dataclass, `dict[str, Any]`, a list of dataclasses...).

    Raises InputError if it is missing, DamagedFileError if it is not such a document.
    """
    return decode_json(read_bytes(path), kind, path)


def decode_json(data: bytes, kind: type[T], path: Path) -> T:
    """Decode JSON that was read from `path`; DamagedFileError says where it is wrong."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, ValueError) as problem:
        wanted = getattr(kind, "__name__", str(kind))
        raise DamagedFileError(f"{path} cannot be read", expected=f"JSON of a {wanted}", got=str(problem)) from problem


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that is added to; one that a kill cut short is removed from it, so that more can follow."""
    data = read_bytes(path)
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        write_bytes(path, whole)
    return whole.splitlines()


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """Read a JSON-lines file; a last line cut short by a kill is left out."""
    lines = read_bytes(path).split(b"\n")
    return [decode_json(line, kind, path) for line in lines[:-1] if line]


@contextmanager
def writing_rows(path: Path) -> Iterator[Callable[[Any], None]]:
    """Open a JSON-lines file, atomic, compressed if the name ends in .gz or .zst; gives a function that adds a row."""
    with writing(path) as raw, compressed(raw, path) as stream:

        def add(row: Any) -> None:
            stream.write(msgspec.json.encode(row) + b"\n")

        yield add


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write one JSON document a line (see `writing_rows`). Returns the number of rows."""
    count = 0
    with writing_rows(path) as add:
        for row in rows:
            add(row)
            count += 1
    return count
