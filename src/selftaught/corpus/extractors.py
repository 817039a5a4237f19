"""Main text of one page, by one of two extractors.

    quality   trafilatura, and what resiliparse finds where trafilatura finds next to nothing: best of those measured on news,
              blogs, lists and old pages (bench/corpus.py)
    fast      resiliparse alone, written in C++: six times as fast, and worse at telling text from what surrounds it

Both get text that `corpus.encoding` decoded, and give text as the page has it, but for what only lays it out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from selftaught.corpus import prefilters
from selftaught.corpus.encoding import decoded

ExtractorName = Literal["quality", "fast"]
PLAIN, HTML = "text/plain", "text/html"
SUSPICIOUS, SHORT = 0.2, 2000
"""A text of fewer characters than 2,000, and fewer than 0.2 of what resiliparse finds, is not believed. Mean F1 of words on three
sets of pages: .91 with it and .85 without; with 1,000 it is .03 lower on old pages, and to doubt longer texts gains nothing."""
_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,200}>")
_BLANK_LINES = re.compile(r"\n{3,}")


def extract_text(body: bytes, content_type: str, extractor: ExtractorName = "quality") -> str:
    """The main text of one page, or ""."""
    text = decoded(body, content_type)
    if content_type.partition(";")[0].strip().lower() == PLAIN:
        return text
    return tidied(by_both(text) if extractor == "quality" else _safely(by_resiliparse, text))


def by_both(html: str) -> str:
    """What trafilatura finds, or resiliparse if that is little and resiliparse finds more than five times as much."""
    careful = _safely(by_trafilatura, html)
    if len(careful) >= SHORT:
        return careful
    other = _safely(by_resiliparse, html)
    return careful if len(careful) >= SUSPICIOUS * len(other) else other


def _safely(extractor: Callable[[str], str], html: str) -> str:
    try:
        return extractor(html)
    except (TimeoutError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - whatever a page does to a parser, it has found nothing then
        return ""


def by_trafilatura(html: str) -> str:
    """The main text, with the tables and without the comments of readers.

    Without its own fallbacks (`fast`): with them F1 is the same or worse, and a page takes half as long again.
    """
    import trafilatura

    # Its parser refuses text that declares an encoding of bytes.
    return trafilatura.extract(_DECLARATION.sub("", html), options=_careful()) or ""


@cache
def _careful() -> Any:
    """What trafilatura is told, made once, when its expressions are prefiltered too."""
    from trafilatura.settings import Extractor

    prefilters.quicken()
    return Extractor(output_format="txt", fast=True, recall=True, tables=True, comments=False)


def by_resiliparse(html: str) -> str:
    """The main text, without the comments of readers and descriptions of pictures."""
    from resiliparse.extract.html2text import extract_plain_text

    found = extract_plain_text(html, main_content=True, alt_texts=False, comments=False, preserve_formatting=True)
    return _BLANK_LINES.sub("\n\n", str(found))


def all_text(html: str) -> str:
    """All text of a page, for files that are nothing but text, such as the chapters of a book."""
    from resiliparse.extract.html2text import extract_plain_text

    return _BLANK_LINES.sub("\n\n", str(extract_plain_text(html, main_content=False, alt_texts=False)))


def tidied(text: str) -> str:
    """Text without what only lays a page out: no-break spaces become blanks, empty cells of tables go."""
    lines = text.replace("\u00a0", " ").splitlines()
    return "\n".join(_without_empty_cells(line) if line.startswith("|") else line for line in lines)


def _without_empty_cells(row: str) -> str:
    return " | ".join(filter(None, (cell.strip() for cell in row.split("|"))))
