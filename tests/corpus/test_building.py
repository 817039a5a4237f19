"""The default web: what is served, linked to, fetched and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from selftaught.corpus import building, documents, standard_library
from selftaught.corpus.building import BuildSettings, build_default


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
    rules = BuildSettings(heldout=0.3, timeout_seconds=600)
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
