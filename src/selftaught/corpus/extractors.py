"""Main text of one page, by one of two extractors.

    quality   trafilatura, and `fast` where that finds three times as much: best of those measured on news, blogs, lists and old
              pages (bench/corpus.py)
    fast      by paragraphs (`corpus.paragraphs`), and resiliparse where these are next to nothing: four times as fast

Both get text that `corpus.encoding` decoded, and give text as the page has it, but for what only lays it out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from html import unescape
from typing import Any, Literal, TypeVar

from selftaught.corpus import paragraphs, prefilters
from selftaught.corpus.encoding import decoded
from selftaught.corpus.kinds import data_kind

ExtractorName = Literal["quality", "fast"]
Found = TypeVar("Found")
PLAIN, HTML = "text/plain", "text/html"
LESS = 0.3
"""What trafilatura finds is not believed where it is a smaller share of what `fast` finds. Any share from .3 to .6 is as good."""
LITTLE, SHORT = 0.2, 2000
"""A text by paragraphs of fewer characters than 2,000, and fewer than 0.2 of what resiliparse finds, is not believed."""
SCRIPTED, NOTABLE = 0.5, 500
"""A text is not the page's that is a smaller share of what stands there for machines (schema.org's articleBody) or, where it has
fewer than 500 characters and that has more, for people without scripts or frames (<noscript>, <noframes>)."""
_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,200}>")
_ARTICLE_BODY = re.compile(r'"articleBody"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_NOSCRIPT = re.compile(r"</?no(?:script|frames)[^>]*>", re.IGNORECASE)
_DIV = re.compile(r"<(/?)div\b[^>]*>", re.IGNORECASE)
_DEEPEST = 250
"""Divisions within divisions, of which real pages have 50. For 20,000 resiliparse takes four seconds, for 40,000 sixteen."""
_RULE = re.compile(r"^\|(?: *-{3,} *\|)+ *\n", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")


def extract_text(body: bytes, content_type: str, extractor: ExtractorName = "quality") -> str:
    """The main text of one page, or "", also where it is none (see `data_kind`)."""
    html = decoded(body, content_type)
    if data_kind(html):
        return ""
    if content_type.partition(";")[0].strip().lower() == PLAIN:
        return html
    html = _DECLARATION.sub("", html)  # lxml refuses text that declares an encoding of bytes
    text = by_both(html) if extractor == "quality" else by_structure(html)
    return tidied(_without_scripts(html, text))


def by_both(html: str) -> str:
    """What trafilatura finds, or `fast` where that finds more than three times as much."""
    careful, other = _safely(by_trafilatura, html, ""), by_structure(html)
    return careful if len(careful) >= LESS * len(other) else other


def by_structure(html: str) -> str:
    """What stands in paragraphs, or resiliparse's text where these are few and it finds more than five times as much."""
    text, everything = _safely(paragraphs.by_paragraphs, html, ("", 0))
    if len(text) >= SHORT or len(text) > LITTLE * everything:
        return text
    other = _safely(by_resiliparse, html, "")
    return text if len(text) >= LITTLE * len(other) else other


def _without_scripts(html: str, text: str) -> str:
    """The text, or what a page that is put together by scripts has instead."""
    told = max((_safely(_told, found, "") for found in _ARTICLE_BODY.findall(html)), key=len, default="")
    if len(text) < SCRIPTED * len(told):
        return told
    if len(text) < NOTABLE and _NOSCRIPT.search(html):
        other = by_structure(_NOSCRIPT.sub("", html))
        if len(other) >= NOTABLE and len(text) < SCRIPTED * len(other):
            return other
    return text


def _told(literal: str) -> str:
    """The text of a string as JSON writes it, which may be HTML."""
    body = str(json.loads(literal, strict=False))
    return all_text(body) if "</" in body else unescape(body)


def _safely(extractor: Callable[[str], Found], html: str, nothing: Found) -> Found:
    try:
        return extractor(html)
    except (TimeoutError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - whatever a page does to a parser, it has found nothing then
        return nothing


def by_trafilatura(html: str) -> str:
    """The main text, with the tables and without the comments of readers.

    Without its own fallbacks (`fast`): with them F1 is the same or worse, and a page takes half as long again.
    """
    import trafilatura

    return trafilatura.extract(html, options=_careful()) or ""


@cache
def _careful() -> Any:
    """What trafilatura is told, made once, when its expressions are prefiltered too."""
    from trafilatura.settings import Extractor

    prefilters.quicken()
    return Extractor(output_format="txt", fast=True, recall=True, tables=True, comments=False)


def by_resiliparse(html: str) -> str:
    """The main text, without the comments of readers and descriptions of pictures."""
    from resiliparse.extract.html2text import extract_plain_text

    found = extract_plain_text(
        _flattened(html), main_content=True, alt_texts=False, comments=False, preserve_formatting=True
    )
    return _BLANK_LINES.sub("\n\n", str(found))


def _flattened(html: str) -> str:
    """The page without the tags of divisions that are nested too deeply."""
    depth = 0

    def kept(found: re.Match[str]) -> str:
        nonlocal depth
        closes = found[1] == "/"
        depth = max(0, depth - 1) if closes else depth + 1
        return found[0] if depth + closes <= _DEEPEST else " "

    return _DIV.sub(kept, html)


def all_text(html: str) -> str:
    """All text of a page, for files that are nothing but text, such as the chapters of a book."""
    from resiliparse.extract.html2text import extract_plain_text

    return _BLANK_LINES.sub("\n\n", str(extract_plain_text(html, main_content=False, alt_texts=False)))


def tidied(text: str) -> str:
    """Text without what only lays a page out: no-break spaces become blanks, empty cells and rules of tables go."""
    lines = _RULE.sub("", text.replace("\u00a0", " ")).splitlines()
    return "\n".join(_without_empty_cells(line) if line.startswith("|") else line for line in lines)


def _without_empty_cells(row: str) -> str:
    return " | ".join(filter(None, (cell.strip() for cell in row.split("|"))))
