"""What stands below an element, counted from the root down."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from selftaught.corpus.paragraphs import _BLOCKS, MOST_COMMENTS, MOST_MARKED, PARAGRAPH


def length(text: str | None) -> int:
    return len((text or "").strip())


def run(element: Any) -> int:
    """Characters outside of links and of blocks further down."""
    below = sum(0 if child.tag in _BLOCKS else run(child) for child in element)
    return 0 if element.tag == "a" else length(element.text) + below + sum(length(child.tail) for child in element)


def text(element: Any, *, linked: bool, gone: Collection[Any] = ()) -> int:
    """Characters in links, or outside of them."""
    if element.tag == "a":
        return sum(map(length, element.itertext())) if linked else 0
    own = 0 if linked else length(element.text) + sum(length(child.tail) for child in element)
    return own + sum(text(child, linked=linked, gone=gone) for child in element if child not in gone)


def paragraphs(element: Any, gone: Collection[Any] = ()) -> int:
    """Characters of blocks that are long enough."""
    if element.tag == "a":
        return 0
    own = run(element) if element.tag in _BLOCKS and run(element) >= PARAGRAPH else 0
    return own + sum(paragraphs(child, gone) for child in element if child not in gone)


def prune(body: Any) -> set[Any]:
    """The elements to leave out: discussions, what is hidden, what surrounds a text; each weighed without those before it."""
    gone: set[Any] = set()
    for attribute, value, most in (
        ("class", "comments", MOST_COMMENTS),
        ("hidden", "", MOST_MARKED),
        ("class", "share", MOST_MARKED),
    ):
        for element in body.iter():
            if element.get(attribute) != value or not gone.isdisjoint((element, *element.iterancestors())):
                continue
            seen = sum(text(element, linked=linked, gone=gone) for linked in (True, False))
            if seen and paragraphs(element, gone) <= most * paragraphs(body, gone):
                gone.add(element)
    return gone
