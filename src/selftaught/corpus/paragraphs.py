"""Main text of a page by where its paragraphs are: the extractor `fast`.

    prune       what its class, id or style calls comments, menu, advertisement ..., unless many paragraphs are in it
    descend     from <body> as long as one child holds nearly all paragraphs: to the element whose children the text is
    write       its blocks line by line, without those that are mostly links

All of it needs one count of text, linked text and text of paragraphs in each element, from the leaves up.
"""

from __future__ import annotations

import re
from collections import defaultdict
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
    """Characters below an element: outside of links, in links, in paragraphs; and those of its own block that may be one.

    Knows that of the element above it, and whether it is `gone` with its element.
    """

    __slots__ = ("above", "gone", "linked", "paragraphs", "run", "text")

    def __init__(self) -> None:
        self.text = self.linked = self.paragraphs = self.run = 0
        self.above: _Count | None = None
        self.gone = False

    def change(self, by: _Count, sign: int) -> None:
        self.text += sign * by.text
        self.linked += sign * by.linked
        self.paragraphs += sign * by.paragraphs


_Counts = dict[Any, _Count]


def by_paragraphs(html: str) -> tuple[str, int]:
    """The main text, and how many characters of text the page has in all."""
    body = _body(html)
    if body is None:
        return "", 0
    elements = list(body.iter())
    counts = _counted(elements)
    everything = counts[body].text + counts[body].linked
    _prune(elements, counts)
    return "\n".join(_lines(_descended(body, counts), counts)), everything


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
        above = count.above = counts.get(element.getparent())
        if above is not None:
            length = len(tail.strip()) if tail else 0
            above.text += count.text + length
            above.linked += count.linked
            above.paragraphs += count.paragraphs
            above.run += length if block else count.run + length
    return counts


def _prune(elements: list[Any], counts: _Counts) -> None:
    """Leave elements out, no longer counted above them. Discussions first: without them the rest is weighed rightly."""
    hidden = [counts[element] for element in elements[1:] if _is_hidden(element)]
    named: tuple[list[_Count], ...] = ([], [], [])
    for element in elements:
        if element.tag not in _KEPT and (mark := _mark(element.get("class"), element.get("id"))):
            named[mark].append(counts[element])
    whole = counts[elements[0]]
    for marked, most in ((named[2], MOST_COMMENTS), (hidden, MOST_MARKED), (named[1], MOST_MARKED)):
        _take(marked, most, whole)


def _take(marked: list[_Count], most: float, whole: _Count) -> None:
    """Let those of the marked elements go, in the order of the page, that have no larger share of its paragraphs.

    Takes as long as there are elements, however deeply they are nested: none is passed twice on the way up from a marked one, for
    what is above has been decided before; and what goes is subtracted above it in the end, which nothing here waits for.
    """
    left, clear = whole.paragraphs, set[_Count]()
    passed: list[_Count] = []
    for count in marked:
        if not count.text + count.linked or count.paragraphs > left * most:
            continue
        path: list[_Count] = []
        here: _Count | None = count
        while here is not None and not here.gone and here not in clear:
            path.append(here)
            here = here.above
        if here is not None and here.gone:
            for other in path:
                other.gone = True
            continue
        count.gone = True
        left -= count.paragraphs
        clear.update(path)
        passed += reversed(path)
    _subtract(passed)


def _subtract(passed: list[_Count]) -> None:
    """No longer count what is gone in what is above it; `passed` has each after what is above it."""
    losses = defaultdict[_Count, _Count](_Count)
    for count in reversed(passed):
        if not count.gone:
            count.change(losses[count], -1)
        if count.above is not None:
            losses[count.above].change(count if count.gone else losses[count], 1)


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


def _descended(body: Any, counts: _Counts) -> Any:
    here = body
    while True:
        least, chosen = counts[here].paragraphs * NEARLY_ALL, None
        for child in here:
            if child.tag in _CONTAINERS and not (count := counts[child]).gone and count.paragraphs >= max(1, least):
                chosen = child
                break
        if chosen is None:
            return here
        here = chosen


def _lines(root: Any, counts: _Counts) -> Iterator[str]:
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
        if element is not root and ((count := counts[element]).gone or _mostly_links(tag, count)):
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
