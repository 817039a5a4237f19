"""Where text comes from: a file, a folder, a side of a corpus; as strings, or in pieces of bytes that any thread can read.

The thread that reads a file only looks for places to cut it. Rows are decoded, and all is hashed, by the thread that gets the
piece, without making strings of it. Kinds of files for which that does not pay, and whatever is not as it should be in a file,
are read by `corpus.local`, whose documents are the same: that is also what tells of errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from selftaught import storage
from selftaught.corpus import documents, local, parquet
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.ngrams import joined
from selftaught.errors import InputError
from selftaught.overlap import utf8

Array = np.ndarray[Any, Any]
Texts = Callable[[], Iterable[str]]
"""A way to get at text afresh."""
READ_BYTES = 1 << 22
BREAK = b"\xff"
"""What stands between joined texts: a byte that UTF-8 does not have."""
_BOM = b"\xef\xbb\xbf"


class _Row(msgspec.Struct):
    text: msgspec.Raw


_ROWS = msgspec.json.Decoder(_Row)


@dataclass(frozen=True)
class Stretch:
    """Well-formed UTF-8 and where its documents end."""

    data: bytes
    ends: Array

    def joined(self) -> tuple[bytes, int]:
        """The documents with 0xFF between them, and how many there are."""
        return _lowered(utf8.separated(_viewed(self.data), self.ends)), len(self.ends)


@dataclass(frozen=True)
class Lines:
    """Rows of JSON lines."""

    data: bytes
    slowly: Callable[[bytes], list[str]]
    """The texts of rows of which one is unusual."""

    def joined(self) -> tuple[bytes, int]:
        """The rows' texts with 0xFF between them, and how many there are."""
        if found := self._fast():
            return found
        texts = self.slowly(self.data)
        return joined(texts), len(texts)

    def _fast(self) -> tuple[bytes, int] | None:
        if utf8.well_formed(_viewed(self.data)) < len(self.data):
            return None
        try:
            rows = _ROWS.decode_lines(self.data)
        except msgspec.DecodeError:
            return None
        if not rows:
            return None
        out, size = utf8.unescaped(_viewed(BREAK.join([row.text for row in rows])))
        return (_lowered(out[:size]), len(rows)) if size >= 0 else None


def _lowered(data: Array) -> bytes:
    """Joined texts; those with characters that are lowered by their place in a word are lowered here."""
    if not utf8.lowered_in_context(data):
        return data.tobytes()
    return joined([text.decode() for text in data.tobytes().split(BREAK)])


def _viewed(data: bytes) -> Array:
    return np.frombuffer(data, np.uint8)


@dataclass(frozen=True)
class Source:
    """Text that can be read as often as wanted: iterated over as strings, or `raw` where there are pieces of bytes."""

    strings: Callable[[], Iterator[str]]
    raw: Callable[[], Iterator[Stretch | Lines | list[str]]]
    """The same documents in the same order; strings where bytes would not be faster."""

    def __call__(self) -> Source:
        """Itself: a way to get at text afresh."""
        return self

    def __iter__(self) -> Iterator[str]:
        """The documents."""
        return self.strings()


def corpus_side(folder: Path, split: str = "train") -> Source:
    """The documents of one side of a corpus folder."""

    def slowly(data: bytes) -> list[str]:
        return [storage.decode_json(line, Document, path).text for line in data.split(b"\n") if line.strip()]

    def raw() -> Iterator[Stretch | Lines | list[str]]:
        with storage.reading(path) as stream:
            waiting: list[bytes] = []
            while data := stream.read(READ_BYTES):
                whole = data.rfind(b"\n") + 1
                if whole:
                    yield Lines(b"".join([*waiting, data[:whole]]), slowly)
                    waiting = []
                waiting.append(data[whole:])
            yield Lines(b"".join(waiting), slowly)

    path = documents.split_file(folder, split)
    return Source(lambda: (row.text for row in documents.read(folder, split)), raw)


def text_of(path: Path) -> Source:
    """The training documents of a corpus folder, or the documents of files and folders of text.

    Reading raises InputError where there is no text, with what was found instead.
    """
    if documents.split_file(path, "train").is_file():
        return corpus_side(path)
    files = local.find_files((path,))

    def strings() -> Iterator[str]:
        funnel, none = Funnel(), True
        for row in local.read_documents(files, funnel):
            none = False
            yield row.text
        if none:
            dropped = ", ".join(f"{row.count} {row.reason}" for row in funnel.rows() if row.reason not in ("", "kept"))
            raise InputError(f"no text in {path}", expected='text, or JSON lines with a field "text"', got=dropped)

    def raw() -> Iterator[Stretch | Lines | list[str]]:
        next(strings(), None)
        for file in files:
            kind = local.kind_of(file.path) or "text"
            if kind == "text":
                yield from _stretches(file)
            elif kind == "rows":
                yield from _lines(file)
            elif kind == "parquet":
                yield from _columns(file)
            else:
                yield from storage.grouped(_strings([file]), READ_BYTES)

    return Source(strings, raw)


def _strings(files: Iterable[local.TextFile]) -> Iterator[str]:
    return (row.text for row in local.read_documents(files, Funnel()))


def _stretches(file: local.TextFile) -> Iterator[Stretch | list[str]]:
    """A text file. From what is not UTF-8, or zero, on it is read as `corpus.local` does."""
    done = 0
    with storage.reading(file.path) as stream:
        waiting, marked = b"", True
        while data := stream.read(READ_BYTES):
            data = waiting + (data.removeprefix(_BOM) if marked else data)
            marked = False
            whole = utf8.well_formed(_viewed(data))
            # A character that is not complete has at most three bytes.
            if whole < len(data) - 3 or b"\0" in data:
                break
            ends = utf8.cuts(_viewed(data)[:whole], local.LONGEST_DOCUMENT)
            if len(ends):
                yield Stretch(data[: ends[-1]], ends)
            done += len(ends)
            waiting = data[ends[-1] if len(ends) else 0 :]
        else:
            whole = utf8.well_formed(_viewed(waiting))
            if whole == len(waiting) and b"\0" not in waiting:
                if waiting.decode().strip():
                    yield Stretch(waiting, np.array([len(waiting)]))
                return
    yield from storage.grouped(islice(_strings([file]), done, None), READ_BYTES)


def _columns(file: local.TextFile) -> Iterator[Stretch | list[str]]:
    """The texts of a Parquet file; the rare rows that may be nothing but blanks are looked at as strings."""
    for data, ends in parquet.read_texts(file.path):
        if utf8.well_formed(data) == len(data) and utf8.all_shown(data, ends):
            yield Stretch(data.tobytes(), ends)
            continue
        starts = [0, *ends[:-1].tolist()]
        texts = [
            data[first:end].tobytes().decode("utf-8", "replace")
            for first, end in zip(starts, ends.tolist(), strict=True)
        ]
        yield [text for text in texts if text.strip()]


def _lines(file: local.TextFile) -> Iterator[Lines]:
    """JSON lines; too long ones are left out."""
    with storage.reading(file.path) as stream:
        for data in _whole_lines(stream):
            yield Lines(data, _texts_in)


def _texts_in(lines: bytes) -> list[str]:
    """The texts of those rows that have one."""
    found = []
    for line in lines.split(b"\n"):
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(row, dict) and isinstance(row.get("text"), str) and row["text"].strip():
            found.append(row["text"])
    return found


def _whole_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Some whole lines at a time, without those that `corpus.local` takes for too long."""
    waiting, skipping = bytearray(), False
    while data := stream.read(READ_BYTES):
        if skipping:
            after = data.find(b"\n") + 1
            skipping, data = not after, data[after:] if after else b""
        waiting += data
        whole = waiting.rfind(b"\n") + 1
        if whole and (lines := _not_too_long(bytes(waiting[:whole]))):
            yield lines
        del waiting[:whole]
        if len(waiting) >= local.LONGEST_ROW_BYTES:
            waiting.clear()
            skipping = True
    if waiting:
        yield bytes(waiting)


def _not_too_long(lines: bytes) -> bytes:
    """Only the first line, which began in an earlier piece, can be longer than a row may be."""
    first = lines.find(b"\n") + 1
    return lines if first <= local.LONGEST_ROW_BYTES else lines[first:]
