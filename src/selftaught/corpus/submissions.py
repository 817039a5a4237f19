"""Rows of Reddit submissions, from whatever they are kept in: dumps and URL lists of JSON lines, CSV, plain lists of URLs.

Files are read some rows at a time, however large they are. A row is taken apart once: only the fields below are decoded.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from selftaught import storage
from selftaught.errors import InputError

LONGEST_ROW_BYTES = 1 << 24
_SHOWN_BYTES = 100
_READ_BYTES = 1 << 18
"""Little enough to be decoded while it is still in the processor's cache."""
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_NAMES = {"url": ("url", "u", "link", "href"), "score": ("score", "k", "karma", "points"), "title": ("title",)} | {
    "subreddit": ("subreddit", "r"),
    "created": ("created_utc", "time", "date", "created"),
    "id": ("id",),
    "over_18": ("over_18", "nsfw"),
    "is_self": ("is_self", "self"),
}
"""Field -> names of its column in a CSV file."""


class Submission(msgspec.Struct, gc=False):
    """What a row says that matters here; each field may be missing or of any type, as in the dumps."""

    id: Any = None
    url: Any = None
    u: Any = None
    score: Any = None
    k: Any = None
    subreddit: Any = None
    r: Any = None
    title: Any = None
    created_utc: Any = None
    time: Any = None
    over_18: Any = None
    is_self: Any = None
    self_: Any = msgspec.field(name="self", default=None)
    removed_by_category: Any = None


_DECODER = msgspec.json.Decoder(Submission)


def require_files(paths: Iterable[Path]) -> None:
    """Raise InputError where one of them is a folder, of which nobody knows which files are submissions."""
    for path in paths:
        if path.is_dir():
            raise InputError(f"{path} is a folder", expected="files of submissions", hint=f"Try {path}/*.zst")


def read_submissions(path: Path, karma_of_lists: int) -> Iterator[Sequence[Submission | None]]:
    """The rows of one file, some at a time; None for a row that cannot be read.

    `.csv` has a first line with names; `.txt` has one URL a line. Rows of a list that knows no points get `karma_of_lists`, since
    such a list was chosen by whoever made it.
    """
    kind = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _PACKED][-1:]
    with storage.reading(path) as stream:
        if kind == [".csv"]:
            yield from _table(stream, path, karma_of_lists)
        elif kind == [".txt"]:
            yield from _list(stream, karma_of_lists)
        else:
            yield from map(_decoded, _blocks(stream))


def _blocks(stream: IO[bytes]) -> Iterator[memoryview]:
    """Whole lines, some at a time, each block for as long as the next one is not asked for.

    Of a line longer than any row should be the beginning, which cannot be decoded.
    """
    read = cast("io.BufferedIOBase", stream).readinto
    held, filled, skipping = bytearray(_READ_BYTES), 0, False
    while size := read(memoryview(held)[filled:]):
        end = held.rfind(b"\n", filled, filled + size) + 1
        filled += size
        if end:
            first = held.find(b"\n") + 1 if skipping else 0
            skipping = False
            yield memoryview(held)[first:end]
            held[: filled - end] = held[end:filled]
            filled -= end
        elif skipping:
            filled = 0
        elif filled >= LONGEST_ROW_BYTES:
            yield memoryview(held)[:_SHOWN_BYTES]
            held, filled, skipping = bytearray(_READ_BYTES), 0, True
        elif filled == len(held):
            held = held + bytes(filled)  # another one, for a block of this one may still be in use
    if filled and not skipping:
        yield memoryview(held)[:filled]


def _decoded(block: memoryview) -> list[Submission | None]:
    try:
        return list(_DECODER.decode_lines(block))
    except (msgspec.DecodeError, UnicodeDecodeError):  # one row is broken: the others are not
        return [_decoded_row(line) for line in bytes(block).split(b"\n") if line.strip()]


def _decoded_row(line: bytes) -> Submission | None:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _list(stream: IO[bytes], karma: int) -> Iterator[Sequence[Submission | None]]:
    for block in _blocks(stream):
        lines = str(block, "utf-8", "replace").split("\n")
        yield [Submission(url=line.strip(), score=karma) for line in lines if line.strip()]


def _table(stream: IO[bytes], path: Path, karma: int) -> Iterator[Sequence[Submission | None]]:
    csv.field_size_limit(LONGEST_ROW_BYTES)
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="") as text:
        rows = csv.DictReader(text)
        try:
            columns = _columns(rows.fieldnames or (), path)
            while held := [_from_columns(row, columns, karma) for row in itertools.islice(rows, 1000)]:
                yield held
        except csv.Error as problem:
            raise InputError(f"{path}:{rows.line_num} is not CSV", got=str(problem)) from problem


def _columns(names: Sequence[str], path: Path) -> dict[str, str]:
    """Field -> the name of its column in this file."""
    found = {field: name for field, known in _NAMES.items() for name in names if name.lower() in known}
    if "url" not in found:
        raise InputError(
            f"{path} has no column of addresses",
            expected=f"a first line that names one of {', '.join(_NAMES['url'])}",
            got=", ".join(names) or "an empty file",
        )
    return found


def _from_columns(row: Mapping[str, str | None], columns: Mapping[str, str], karma: int) -> Submission:
    values = {field: row.get(name) for field, name in columns.items()}
    return Submission(
        id=values.get("id"),
        url=values.get("url"),
        score=values.get("score") if "score" in columns else karma,
        subreddit=values.get("subreddit"),
        title=values.get("title"),
        created_utc=values.get("created"),
        over_18=_yes(values.get("over_18")),
        is_self=_yes(values.get("is_self")),
    )


def _yes(value: str | None) -> bool:
    return (value or "").strip().lower() in ("true", "1", "yes", "t")
