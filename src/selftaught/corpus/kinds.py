"""What a response is that says it is a page or text and is neither: its first bytes know better than its Content-Type."""

from __future__ import annotations

import csv
import re
from functools import cache
from typing import Literal

import msgspec

Kind = Literal["", "PDF", "binary", "JSON", "XML", "table"]
_LOOKED_AT = 4096
_NO_TEXT = re.compile("[\x01-\x08\x0e-\x1a\ufffd]")
_TAG = re.compile(r"<[a-zA-Z!/?]")
_BEFORE_JSON = re.compile(r"\)\]\}',?\s*|(?:/\*\*/)?\s*[\w$.]{1,80}\s*\(\s*(?=[\[{])")
"""What servers write so that no page can take it for a script, or so that it can (JSONP)."""
_OBJECT = re.compile(r'[\[\s]{0,20}\{\s*(?:\}|"(?:[^"\\]|\\.){1,200}"\s*:)')
_BEFORE_ROOT = r"(?:\s|<!--(?:(?!-->).)*+-->|<\?[^>]*+>|<![dD][^>\[]*+>)*+"
_ROOT = re.compile(rf"<\?xml\b[^>]{{0,200}}>{_BEFORE_ROOT}<([\w.:-]+)", re.DOTALL)
_BARE_ROOT = re.compile(r"<(?:rss|feed|urlset|sitemapindex|rdf:RDF|opml|kml|gpx|soap:Envelope)[\s>]")
_ROWS, _COLUMNS = 5, 3
"""Lines, and columns in each of them, from which on text without tags is a table."""


def data_kind(text: str) -> Kind:
    """What a decoded response is that is neither page nor text, or "".

    JSON begins as an object with a name, or is a list or object to its end; XML has a root that pages have not; a table has no
    tags and the same number of columns in all its first lines.
    """
    start = text[:_LOOKED_AT].lstrip()
    if start.startswith("%PDF-"):
        return "PDF"
    if 20 * len(_NO_TEXT.findall(start)) > len(start):
        return "binary"
    if _is_json(start, text):
        return "JSON"
    if _is_xml(start):
        return "XML"
    return "table" if start[:1] != "<" and not _TAG.search(text) and _is_table(text) else ""


def _is_json(start: str, text: str) -> bool:
    before = _BEFORE_JSON.match(start)
    if _OBJECT.match(start, before.end() if before else 0):
        return True
    whole = text.strip()
    if before or whole[:1] not in ("[", "{") or whole[-1:] not in ("]", "}"):
        return False
    try:
        msgspec.json.decode(whole)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _is_xml(start: str) -> bool:
    root = _ROOT.match(start)
    return root[1].lower().rpartition(":")[2] not in _roots_of_pages() if root else bool(_BARE_ROOT.match(start))


@cache
def _roots_of_pages() -> frozenset[str]:
    """Elements that pages begin with, also those that lack <html>."""
    from lxml.html import defs

    return frozenset(defs.tags - {"svg"} | {"main"})


def _is_table(text: str) -> bool:
    lines = [line for line in text[:_LOOKED_AT].splitlines() if line.strip()]
    if len(text) > _LOOKED_AT:
        lines = lines[:-1]  # which may be half a line
    return len(lines) >= _ROWS and any(_columns(lines, sign) >= _COLUMNS for sign in "\t,;|")


def _columns(lines: list[str], sign: str) -> int:
    """How many columns all lines have; 0 where that differs."""
    try:
        widths = {len(row) for row in csv.reader(lines, delimiter=sign, strict=True)}
    except csv.Error:
        return 0
    return widths.pop() if len(widths) == 1 else 0
