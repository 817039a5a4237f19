"""What stands below an element, counted from the root down."""

from __future__ import annotations

from typing import Any

from selftaught.corpus.paragraphs import _BLOCKS, PARAGRAPH


def length(text: str | None) -> int:
    return len((text or "").strip())


def run(element: Any) -> int:
    """Characters outside of links and of blocks further down."""
    below = sum(0 if child.tag in _BLOCKS else run(child) for child in element)
    return 0 if element.tag == "a" else length(element.text) + below + sum(length(child.tail) for child in element)


def text(element: Any, *, linked: bool) -> int:
    """Characters in links, or outside of them."""
    if element.tag == "a":
        return sum(map(length, element.itertext())) if linked else 0
    own = 0 if linked else length(element.text) + sum(length(child.tail) for child in element)
    return own + sum(text(child, linked=linked) for child in element)


def paragraphs(element: Any) -> int:
    """Characters of blocks that are long enough."""
    if element.tag == "a":
        return 0
    own = run(element) if element.tag in _BLOCKS and run(element) >= PARAGRAPH else 0
    return own + sum(map(paragraphs, element))
