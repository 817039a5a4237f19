"""Folders of text as a corpus: text, Markdown, HTML, EPUB, PDF, rows of JSON lines and Parquet; most also compressed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from selftaught import storage
from selftaught.corpus import books, parquet
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.ranges import require_least
from selftaught.errors import InputError

STAGE = "read"
_KINDS = {".txt": "text", ".md": "text", ".jsonl": "rows", ".parquet": "parquet", ".pdf": "pdf", ".epub": "epub"} | {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}
_PACKED = (".gz", ".zst", ".xz", ".bz2")
LONGEST_ROW_BYTES = 1 << 26
"""A longer line of a .jsonl file is dropped, so that memory stays bounded."""
LONGEST_DOCUMENT = 100_000
LARGEST_BOOK_BYTES = 1 << 28
_READ_BYTES = 1 << 22


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """How files become documents."""

    longest_document: int = LONGEST_DOCUMENT
    """Characters. A longer text is cut at a paragraph, line, sentence or blank into several documents, so that one long file has
    parts on both sides of the split; 0 keeps each file whole, as contiguous books for GPT-1 (one must fit into memory)."""

    def __post_init__(self) -> None:
        """Refuse what is no length."""
        require_least(self, 0, "longest_document")


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
            expected=f"files ending in {', '.join(_KINDS)}, also compressed ({', '.join(_PACKED)})",
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
    """`text`, `rows`, `parquet`, `html`, `epub`, `pdf`, or "" for a file that is none of them."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] in _PACKED
    kind = _KINDS.get(suffixes[-1 - packed] if len(suffixes) > packed else "", "")
    return "" if packed and kind == "parquet" else kind


def read_documents(
    files: Iterable[TextFile], funnel: Funnel, rules: ReadingSettings | None = None
) -> Iterator[Document]:
    """The documents of all files.

    What is none is dropped as `empty`, `binary`, `not JSON`, `no text`, `row too long`, `not EPUB`, `not PDF`, `locked` or
    `too large`, or as `timeout`, `memory`, `error` or `crash` of the process that reads books.
    """
    longest = (rules or ReadingSettings()).longest_document
    with books.Reader() as reader:
        for file in files:
            kind = kind_of(file.path) or "text"
            if kind == "parquet":
                yield from _documents(enumerate(parquet.read_rows(file.path), 1), file, funnel)
                continue
            with storage.reading(file.path) as stream:
                if kind == "rows":
                    yield from _documents(_rows(stream, file, funnel), file, funnel)
                elif kind == "text":
                    yield from _parts(_decoded(stream), file, funnel, longest)
                else:
                    yield from _book(stream, partial(reader.read, kind=cast("books.Kind", kind)), file, funnel, longest)


def _rows(stream: IO[bytes], file: TextFile, funnel: Funnel) -> Iterator[tuple[int, Any]]:
    """The rows of JSON lines with their numbers; those that cannot be read are dropped."""
    import msgspec

    number = 0
    while line := stream.readline(LONGEST_ROW_BYTES):
        number += 1
        if not line.strip():
            continue
        reason, row = "", None
        if not line.endswith(b"\n") and len(line) == LONGEST_ROW_BYTES:
            while (rest := stream.readline(LONGEST_ROW_BYTES)) and not rest.endswith(b"\n"):
                pass
            reason = "row too long"
        else:
            try:
                row = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                reason = "not JSON"
        if reason:
            funnel.enter(STAGE)
            funnel.drop(STAGE, reason, id=f"{file.name}#{number}", url=f"{file.name}#{number}")
        else:
            yield number, row


def _documents(rows: Iterable[tuple[int, Any]], file: TextFile, funnel: Funnel) -> Iterator[Document]:
    for number, row in rows:
        url = f"{file.name}#{number}"
        funnel.enter(STAGE)
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


def _book(
    stream: IO[bytes],
    read: Callable[[bytes], tuple[books.Book | None, str]],
    file: TextFile,
    funnel: Funnel,
    longest: int,
) -> Iterator[Document]:
    """A file that is read as a whole. Raises MissingExtraError where that takes a library that is not installed."""
    data = stream.read(LARGEST_BOOK_BYTES + 1)
    found, reason = read(data) if len(data) <= LARGEST_BOOK_BYTES else (None, "too large")
    if found is None:
        funnel.enter(STAGE)
        funnel.drop(STAGE, reason, id=file.name, url=file.name)
        return
    yield from _parts(iter([found.text]), file, funnel, longest, title=found.title)


def _parts(
    texts: Iterator[str], file: TextFile, funnel: Funnel, longest: int, *, title: str = ""
) -> Iterator[Document]:
    """A text as documents of bounded length."""
    waiting, number, kept = "", 0, 0
    for text in texts:
        if "\0" in text:
            funnel.enter(STAGE)
            funnel.drop(STAGE, "binary", id=file.name, url=file.name)
            return
        waiting, first = waiting + text, 0
        while longest and len(waiting) - first > longest:
            cut = _cut(waiting, first, longest)
            yield _part(waiting[first:cut], file, number, funnel, title)
            first, number, kept = cut, number + 1, kept + 1
        waiting = waiting[first:]
    if waiting.strip():
        yield _part(waiting, file, number, funnel, title)
    elif not kept:
        funnel.enter(STAGE)
        funnel.drop(STAGE, "empty", id=file.name, url=file.name)


def _decoded(stream: IO[bytes]) -> Iterator[str]:
    """Text as it is read. Bytes that are not UTF-8 are replaced by U+FFFD, as browsers do."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    while data := stream.read(_READ_BYTES):
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def _part(text: str, file: TextFile, number: int, funnel: Funnel, title: str) -> Document:
    funnel.enter(STAGE)
    funnel.keep(STAGE)
    url = f"{file.name}#{number}" if number else file.name
    return Document(id=url, text=text, url=url, source=file.name, title=title)


def _cut(text: str, first: int, longest: int) -> int:
    """Where to cut a text that is too long from `first` on: after the last paragraph, line, sentence or blank there is."""
    for mark in ("\n\n", "\n", ". ", " "):
        place = text.rfind(mark, first + longest // 2, first + longest)
        if place >= 0:
            return place + len(mark)
    return first + longest
