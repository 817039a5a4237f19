"""Main text of a page by where its paragraphs are: the extractor `fast`.

    prune       what its class, id or style calls comments, menu, advertisement ..., unless many paragraphs are in it
    descend     from <body> as long as one child holds nearly all paragraphs: to the element whose children the text is
    write       its blocks line by line, without those that are mostly links

All of it needs one count of text, linked text and text of paragraphs in each element, from the leaves up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from lxml import etree

PARAGRAPH = 50
"""Characters outside of links, in one block, from which on they are a paragraph's."""
MOST_MARKED, MOST_COMMENTS = 0.2, 0.8
"""Shares of all paragraphs up to which an element goes for what it is called; discussions may be longer than their subject."""
NEARLY_ALL = 0.8
"""Share of an element's paragraphs with which one child of it stands for it."""
MOST_LINKED = 0.65
"""A block with a larger share of linked text, and less than four paragraphs, is a list of links."""
_COMMENTS = re.compile(r"comment|disqus|trackback|pingback|replies|footer|side-?bar")
_MARKED = re.compile(
    r"respond|share|sharing|social|addthis|related|recommend|similar|popular|trending|widget|menu|bread-?crumb|paginat"
    r"|newsletter|subscri|sign-?up|promo|sponsor|advert|banner|cookie|consent|modal|overlay|login|byline|copyright|disclaimer"
    r"|caption|credit|hidden|toolbar|masthead|carousel|slideshow|teaser|outbrain|taboola"
    r"|author-?(?:bio|box|info|desc)|(?:about|post)-?author"
    r"|(?:^|[\s_-])(?:nav|search|prev|next|jump|skip)|(?:^|[\s_-])(?:ads?|tags?|foot)(?:$|[\s_-])|(?:nav|bio|meta)(?:$|[\s_-])"
)
_INVISIBLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_NO_TEXT = (
    *("head", "script", "style", "noscript", "noframes", "template", "link", "meta", "nav", "aside"),
    *("footer", "menu", "dialog", "button", "select", "option", "datalist", "input", "textarea", "label"),
    *("iframe", "object", "embed", "svg", "canvas", "audio", "video", "map"),
)
_ONLY_LOOKS = ("b", "i", "em", "strong", "u", "font", "small", "big", "tt", "sup", "sub", "img", "wbr", "abbr")
_BLOCKS = frozenset(
    (
        *("address", "article", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt"),
        *("fieldset", "figcaption", "figure", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header"),
        *("hgroup", "hr", "html", "li", "main", "ol", "p", "pre", "section", "summary", "table", "tbody"),
        *("td", "tfoot", "th", "thead", "tr", "ul"),
    )
)
_NO_CONTAINERS = ("p", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "dt", "hr", "address", "summary", "figcaption")
_CONTAINERS = _BLOCKS.difference(_NO_CONTAINERS) | {"span"}
_LINKABLE = _BLOCKS | {"span"}
_KEPT = frozenset(("html", "body", "article", "main", "p", "a", "br"))
_BREAK, _CELL = "\x1f", "\x1e"
"""Stand for <br> and between cells of a row until blanks are made one."""
_CELLS = frozenset(("td", "th"))
_MARKS = {"br": _BREAK, "li": "- "}
_EMPTY = frozenset(("- ", "", " ", "\n", "\n\n"))


class _Count:
    """Characters below an element: outside of links, in links, in paragraphs; and those of its own block that may be one."""

    __slots__ = ("linked", "paragraphs", "run", "text")

    def __init__(self) -> None:
        self.text = self.linked = self.paragraphs = self.run = 0


_Counts = dict[Any, _Count]


def by_paragraphs(html: str) -> tuple[str, int]:
    """The main text, and how many characters of text the page has in all."""
    body = _body(html)
    if body is None:
        return "", 0
    elements = list(body.iter())
    counts = _counted(elements)
    everything = counts[body].text + counts[body].linked
    gone = _pruned(body, elements, counts)
    return "\n".join(_lines(_descended(body, counts, gone), counts, gone)), everything


def _body(html: str) -> Any:
    parser = etree.HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True, collect_ids=False
    )
    tree = etree.fromstring(html.encode("utf-8", "replace"), parser)
    if tree is None:
        return None
    etree.strip_elements(tree, *_NO_TEXT, with_tail=False)
    etree.strip_tags(tree, *_ONLY_LOOKS)
    body = tree.find("body")
    return tree if body is None else body


def _counted(elements: list[Any]) -> _Counts:
    counts = {element: _Count() for element in elements}
    for element in reversed(elements):
        count, text, tail = counts[element], element.text, element.tail
        if text:
            length = len(text.strip())
            count.text += length
            count.run += length
        tag = element.tag
        if tag == "a":
            count.linked += count.text
            count.text = count.run = count.paragraphs = 0
        block = tag in _BLOCKS
        if block and count.run >= PARAGRAPH:
            count.paragraphs += count.run
        above = counts.get(element.getparent())
        if above is not None:
            length = len(tail.strip()) if tail else 0
            above.text += count.text + length
            above.linked += count.linked
            above.paragraphs += count.paragraphs
            above.run += length if block else count.run + length
    return counts


def _pruned(body: Any, elements: list[Any], counts: _Counts) -> set[Any]:
    """The elements to leave out, no longer counted above them. Discussions first: without them the rest is weighed rightly."""
    styled = [(element, 1) for element in elements[1:] if _is_hidden(element)]
    named = [
        (element, mark)
        for element in elements
        if element.tag not in _KEPT and (mark := _mark(element.get("class"), element.get("id")))
    ]
    marked = styled + named
    gone: set[Any] = set()
    whole = counts[body]
    for wanted, most in ((2, MOST_COMMENTS), (1, MOST_MARKED)):
        for element, mark in marked:
            count = counts[element]
            if mark != wanted or not count.text + count.linked or count.paragraphs > whole.paragraphs * most:
                continue
            above = list(element.iterancestors())
            if gone.isdisjoint(above):
                gone.add(element)
                for other in above:
                    if other in counts:
                        other_count = counts[other]
                        other_count.text -= count.text
                        other_count.linked -= count.linked
                        other_count.paragraphs -= count.paragraphs
    return gone


def _is_hidden(element: Any) -> bool:
    style = element.get("style")
    if style is not None:
        return bool(_INVISIBLE.search(style))
    return element.get("hidden") is not None or element.get("aria-hidden") == "true"


@lru_cache(50_000)
def _mark(classes: str | None, name: str | None) -> int:
    """2 for discussions and what stands beside or below a text, 1 for what else surrounds it, 0 for the rest."""
    names = f"{classes or ''} {name or ''}".lower()
    return 2 if _COMMENTS.search(names) else 1 if _MARKED.search(names) else 0


def _descended(body: Any, counts: _Counts, gone: set[Any]) -> Any:
    here = body
    while True:
        least, chosen = counts[here].paragraphs * NEARLY_ALL, None
        for child in here:
            if child.tag in _CONTAINERS and child not in gone and counts[child].paragraphs >= max(1, least):
                chosen = child
                break
        if chosen is None:
            return here
        here = chosen


def _lines(root: Any, counts: _Counts, gone: set[Any]) -> Iterator[str]:
    """Text as lines: a block begins a new one, so does <br>; what is preformatted stays as it is."""
    pieces: list[str] = []
    preformatted = 0
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        tag = element.tag
        cell = tag in _CELLS and _is_row(element.getparent(), counts)
        if tag in _BLOCKS and not cell and not _EMPTY.issuperset(pieces):
            yield from _split(pieces, preformatted=preformatted > 0)
            pieces.clear()
        if event == "end":
            preformatted -= tag == "pre"
            if element.tail and element is not root:
                pieces.append(element.tail)
            continue
        preformatted += tag == "pre"
        if element is not root and (element in gone or _mostly_links(tag, counts[element])):
            walk.skip_subtree()
            continue
        if mark := _CELL if cell else _MARKS.get(tag):
            pieces.append("\n" if preformatted and tag == "br" else mark)
        if element.text:
            pieces.append(element.text)
    yield from _split(pieces, preformatted=preformatted > 0)


def _mostly_links(tag: str, count: _Count) -> bool:
    if tag not in _LINKABLE or count.paragraphs >= 4 * PARAGRAPH:
        return False
    return count.linked > MOST_LINKED * (count.text + count.linked)


def _is_row(row: Any, counts: _Counts) -> bool:
    """Whether cells stand beside each other in the text, not below: nothing in the row is a paragraph."""
    return row in counts and not counts[row].paragraphs


def _split(pieces: list[str], *, preformatted: bool) -> Iterator[str]:
    text = "".join(pieces)
    if preformatted:
        if text.strip():
            yield text.strip("\n").rstrip()
        return
    for line in text.split(_BREAK):
        cells = (" ".join(cell.split()) for cell in line.split(_CELL))
        joined = " | ".join(filter(None, cells))
        if joined and joined != "-":
            yield joined
