"""WARC files of ours and of others."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.corpus import documents, stages
from selftaught.corpus.building import BuildSettings, build_corpus
from selftaught.corpus.documents import Document
from selftaught.corpus.extraction import ExtractionSettings
from selftaught.corpus.links import Link
from selftaught.corpus.pages import ENDINGS, Page, find_archives, read_pages, write_pages
from selftaught.errors import InputError
from tests.corpus.test_stage_folders import prose

FAST = ExtractionSettings(extractor="fast")


@given(st.lists(st.tuples(st.binary(max_size=300), st.text(max_size=20)), max_size=5), st.sampled_from(ENDINGS))
def test_pages_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[bytes, str]], ending: str
) -> None:
    path = tmp_path_factory.mktemp("pages") / f"00{ending}"
    pages = [
        Page(
            url=f"http://a.org/{number}",
            final_url=f"http://b.org/{number}",
            content_type="text/html; charset=utf-8",
            body=body + b"\r\n\r\nWARC/1.1\r\n",
            link=Link(url=f"http://a.org/{number}", karma=number, title=title),
        )
        for number, (body, title) in enumerate(found)
    ]
    write_pages(path, pages)
    assert list(read_pages(path)) == pages


def test_each_record_is_a_member_of_its_own_so_that_readers_may_begin_anywhere(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.warc.gz", [Page(url="u:", final_url="u:", content_type="text/html", body=b"x")] * 3)
    data, members = (tmp_path / "a.warc.gz").read_bytes(), 0
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        start = stream.tell()
        end = data.find(b"\x1f\x8b\x08", start + 1)
        end = len(data) if end < 0 else end
        assert gzip.decompress(data[start:end]).startswith(b"WARC/1.1\r\nWARC-Type: response")
        stream.seek(end)
        members += 1
    assert members == 3


def crawled(url: str, body: bytes, *, status: str = "200 OK", kind: str = "text/html", headers: bytes = b"") -> bytes:
    """A record as other crawlers write it."""
    http = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n".encode() + headers + b"\r\n" + body
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Type: application/http; msgtype=response\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(http) + http + b"\r\n\r\n"


def page(number: int) -> bytes:
    return f"<html><body><article>{prose(number)}</article></body></html>".encode()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """What Common Crawl's files hold: other records, chunks, compressed bodies, pages in all states."""
    squeezed = gzip.compress(page(2))
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(squeezed), squeezed)
    records = [
        b"WARC/1.0\r\nWARC-Type: warcinfo\r\nContent-Length: 4\r\n\r\nabcd\r\n\r\n",
        crawled("https://www.one.example/page", page(1)),
        crawled("http://two.example/", chunks, headers=b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n"),
        crawled("http://three.example/", b"", status="404 Not Found"),
        crawled("http://four.example/", b"png", kind="image/png"),
        crawled("http://nobody.example/links-to-this", page(5)),
    ]
    folder = tmp_path / "crawl"
    folder.mkdir()
    (folder / "CC-MAIN-00000.warc.gz").write_bytes(b"".join(map(gzip.compress, records)))
    return folder


def test_pages_of_common_crawl_are_joined_with_links(archive: Path, tmp_path: Path) -> None:
    rows = [
        {"url": "http://one.example/page", "score": 5, "subreddit": "a"},
        {"url": "http://two.example/", "score": 9, "subreddit": "b"},
        {"url": "http://three.example/", "score": 9},
        {"url": "http://four.example/", "score": 9},
        {"url": "http://five.example/", "score": 9},
    ]
    submissions = tmp_path / "rows.jsonl"
    submissions.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    rules = BuildSettings(heldout=0.4, extraction=FAST)
    counts = {
        (row.stage, row.reason): row.count
        for row in build_corpus([submissions], tmp_path / "built", settings=rules, archives=[archive])
    }
    assert counts["archive", ""] == 5
    assert counts["archive", "not linked to"] == counts["archive", "status 404"] == 1
    assert counts["archive", "content type image/png"] == 1
    stages.collect_links([submissions], tmp_path / "links")
    stages.extract_documents([archive], tmp_path / "extracted", FAST, links=tmp_path / "links")
    found = list(documents.read_rows(tmp_path / "extracted" / stages.DOCUMENTS_FILE, Document))
    assert [(row.url, row.karma, row.source) for row in found] == [
        ("http://two.example/", 9, "b"),
        ("http://one.example/page", 5, "a"),
    ]


def test_pages_of_any_archive_without_links(archive: Path, tmp_path: Path) -> None:
    stages.extract_documents([archive], tmp_path / "extracted", FAST)
    found = list(documents.read_rows(tmp_path / "extracted" / stages.DOCUMENTS_FILE, Document))
    assert [row.url for row in found] == [
        "http://nobody.example/links-to-this",
        "http://two.example/",
        "https://www.one.example/page",
    ]


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pages in .*expected files ending in \.warc\.zst"):
        find_archives([tmp_path])
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(b"hello"))
    with pytest.raises(InputError, match=r"a\.warc\.gz is not a WARC file"):
        list(read_pages(tmp_path / "a.warc.gz"))
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(crawled("http://a.example/", page(1)))[:-20])
    with pytest.raises(InputError, match="cut short"):
        list(read_pages(tmp_path / "a.warc.gz"))
