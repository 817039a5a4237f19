"""Stages one at a time come to what the whole comes to, and each can be run again."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.cli import corpus as verb
from selftaught.corpus import documents, stages
from selftaught.corpus.building import BuildSettings, build_corpus
from selftaught.corpus.documents import Document, Drop
from selftaught.corpus.finishing import SplitSettings
from selftaught.corpus.politeness import FetchSettings
from selftaught.errors import InputError, MismatchError
from tests.corpus.test_fetching import HOST, Site

HTML = {"Content-Type": "text/html; charset=utf-8"}


def prose(seed: int) -> str:
    draw = random.Random(seed)
    sentences = (" ".join("".join(draw.choices("abcdefg", k=6)) for _ in range(12)) for _ in range(8))
    return "".join(f"<p>{sentence.capitalize()}.</p>" for sentence in sentences)


@pytest.fixture
def places() -> Iterator[dict[str, tuple[str, int]]]:
    site = Site()
    for number in range(14):
        body = prose(number if number < 12 else 1)
        site.more[f"/{number}"] = (200, HTML, f"<html><body><article>{body}</article></body></html>".encode())
    site.more["/12"] = (200, HTML, b"<p></p>")
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    yield {HOST: ("127.0.0.1", site.server.server_address[1])}
    site.server.shutdown()
    thread.join()
    site.server.server_close()


@pytest.fixture
def submissions(tmp_path: Path) -> Path:
    rows = [{"id": str(n), "url": f"http://{HOST}/{n}", "score": 30 - n, "subreddit": "r"} for n in range(16)]
    path = tmp_path / "submissions.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, {"id": "low", "url": "http://a.org/", "score": 1}])))
    return path


def test_stage_by_stage_is_the_same_as_all_at_once(
    places: dict[str, tuple[str, int]], submissions: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    rows = build_corpus([submissions], whole, settings=BuildSettings(heldout=0.3, timeout_seconds=600), places=places)
    folder = {name: tmp_path / name for name in ("links", "fetch", "again", "extract", "clean", "dedup", "split")}
    stages.collect_links([submissions], folder["links"])
    stages.fetch_pages(folder["links"], folder["fetch"], FetchSettings(timeout_seconds=600), places=places)
    stages.extract_documents([folder["fetch"]], folder["extract"])
    stages.clean_documents(folder["extract"], folder["clean"])
    stages.deduplicate_documents(folder["clean"], folder["dedup"])
    stages.split_documents(folder["dedup"], folder["split"], SplitSettings(heldout=0.3))
    assert documents.read_funnel(folder["split"]) == rows
    counts = {(row.stage, row.reason): row.count for row in rows}
    assert (
        counts["links", "karma below 3"] == counts["extract", "no text"] == counts["duplicates", "exact duplicate"] == 1
    )
    assert counts["fetch", "status 404"] == 2
    for split in documents.SPLITS:
        assert list(documents.read(folder["split"], split)) == list(documents.read(whole, split))
    kept = [list(documents.read_rows(path / documents.DROPS_FILE, Drop)) for path in (whole, folder["split"])]
    assert kept[0] == kept[1]

    stages.extract_documents([whole], folder["again"])
    assert documents.read_funnel(folder["again"]) == documents.read_funnel(folder["extract"])


def test_rows_do_not_go_through_a_stage_twice_unless_a_new_funnel_is_begun(tmp_path: Path) -> None:
    rows = [Document(id=str(number), text=prose(number)) for number in range(5)]
    storage.write_jsonl(tmp_path / "rows.jsonl.zst", rows)
    verb.run(["clean", str(tmp_path / "rows.jsonl.zst"), "--out", str(tmp_path / "clean")])
    assert documents.count(tmp_path / "clean" / stages.DOCUMENTS_FILE) == 5
    with pytest.raises(MismatchError, match="through clean before"):
        stages.clean_documents(tmp_path / "clean", tmp_path / "more")
    stages.clean_documents(tmp_path / "clean" / stages.DOCUMENTS_FILE, tmp_path / "more")


def test_folders_that_are_not_what_a_stage_reads(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected links\.jsonl\.zst"):
        stages.fetch_pages(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="no pages in"):
        stages.extract_documents([tmp_path], tmp_path / "out")
    with pytest.raises(InputError, match="no documents in"):
        stages.clean_documents(tmp_path, tmp_path / "out")
    storage.write_jsonl(tmp_path / "rows.jsonl", [Document(id="1", text="short")])
    with pytest.raises(InputError, match="no documents are left; got dropped: 1 short"):
        stages.clean_documents(tmp_path / "rows.jsonl", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.zst"))
