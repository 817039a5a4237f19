"""kill -9 anywhere, and the same command again gives the documents of a run that nobody stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from selftaught.corpus import documents
from selftaught.corpus.building import EXTRACTED_FILE, PAGES
from selftaught.corpus.documents import Document
from selftaught.corpus.pages import read_pages
from tests.corpus.test_fetching import HOST, Site
from tests.corpus.test_stage_folders import HTML, prose

PROGRAM = """
import sys, time
from pathlib import Path
from selftaught import storage
from selftaught.corpus import building, extraction, fetching
write_jsonl = storage.write_jsonl
def wait_to_be_killed(path, rows):
    while len(list(Path(sys.argv[2]).glob(sys.argv[4]))) > int(sys.argv[5]):
        time.sleep(0.01)
    return write_jsonl(path, rows)
if __name__ == "__main__":
    if sys.argv[4:]:
        storage.write_jsonl = wait_to_be_killed
    fetching._BATCH_LINKS = 4
    rules = building.BuildSettings(
        heldout=0.3, timeout_seconds=600, per_host=1, concurrent=1, extraction=extraction.ExtractionSettings(extractor="fast")
    )
    building.build_corpus([sys.argv[1]], sys.argv[2], settings=rules, places={"HOST": ("127.0.0.1", int(sys.argv[3]))})
"""


def start(program: Path, submissions: Path, out: Path, site: Site, *waits: str) -> subprocess.Popen[bytes]:
    """The program; it writes no further rows where more files than a number fit a pattern."""
    command = [sys.executable, str(program), str(submissions), str(out), str(site.server.server_address[1]), *waits]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def kill_when(process: subprocess.Popen[bytes], out: Path, pattern: str, count: int) -> None:
    """Kill the program and all that it started as soon as there are so many files; fail if it ends before."""
    while len(list(out.glob(pattern))) < count:
        assert process.poll() is None, "ended before it was killed"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_while_fetching_and_while_extracting(tmp_path: Path) -> None:
    site = Site()
    for number in range(40):
        site.more[f"/{number}"] = (200, HTML, f"<html><body><article>{prose(number)}</article></body></html>".encode())
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    program, submissions = tmp_path / "program.py", tmp_path / "rows.jsonl"
    program.write_text(PROGRAM.replace("HOST", HOST), encoding="utf-8")
    rows = [{"id": str(n), "url": f"http://{HOST}/{n}", "score": 3 + n % 7, "subreddit": "r"} for n in range(40)]
    submissions.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    try:
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        assert start(program, submissions, whole, site).wait() == 0
        pages, parts = killed / PAGES, killed / (EXTRACTED_FILE + ".parts")
        outcomes, extracted = f"{PAGES}/*.outcomes.jsonl", f"{EXTRACTED_FILE}.parts/*.zst"
        for pattern, count in ((outcomes, 2), (outcomes, 6), (extracted, 3)):
            kill_when(start(program, submissions, killed, site, pattern, str(count)), killed, pattern, count)
        before = {path: path.stat().st_mtime_ns for path in parts.glob("*.zst")}
        asked = sum(site.asked.values())
        assert start(program, submissions, killed, site).wait() == 0
    finally:
        site.server.shutdown()
        thread.join()
        site.server.server_close()
    assert before
    assert sum(site.asked.values()) == asked  # what was fetched is not fetched again
    assert sorted(page.url for file in pages.glob("*.warc.zst") for page in read_pages(file)) == sorted(
        str(row["url"]) for row in rows
    )

    def read(folder: Path) -> list[list[Document]]:
        return [list(documents.read(folder, split)) for split in documents.SPLITS]

    assert read(killed) == read(whole)
    assert documents.read_funnel(killed) == documents.read_funnel(whole)
    assert [row.karma for row in read(whole)[0]] == sorted((row.karma for row in read(whole)[0]), reverse=True)  # type: ignore[type-var]
