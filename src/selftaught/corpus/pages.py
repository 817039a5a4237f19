"""Raw pages as they were served, kept in WARC files (ISO 28500), so that extraction can be run again without fetching."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from selftaught import storage
from selftaught.errors import DamagedFileError


@dataclass(frozen=True, kw_only=True)
class Page:
    """One response: its address after redirects is `final_url`; `body` is decompressed."""

    url: str
    final_url: str
    content_type: str
    body: bytes


def write_pages(path: Path, pages: Iterable[Page]) -> None:
    """Write pages as one WARC file, each record its own gzip member, as readers of WARC expect."""
    storage.write_bytes(path, b"".join(gzip.compress(_record(page), mtime=0) for page in pages))


def _record(page: Page) -> bytes:
    response = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (
        page.content_type.encode("latin-1", "replace"),
        len(page.body),
    )
    head = "\r\n".join(
        [
            "WARC/1.1",
            "WARC-Type: response",
            f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, page.url)}>",
            f"WARC-Date: {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            f"WARC-Target-URI: {page.final_url}",
            f"WARC-Source-URI: {page.url}",
            "Content-Type: application/http;msgtype=response",
            f"Content-Length: {len(response) + len(page.body)}",
            "",
            "",
        ]
    )
    return head.encode() + response + page.body + b"\r\n\r\n"


def read_pages(path: Path) -> Iterator[Page]:
    """The responses of one of our WARC files."""
    with storage.reading(path) as stream:
        while (version := stream.readline()) != b"":
            if not version.strip():
                continue
            if not version.startswith(b"WARC/"):
                raise DamagedFileError(f"{path} is not a WARC file", got=repr(version[:40]))
            fields = _fields(iter(stream.readline, b""))
            response = stream.read(int(fields["content-length"]))
            head, _, body = response.partition(b"\r\n\r\n")
            inner = _fields(iter(head.split(b"\r\n")[1:]))
            yield Page(
                url=fields.get("warc-source-uri", fields["warc-target-uri"]),
                final_url=fields["warc-target-uri"],
                content_type=inner.get("content-type", ""),
                body=body,
            )


def _fields(lines: Iterator[bytes]) -> dict[str, str]:
    fields = {}
    for line in lines:
        if not line.strip():
            break
        name, _, value = line.decode("utf-8", "replace").partition(":")
        fields[name.strip().lower()] = value.strip()
    return fields
