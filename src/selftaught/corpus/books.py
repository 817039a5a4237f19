"""Text of whole files that are not text themselves: EPUB books, PDF, HTML. What a file is not is said by ValueError."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from selftaught.corpus.encoding import decoded
from selftaught.corpus.extractors import all_text, extract_text
from selftaught.errors import MissingExtraError

LARGEST_BYTES = 64 << 20
"""Of one chapter or page after decompression; a larger one is no book."""
_CONTAINER = "META-INF/container.xml"


@dataclass(frozen=True, kw_only=True)
class Book:
    """The text of one file in reading order."""

    text: str
    title: str = ""


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
    try:
        import pypdf
    except ImportError:
        raise MissingExtraError("pypdf", "corpus") from None
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
