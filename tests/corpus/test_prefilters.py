"""Prefiltered expressions find what the expressions find."""

from __future__ import annotations

import random
from typing import Any

import lxml.html
import pytest
from lxml import etree

from selftaught.corpus import prefilters
from selftaught.corpus.prefilters import Prefiltered, prefiltered

NAMESPACES = {"re": "http://exslt.org/regular-expressions"}
UNDERSTOOD = (
    ".//*[self::div or self::p][@data-a or re:test(@id|@class, 'cookie') or contains(translate(@role, 'N', 'n'), 'nav')]",
    ".//*[self::div or self::section][re:test(@id, '^(?:foot|side)') or re:test(@class, '^ad$|bar')][not(.//h1) or @id='foot']",
    ".//*[@class='x' or starts-with(@id|@class, 'reply-') or contains(@style, 'display: none') or @aria-hidden='true']",
    ".//*[self::div or self::p][re:test(@id, '^[Ss]ide(?!bar)|^Fo+t$') or re:test(@class, '^straße$', 'i')]",
)
LEFT = (
    ".//header",
    ".//cite|.//quote",
    ".//*[self::div][not(@class='x')]",
    ".//*[self::div][@class='x'][1]",
    "(.//p)[1]",
    ".//*[self::p][re:test(@class, '[^a-z]')]",
    ".//*[self::p][re:test(@class, '\\W')]",
    ".//*[self::p][re:test(@class, '(?<!x)y')]",
)
FIRST = (
    "(.//*[self::div or self::p][@class='x' or contains(@id, 'foot')])[1]",
    ".//*[self::p][re:test(@class, 'bar')][1]",
)


def page(seed: int) -> Any:
    draw = random.Random(seed)
    body = lxml.html.fromstring("<html><body></body></html>").find("body")
    values = (
        "x",
        "Foot",
        "foot",
        "sidebar",
        "ad",
        "cookie-bar",
        "Nav",
        "reply-1",
        "display: none",
        "true",
        "b\nad",
        "sideBar",
        "STRASSE",
        "Straße",
        "",
    )
    names = ("class", "id", "role", "style", "aria-hidden", "data-a")
    places = [body]
    for _ in range(150):
        child = etree.SubElement(draw.choice(places), draw.choice(("div", "p", "section", "h1", "span")))
        for name in draw.sample(names, draw.randrange(3)):
            child.set(name, draw.choice(values))
        places.append(child)
    return body


@pytest.mark.parametrize("path", UNDERSTOOD)
def test_the_same_elements_in_the_same_order(path: str) -> None:
    exact = etree.XPath(path, namespaces=NAMESPACES)
    quick = prefiltered(exact)
    assert isinstance(quick, Prefiltered)
    found = [(exact(tree), quick(tree)) for tree in map(page, range(20))]
    assert all(one == other for one, other in found)
    assert any(one for one, _ in found)


@pytest.mark.parametrize("path", FIRST)
def test_the_first_element(path: str) -> None:
    exact = etree.XPath(path, namespaces=NAMESPACES)
    quick = prefiltered(exact, only_first=True)
    assert isinstance(quick, Prefiltered)
    assert all(exact(tree)[:1] == quick(tree) for tree in map(page, range(20)))
    assert prefiltered(exact) is exact


@pytest.mark.parametrize("path", LEFT)
def test_what_is_not_understood_is_left(path: str) -> None:
    exact = etree.XPath(path, namespaces=NAMESPACES)
    assert prefiltered(exact) is exact


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefilters, "_REMEMBERED", 2)
    exact = etree.XPath(UNDERSTOOD[1], namespaces=NAMESPACES)
    quick = prefiltered(exact)
    tree = page(1)
    assert exact(tree) == quick(tree)
    assert len(quick._seen) <= 2


def test_the_expressions_of_trafilatura_are_understood() -> None:
    from trafilatura import xpaths

    prefilters.quicken()
    kinds = [isinstance(one, Prefiltered) for name in prefilters._LISTS for one in getattr(xpaths, name)]
    assert kinds.count(True) >= 8
