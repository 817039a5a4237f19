"""Pages to text, and the default web: what is served, linked to, fetched and kept."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import get_args

import pytest

from selftaught.corpus import building, documents, standard_library
from selftaught.corpus.building import BuildSettings, build_default
from selftaught.corpus.extractors import ExtractorName, extract_text, tidied
from tests.reference.words import f1

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


FLOORS = {"readability": (0.941, 0.945), "cleaneval-dev": (0.860, 0.845), "dragnet-part": (0.913, 0.842)}
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


STRINGS_FLOORS = (0.943, 0.888)


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


def test_the_default_web_has_what_it_must_have() -> None:
    assert "Encoder" in standard_library.render("/json.html")
    assert "statement" in standard_library.render("/topic/for")
    assert standard_library.render("/no_such_module.html") == ""
    rows = standard_library.submissions()
    assert len({row["id"] for row in rows}) == len(rows) > 300
    scores = {row["url"]: row["score"] for row in rows}
    assert scores[f"http://{standard_library.HOST}/os.html"] > 50  # type: ignore[operator]
    assert any(isinstance(score, int) and score < 3 for score in scores.values())


def test_the_default_web_becomes_a_corpus_and_a_second_start_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {
        "json",
        "re",
        "csv",
        "glob",
        "shutil",
        "socket",
        "string",
        "argparse",
        "random",
        "heapq",
        "struct",
        "textwrap",
    }
    rows = standard_library.submissions()
    chosen = [
        row for row in rows if str(row["title"]).removeprefix("pydoc: ") in kept or "pydoc: " not in str(row["title"])
    ]
    chosen = [row for row in chosen if "help topic" not in str(row["title"])]
    monkeypatch.setattr(
        standard_library, "submissions", lambda: [dict(row, score=max(3, int(str(row["score"])))) for row in chosen]
    )
    rules = BuildSettings(heldout=0.3)
    counts = {(row.stage, row.reason): row.count for row in build_default(tmp_path, settings=rules)}
    assert counts["links", "repost"] == counts["links", "wikipedia"] == counts["links", "media file"] == 1
    assert counts["fetch", "robots.txt"] == counts["fetch", "status 404"] == counts["fetch", "status 500"] == 1
    assert counts["duplicates", "exact duplicate"] == 1
    assert counts["split", "train"] + counts["split", "heldout"] == len(kept)
    texts = {row.title: row for row in documents.read(tmp_path)}
    assert all("\u00a0" not in row.text and row.karma is not None for row in texts.values())

    fetched = {path.name: path.stat().st_mtime_ns for path in (tmp_path / building.PAGES).iterdir()}
    assert {(row.stage, row.reason): row.count for row in build_default(tmp_path, settings=rules)} == counts
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / building.PAGES).iterdir()} == fetched
