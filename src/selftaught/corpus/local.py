"""Folders of text as a corpus: .txt and .md files, .jsonl rows with a `text` field, also compressed (.gz, .zst, .xz, .bz2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from selftaught import storage
from selftaught.corpus.documents import Document, Funnel
from selftaught.errors import InputError

STAGE = "read"
_TEXT, _ROWS, _PACKED = (".txt", ".md"), (".jsonl",), (".gz", ".zst", ".xz", ".bz2")
LONGEST_ROW_BYTES = 1 << 26
"""A longer line of a .jsonl file is dropped, so that memory stays bounded."""
LONGEST_DOCUMENT = 100_000
"""Characters. A longer .txt or .md is cut at a paragraph, line, sentence or blank into several documents; so one long file
has parts on both sides of the split, and a line of any length fits into memory."""
_READ_BYTES = 1 << 22


@dataclass(frozen=True)
class TextFile:
    """A file and the name it goes by in the corpus, which does not depend on where the folder lies."""

    path: Path
    name: str


def find_files(paths: tuple[Path, ...]) -> list[TextFile]:
    """All text files below the given paths, in a fixed order. Raises InputError if there are none or one cannot be read."""
    found = [file for path in paths for file in _below(path)]
    if not found:
        raise InputError(
            f"no text in {', '.join(map(str, paths))}",
            expected=f"files ending in {', '.join((*_TEXT, *_ROWS))}, also compressed ({', '.join(_PACKED)})",
        )
    return found


def _below(path: Path) -> Iterator[TextFile]:
    if path.is_file():
        yield TextFile(path, path.name)
        return

    def refuse(problem: OSError) -> None:
        raise InputError(f"cannot read {problem.filename}", got=problem.strerror or str(problem)) from problem

    if not path.exists():
        raise InputError(f"cannot read {path}", got="no such file or folder")
    for folder, folders, names in os.walk(path, onerror=refuse):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if kind_of(file):
                yield TextFile(file, file.relative_to(path).as_posix())


def kind_of(path: Path) -> str:
    """`text`, `rows`, or "" for a file that is neither."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    last = suffixes[-1] if suffixes else ""
    return "text" if last in _TEXT else "rows" if last in _ROWS else ""


def read_documents(files: list[TextFile], funnel: Funnel) -> Iterator[Document]:
    """The documents of all files. What is none is dropped as `empty`, `binary`, `not JSON`, `no text` or `row too long`."""
    for file in files:
        with storage.reading(file.path) as stream:
            read = _rows(stream, file, funnel) if kind_of(file.path) == "rows" else _parts(stream, file, funnel)
            yield from read


def _rows(stream: IO[bytes], file: TextFile, funnel: Funnel) -> Iterator[Document]:
    import msgspec

    number = 0
    while line := stream.readline(LONGEST_ROW_BYTES):
        number += 1
        url = f"{file.name}#{number}"
        if not line.strip():
            continue
        funnel.enter(STAGE)
        if not line.endswith(b"\n") and len(line) == LONGEST_ROW_BYTES:
            while (rest := stream.readline(LONGEST_ROW_BYTES)) and not rest.endswith(b"\n"):
                pass
            funnel.drop(STAGE, "row too long", id=url, url=url)
            continue
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            funnel.drop(STAGE, "not JSON", id=url, url=url)
            continue
        if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not row["text"].strip():
            funnel.drop(STAGE, "no text", id=url, url=url)
            continue
        funnel.keep(STAGE)
        yield _document(row, url, file.name)


def _document(row: dict[str, Any], url: str, source: str) -> Document:
    karma = row.get("karma")
    return Document(
        id=url,
        text=row["text"],
        url=str(row.get("url") or url),
        source=str(row.get("source") or source),
        title=str(row.get("title") or ""),
        karma=karma if isinstance(karma, int) else None,
        date=str(row.get("date") or ""),
    )


def _parts(stream: IO[bytes], file: TextFile, funnel: Funnel) -> Iterator[Document]:
    """A text file as documents of bounded length. Bytes that are not UTF-8 are replaced by U+FFFD, as browsers do."""
    waiting, number, kept = "", 0, 0
    for text in _decoded(stream):
        if "\0" in text:
            funnel.enter(STAGE)
            funnel.drop(STAGE, "binary", id=file.name, url=file.name)
            return
        waiting, first = waiting + text, 0
        while len(waiting) - first > LONGEST_DOCUMENT:
            cut = _cut(waiting, first)
            yield _part(waiting[first:cut], file, number, funnel)
            first, number, kept = cut, number + 1, kept + 1
        waiting = waiting[first:]
    if waiting.strip():
        yield _part(waiting, file, number, funnel)
    elif not kept:
        funnel.enter(STAGE)
        funnel.drop(STAGE, "empty", id=file.name, url=file.name)


def _decoded(stream: IO[bytes]) -> Iterator[str]:
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    while data := stream.read(_READ_BYTES):
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def _part(text: str, file: TextFile, number: int, funnel: Funnel) -> Document:
    funnel.enter(STAGE)
    funnel.keep(STAGE)
    url = f"{file.name}#{number}" if number else file.name
    return Document(id=url, text=text, url=url, source=file.name)


def _cut(text: str, first: int) -> int:
    """Where to cut a text that is too long from `first` on: after the last paragraph, line, sentence or blank there is."""
    for mark in ("\n\n", "\n", ". ", " "):
        place = text.rfind(mark, first + LONGEST_DOCUMENT // 2, first + LONGEST_DOCUMENT)
        if place >= 0:
            return place + len(mark)
    return first + LONGEST_DOCUMENT
