"""Text of whole files that are not text themselves: EPUB books, PDF, HTML. What a file is not is said by ValueError.

Files are read in a process of its own, so that one that hangs, crashes or takes all memory is one that is dropped and no more.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import unquote

from selftaught.corpus.encoding import decoded
from selftaught.corpus.extractors import all_text, extract_text
from selftaught.corpus.workers import Workers
from selftaught.errors import MissingExtraError

LARGEST_BYTES = 64 << 20
"""Of one chapter or page after decompression; a larger one is no book."""
_CONTAINER = "META-INF/container.xml"
SECONDS, MEMORY_BYTES = 600.0, 4 << 30
"""What one file may take; pypdf needs 20 to 100 ms for a page, and books have hundreds."""
Kind = Literal["html", "epub", "pdf"]


@dataclass(frozen=True, kw_only=True)
class Book:
    """The text of one file in reading order."""

    text: str
    title: str = ""


class Reader:
    """Reads files in another process, which is begun with the first of them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._workers: Workers | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, data: bytes, kind: Kind) -> tuple[Book | None, str]:
        """The book, or None and why there is none. Raises MissingExtraError if a library is not installed."""
        if kind == "pdf":
            _pypdf()
        if self._workers is None:
            self._workers = self._stack.enter_context(Workers(1, SECONDS, MEMORY_BYTES))
        ((_, found, reason),) = self._workers.results(_read, [data], lambda one: (one, kind))
        return (None, found) if isinstance(found, str) else (found, reason)


def _read(data: bytes, kind: Kind) -> Book | str:
    """A book, or what the file is not."""
    try:
        return {"html": read_html, "epub": read_epub, "pdf": read_pdf}[kind](data)
    except ValueError as problem:
        return str(problem)


def read_html(data: bytes) -> Book:
    """The main text of a saved page."""
    return Book(text=extract_text(data, "text/html"))


def read_epub(data: bytes) -> Book:
    """The chapters of a book in the order of its spine. Raises ValueError if it is none or is locked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            package, place = _package(archive)
            chapters = [all_text(decoded(_entry(archive, name))).strip() for name in _spine(package, place)]
            titles = package.xpath("//*[local-name()='title']/text()")
    except (zipfile.BadZipFile, KeyError, IndexError, RuntimeError, NotImplementedError, EOFError) as problem:
        raise ValueError("not EPUB") from problem
    return Book(text="\n\n".join(filter(None, chapters)), title=str(titles[0]).strip() if titles else "")


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as stream:
        data = stream.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise ValueError("too large")
    return data


def _parsed(data: bytes) -> Any:
    import lxml.etree

    parser = lxml.etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    tree = lxml.etree.fromstring(data, parser)
    if tree is None:
        raise ValueError("not EPUB")
    return tree


def _package(archive: zipfile.ZipFile) -> tuple[Any, str]:
    """The package document and its folder in the archive."""
    container = _parsed(_entry(archive, _CONTAINER))
    path = str(container.xpath("//*[local-name()='rootfile']/@full-path")[0])
    return _parsed(_entry(archive, path)), path.rpartition("/")[0]


def _spine(package: Any, folder: str) -> Iterator[str]:
    """The names of the chapters, in reading order, without contents lists and what stands aside."""
    items = {item.get("id"): item for item in package.xpath("//*[local-name()='manifest']/*[local-name()='item']")}
    for reference in package.xpath("//*[local-name()='spine']/*[local-name()='itemref']"):
        item = items.get(reference.get("idref"))
        if item is None or reference.get("linear") == "no" or "nav" in (item.get("properties") or "").split():
            continue
        name = unquote(item.get("href") or "").partition("#")[0]
        yield f"{folder}/{name}" if folder else name


def read_pdf(data: bytes) -> Book:
    """The text of all pages. Raises ValueError if it is none or is locked, MissingExtraError if pypdf is not installed."""
    pypdf = _pypdf()
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        locked = reader.is_encrypted and not reader.decrypt("")
        pages = [] if locked else [page.extract_text().strip() for page in reader.pages]
        title = reader.metadata.title if not locked and reader.metadata else None
    except Exception as problem:  # pypdf raises what Python happens to raise on a broken file
        raise ValueError("not PDF") from problem
    if locked:
        raise ValueError("locked")
    return Book(text="\n\n".join(filter(None, pages)), title=str(title or "").strip())


def _pypdf() -> Any:
    try:
        import pypdf
    except ImportError:
        raise MissingExtraError("pypdf", "corpus") from None
    return pypdf
