"""Main text of pages: what belongs to it, what does not, and pages that are none."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import get_args

import pytest
from lxml import etree

from selftaught.corpus.extractors import ExtractorName, _flattened, by_structure, extract_text, tidied
from selftaught.corpus.paragraphs import _counted, _prune, by_paragraphs
from tests.reference import paragraphs as slow
from tests.reference.words import f1

NAMES = get_args(ExtractorName)
SENTENCE = "Kettle number {} is cleaned with vinegar and water, which takes an hour and no work."


def sentences(first: int, last: int, tag: str = "p") -> str:
    return "".join(f"<{tag}>{SENTENCE.format(number)}</{tag}>" for number in range(first, last))


def numbers(text: str) -> list[int]:
    return [number for number in range(200) if SENTENCE.format(number) in text]


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_a_slow_count(seed: int) -> None:
    draw = random.Random(seed)
    root = etree.Element("body")
    elements = [root]
    for _ in range(60):
        child = etree.SubElement(draw.choice(elements), draw.choice(("div", "p", "span", "a", "td", "br")))
        child.text, child.tail = (draw.choice((None, " ", "few words ", "many words " * 6)) for _ in range(2))
        elements.append(child)
    for element, count in _counted(list(root.iter())).items():
        assert count.text == slow.text(element, linked=False)
        assert count.linked == slow.text(element, linked=True)
        assert count.paragraphs == slow.paragraphs(element)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_left_out_is_what_slow_pruning_leaves_out(seed: int) -> None:
    draw = random.Random(seed)
    body = etree.SubElement(etree.Element("html"), "body")
    elements = [body]
    for _ in range(60):
        child = etree.SubElement(draw.choice(elements[-20:]), draw.choice(("div", "span", "td")))
        child.text = draw.choice((None, "few words ", "many words " * 6))
        child.attrib.update(draw.choice(({}, {}, {"class": "comments"}, {"class": "share"}, {"hidden": ""})))
        child.attrib.update(draw.choice(({}, {}, {}, {"hidden": ""})))
        elements.append(child)
    counts = _counted(elements := list(body.iter()))
    _prune(elements, counts)
    gone = slow.prune(body)
    assert 0 < len(gone) < 40
    for element in elements:
        above = (element, *(other for other in element.iterancestors() if other in counts))
        is_gone = any(counts[other].gone for other in above)
        assert is_gone == (not gone.isdisjoint(above))
        assert is_gone or counts[element].text == slow.text(element, linked=False, gone=gone)
        assert is_gone or counts[element].paragraphs == slow.paragraphs(element, gone)


def test_a_discussion_longer_than_the_text_is_left_out() -> None:
    page = f"<div id=main><div>{sentences(0, 4)}</div><div class=user-comments>{sentences(50, 60)}</div></div>"
    assert numbers(by_paragraphs(page)[0]) == [0, 1, 2, 3]


def test_a_page_that_is_called_a_sidebar_is_kept() -> None:
    page = f"<body><div class='with-sidebar share'>{sentences(0, 9)}</div></body>"
    assert numbers(by_paragraphs(page)[0]) == list(range(9))


@pytest.mark.parametrize(
    "attribute", ["style='display: none'", "style='VISIBILITY:hidden'", "hidden", "aria-hidden=true"]
)
def test_what_nobody_sees_is_left_out(attribute: str) -> None:
    page = f"<article>{sentences(0, 9)}<div {attribute}>{sentences(9, 10)}</div></article>"
    assert numbers(by_paragraphs(page)[0]) == list(range(9))


def test_what_surrounds_a_text_is_left_out() -> None:
    links = "".join(f"<li><a href=/{number}>Another page</a>" for number in range(9))
    page = f"<div><ul>{links}</ul></div><div><h1>Kettles</h1>{sentences(0, 9)}<ul>{links}</ul></div><p>Imprint</p>"
    assert by_paragraphs(page)[0].splitlines() == ["Kettles", *map(SENTENCE.format, range(9))]


def test_lists_tables_and_code_stay_readable() -> None:
    page = f"""<article>{sentences(0, 3)}<pre><code>if x:\n    y()\n</code></pre><ul><li>one <b>bold</b>\nend<li><p>two</p></ul>
    <table><tr><th>Name<th>Size<tr><td>ab<td>12<tr><td><td>3</table><p>One line<br>and the next</p></article>"""
    lines = "if x:\n    y()\n- one bold end\n- two\nName | Size\nab | 12\n3\nOne line\nand the next"
    assert by_paragraphs(page)[0].endswith("\n" + lines)
    assert "if x:\n    y()\n" in extract_text(page.encode(), "text/html")
    assert "Name | Size\nab | 12\n" in extract_text(page.encode(), "text/html")


def test_a_table_that_lays_out_a_page_is_no_table() -> None:
    page = f"<table><tr><td><a href=/>Home</a></td><td>{sentences(0, 3)}</td></tr></table>"
    assert by_paragraphs(page)[0].splitlines() == [*map(SENTENCE.format, range(3))]


@pytest.mark.parametrize(
    "sentence",
    [
        "これは日本語の文章です。とても長い文章なので段落です。",
        "هذا نص عربي طويل بما يكفي ليكون فقرة. ",
        "Это достаточно длинный русский текст. ",
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_other_scripts(sentence: str, name: ExtractorName) -> None:
    page = f"<meta charset=utf-8><div class=menu>x</div><article>{f'<p>{sentence * 3}</p>' * 4}</article>"
    lines = [line.strip() for line in extract_text(page.encode(), "text/html", name).splitlines()]
    assert lines == [(sentence * 3).strip()] * 4


@pytest.mark.parametrize("name", NAMES)
def test_text_that_only_scripts_show_is_found(name: ExtractorName) -> None:
    told = "\n\n".join(map(SENTENCE.format, range(9)))
    data = json.dumps({"@type": "NewsArticle", "articleBody": told})
    page = f"<script type='application/ld+json'>{data}</script><body><div id=app><p>Loading</p></div></body>"
    assert numbers(extract_text(page.encode(), "text/html", name)) == list(range(9))
    page = f"<body><div id=app>Loading</div><noscript>{sentences(0, 9)}</noscript></body>"
    assert numbers(extract_text(page.encode(), "text/html", name)) == list(range(9))
    page = f"<frameset><frame src=a><noframes><body>{sentences(0, 9)}</body></noframes></frameset>"
    assert numbers(extract_text(page.encode(), "text/html", name)) == list(range(9))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_page_has_no_text(name: ExtractorName) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(9000)
    for body in (picture, b"%PDF-1.7\n1 0 obj", b"", b" \n"):
        assert extract_text(body, "text/html", name) == ""


def test_few_paragraphs_are_given_up_for_what_the_other_extractor_finds() -> None:
    items = "".join(f"<li>Item number {number}, rather short.</li>" for number in range(99))
    page = f"<p>{SENTENCE.format(0)}</p><div class=caption>{items}</div>"
    assert "Item number 98" in by_structure(page)


@pytest.mark.parametrize("mark", ["<div>", "<div class=comment>", "<b>", "<table><tr><td>", "<ul><li>"])
def test_a_page_may_be_nested_deeply(mark: str) -> None:
    assert isinstance(by_paragraphs(mark * 5000 + sentences(0, 3))[0], str)


@pytest.mark.parametrize("closed", ["", "</div>" * 20_000])
def test_text_in_too_many_divisions_is_found(closed: str) -> None:
    page = "<div>" * 20_000 + sentences(0, 9) + closed + "<DIV class=x>Behind</DIV>"
    assert numbers(extract_text(page.encode(), "text/html")) == list(range(9))
    flat = _flattened(page)
    assert flat.lower().count("<div") == 250 + (1 if closed else 0)
    assert flat.count("</div>") == min(len(closed), 250)


def test_no_real_page_is_flattened(shared_data: Path) -> None:
    pages = [gzip.decompress(file.read_bytes()) for file in shared_data.glob("html/readability/pages/*.gz")]
    assert pages
    assert all(_flattened(html) == html for html in (page.decode("utf-8", "replace") for page in pages))


PAGE = """<html><head><title>t</title><script>var x = "never";</script></head><body><nav><a href="/">Home</a></nav><article>
<h1>Kettles</h1>{}</article><footer>Imprint</footer></body></html>"""


def test_the_main_text_of_a_page_is_found() -> None:
    paragraphs = [
        f"Paragraph {number} tells how a kettle&nbsp;is cleaned with vinegar and water." for number in range(6)
    ]
    text = extract_text(PAGE.format("".join(f"<p>{one}</p>" for one in paragraphs)).encode(), "text/html")
    assert all(one.replace("&nbsp;", " ") in text for one in paragraphs)
    assert "never" not in text


def test_layout_is_left_out() -> None:
    assert tidied("|  | cell\u00a0one |  | two |\nplain | text\n|  |") == "cell one | two\nplain | text\n"


@pytest.mark.parametrize(
    "body", [b"", b"\x00\xff\xfe", b"<p", b"<" * 5000, b"<div>" * 3000, b"<?xml encoding='x'?><p>"]
)
@pytest.mark.parametrize("extractor", ["quality", "fast"])
def test_no_page_is_too_broken(body: bytes, extractor: ExtractorName) -> None:
    assert isinstance(extract_text(body, "text/html", extractor), str)


FLOORS = {"readability": (0.944, 0.953), "cleaneval-dev": (0.870, 0.870), "dragnet-part": (0.913, 0.892)}
"""F1 of words that `quality` and `fast` had when they were chosen, less half a hundredth."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOORS)
def test_extraction_does_not_fall_below_what_it_was(shared_data: Path, name: str) -> None:
    folder = shared_data / "html" / name
    rows = [json.loads(line) for gold in folder.glob("gold*.jsonl") for line in gold.read_bytes().splitlines()]
    pages = [(gzip.decompress((folder / row["file"]).read_bytes()), row["gold_text"]) for row in rows]
    for extractor, floor in zip(get_args(ExtractorName), FLOORS[name], strict=True):
        found = [f1(extract_text(body, "text/html", extractor), gold) for body, gold in pages]
        assert sum(found) / len(found) >= floor, extractor


STRINGS_FLOORS = (0.946, 0.931)


@pytest.mark.slow
def test_strings_that_must_and_must_not_be_found(shared_data: Path) -> None:
    folder = shared_data / "html" / "trafilatura-part"
    rows = [json.loads(line) for gold in folder.glob("gold*.jsonl") for line in gold.read_bytes().splitlines()]
    for extractor, floor in zip(get_args(ExtractorName), STRINGS_FLOORS, strict=True):
        right = wrong = wanted = 0
        for row in rows:
            text = plain(extract_text(gzip.decompress((folder / row["file"]).read_bytes()), "text/html", extractor))
            right += sum(plain(one) in text for one in row["must_contain"])
            wrong += sum(plain(one) in text for one in row["must_not_contain"])
            wanted += len(row["must_contain"])
        assert 2 * right / (right + wrong + wanted) >= floor, extractor


def plain(text: str) -> str:
    return " ".join(text.split())


def test_plain_text_is_taken_as_it_is() -> None:
    assert extract_text("é".encode(), "text/plain; charset=utf-8") == "é"
