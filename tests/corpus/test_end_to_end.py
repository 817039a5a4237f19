"""Real pages, served under their own addresses among hostile ones: each submission ends as a document or as a counted reason."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from selftaught.corpus import documents
from selftaught.corpus.building import BuildSettings, build_corpus
from selftaught.corpus.documents import Drop
from selftaught.corpus.extraction import ExtractionSettings
from tests.corpus.test_hostile_servers import Places, Server, answer

HOSTILE = ("/drip", "/endless", "/bomb", "/short", "/not-gzip", "/garbage", "/header", "/nul", "/deep", "/to-wikipedia")


def served(folder: Path) -> dict[str, bytes]:
    """The pages of a set by their addresses; TLS is not what is tested here."""
    rows = [json.loads(line) for gold in folder.glob("gold*.jsonl") for line in gold.read_bytes().splitlines()]
    return {
        row["url"].replace("https://", "http://"): gzip.decompress((folder / row["file"]).read_bytes())
        for row in rows
        if row["url"] and not urlsplit(row["url"]).query
    }


@pytest.mark.slow
def test_real_pages_from_submissions_to_a_corpus(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = served(shared_data / "html" / "trafilatura-part")
    assert len(pages) > 80
    by_path = {(urlsplit(url).hostname or "", urlsplit(url).path or "/"): body for url, body in pages.items()}
    original = Server.reply

    def reply(self: Server, path: str, request: str) -> object:
        host = request.lower().partition("host: ")[2].partition("\r\n")[0]
        body = by_path.get((host, path))
        return answer(body) if body is not None else original(self, path, request)

    class Everywhere(Places):
        def __contains__(self, host: object) -> bool:
            return True

    monkeypatch.setattr(Server, "reply", reply)
    urls = [*pages, *(f"http://h{number}.test{path}" for number, path in enumerate(HOSTILE)), *list(pages)[:5]]
    rows = [
        {"id": f"s{n}", "url": url, "score": n % 9, "subreddit": "r", "created_utc": n} for n, url in enumerate(urls)
    ]
    submissions = tmp_path / "rows.jsonl"
    submissions.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    rules = BuildSettings(
        heldout=0.3,
        timeout_seconds=3,
        first_pause_seconds=0.01,
        concurrent=8,
        extraction=ExtractionSettings(extractor="fast"),
    )
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        funnel = build_corpus([submissions], tmp_path / "out", settings=rules, places=Everywhere(server))
        server.shutdown()
        thread.join()
    counts = {(row.stage, row.reason): row.count for row in funnel}
    for stage in ("links", "fetch", "extract", "clean", "duplicates"):
        assert counts[stage, ""] == sum(n for (name, reason), n in counts.items() if name == stage and reason), stage
    assert counts["links", ""] == len(urls)
    assert counts["clean", "kept"] >= 0.5 * len(pages)
    drops = list(documents.read_rows(tmp_path / "out" / documents.DROPS_FILE, Drop))
    kept = [row for split in documents.SPLITS for row in documents.read(tmp_path / "out", split)]
    assert len(drops) + len(kept) == len(urls)
    assert all(row.karma is not None and row.source == "r" and row.date == "1970-01-01" for row in kept)
