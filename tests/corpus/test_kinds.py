"""Responses that say they are pages and are data."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from selftaught.corpus import extraction
from selftaught.corpus.documents import Funnel
from selftaught.corpus.extractors import extract_text
from selftaught.corpus.kinds import data_kind
from selftaught.corpus.pages import Page, write_pages
from tests.corpus.test_extractors import sentences

SENTENCE = "Kettle number 5 is cleaned with vinegar and water, which takes an hour and no work."
ROWS = [{"id": number, "text": SENTENCE, "html": f"<p>{SENTENCE}</p>"} for number in range(30)]
FEED = f"<item><title>Kettles</title><description>{SENTENCE}</description></item>" * 9
DATA = {
    "an object": (json.dumps(ROWS[0]), "JSON"),
    "an empty object": ("{}", "JSON"),
    "a list of objects": (json.dumps(ROWS, indent=2), "JSON"),
    "cut short": (json.dumps(ROWS)[:1000], "JSON"),
    "lines": ("\n".join(map(json.dumps, ROWS)), "JSON"),
    "a list of lists": (json.dumps([[SENTENCE, 1]] * 9), "JSON"),
    "a list of strings": (json.dumps([SENTENCE] * 9), "JSON"),
    "a call": (f"angular.callbacks._0({json.dumps(ROWS)});", "JSON"),
    "guarded": (f")]}}',\n{json.dumps(ROWS)}", "JSON"),
    "a feed": (
        f'\n<?xml version="1.0"?>\n<!-- of a->b --><?xml-stylesheet?><rss><channel>{FEED}</channel></rss>',
        "XML",
    ),
    "a bare feed": (f"<rss version='2.0'><channel>{FEED}</channel></rss>", "XML"),
    "names with prefixes": (f"<?xml version='1.0'?><a:feed xmlns:a='x'>{FEED}</a:feed>", "XML"),
    "a picture of lines": ("<?xml version='1.0'?><!DOCTYPE svg PUBLIC 'x'><svg><text>words</text></svg>", "XML"),
    "commas": ("id,name,price\n" + f'1,"Kettle, of iron",3.50\n2,{SENTENCE[:30]},\n' * 300, "table"),
    "tabs": ("id\tname\tprice\n" + f"1\t{SENTENCE}\t2\n" * 4, "table"),
    "a paper": ("%PDF-1.7\n1 0 obj", "PDF"),
    "noise": ("".join(map(chr, range(1, 128))) * 9, "binary"),
}
PAGES = {
    "a page": f"<!DOCTYPE html><html><body>{sentences(0, 9)}",
    "XHTML": f"<?xml version='1.0'?><!DOCTYPE html PUBLIC 'x'><html xmlns='y'><body>{sentences(0, 9)}</body></html>",
    "XHTML without its root": f"<?xml version='1.0'?><main>{sentences(0, 9)}</main>",
    "a page with data": f"<p>{{</p><script>{json.dumps(ROWS)}</script>{sentences(0, 9)}",
    "a page behind braces": f"{{% load x %}}{{{{ title }}}}<html><body>{sentences(0, 9)}",
    "text": f"{SENTENCE}\n" * 9,
    "text in brackets": f'["Kettles," he said] {SENTENCE}\n' * 9,
    "an aside in brackets": f"[{SENTENCE}]",
    "text with a colon": f'{{so to say}} "a": {SENTENCE}',
    "verses": "One, two\nThree, four, five\nSix\nSeven, eight\nNine\nTen\n",
    "nothing": "",
    "text behind many blanks": "\n" * 5000 + SENTENCE,
    "blanks": " " * 5000,
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("content_type", ["text/html", "text/plain; charset=utf-8"])
def test_data_gives_no_text(name: str, content_type: str) -> None:
    text, kind = DATA[name]
    assert data_kind(text) == kind
    assert extract_text(text.encode(), content_type, "fast") == ""


@pytest.mark.parametrize("name", PAGES)
def test_pages_and_texts_are_no_data(name: str) -> None:
    assert data_kind(PAGES[name]) == ""


@pytest.mark.parametrize(
    "text", ["<?xml version='1.0'?>" + "<!---->" * 500, "[" * 9000 + "]" * 9000, "a" * 9000, '{"' * 9000]
)
def test_looking_ends_on_what_is_made_to_hold_it_up(text: str) -> None:
    assert data_kind(text) in ("", "JSON")


def test_the_funnel_says_what_it_was(tmp_path: Path) -> None:
    bodies = [PAGES["a page"], "<p></p>", *(text for text, _ in DATA.values())]
    pages = [
        Page(url=f"http://a.org/{number}", final_url="", content_type="text/html", body=body.encode())
        for number, body in enumerate(bodies)
    ]
    write_pages(tmp_path / "00.warc.gz", pages)
    funnel = Funnel()
    rules = extraction.ExtractionSettings(extractor="fast", processes=1)
    extraction.extract([tmp_path / "00.warc.gz"], tmp_path / "documents.jsonl", funnel, rules)
    counts = {reason: count for (stage, reason), count in funnel.counts.items() if stage == extraction.STAGE and reason}
    assert counts == {"kept": 1, "no text": 1, **Counter(kind for _, kind in DATA.values())}
