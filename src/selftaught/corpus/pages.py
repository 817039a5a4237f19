"""Raw pages as they were served, kept in WARC files (ISO 28500), so that extraction can be run again without fetching.

What is written here, other tools read, and the other way round: FastWARC reads the archives of Common Crawl and other crawlers.
"""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from selftaught import storage
from selftaught.corpus.links import Link
from selftaught.errors import InputError

Compression = Literal["zst", "gz"]
ENDINGS = (".warc.zst", ".warc.gz", ".warc")
KINDS = frozenset(("text/html", "application/xhtml+xml", "text/plain"))
"""Content types that are pages."""
_SUBMISSION = "Selftaught-Submission"
_LARGEST_BYTES = 64 << 20
"""Larger responses of other people's archives are dropped."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One response: its address after redirects is `final_url`; `body` is decompressed; `link` is the submission of `url`."""

    url: str
    final_url: str
    content_type: str
    body: bytes
    link: Link | None = None
    problem: str = ""
    """Why this response of an archive is no page: `status 404`, `content type image/png`, `too large`."""


def write_pages(path: Path, pages: Iterable[Page]) -> None:
    """Write pages as one WARC file, .zst or .gz by its name, each record its own frame or member, as readers expect."""
    compress = _compressor(path)
    with storage.writing(path) as stream:
        for page in pages:
            stream.write(compress(_record(page)))


def _compressor(path: Path) -> Callable[[bytes], bytes]:
    if path.suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor(level=3).compress
    if path.suffix == ".gz":
        return lambda data: zlib.compress(data, level=6, wbits=31)
    return lambda data: data


def _record(page: Page) -> bytes:
    response = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (
        page.content_type.encode("latin-1", "replace"),
        len(page.body),
    )
    head = [
        "WARC/1.1",
        "WARC-Type: response",
        f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, page.url)}>",
        f"WARC-Date: {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        f"WARC-Target-URI: {page.final_url}",
        f"WARC-Source-URI: {page.url}",
        *([f"{_SUBMISSION}: {json.dumps(msgspec.structs.asdict(page.link))}"] if page.link else []),
        "Content-Type: application/http;msgtype=response",
        f"Content-Length: {len(response) + len(page.body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + response + page.body + b"\r\n\r\n"


def find_archives(paths: Iterable[Path]) -> list[Path]:
    """All WARC files at or below the given places, in a fixed order. Raises InputError if there are none."""
    given = list(paths)
    found = [
        file
        for path in given
        for file in ([path] if path.is_file() else sorted(path.rglob("*.warc*")))
        if file.name.endswith(ENDINGS)
    ]
    if not found:
        raise InputError(
            f"no pages in {', '.join(map(str, given))}",
            expected=f"files ending in {', '.join(ENDINGS)}, or a folder of them",
            hint="Type: selftaught corpus fetch LINKS --out DIR",
        )
    return found


def read_pages(path: Path) -> Iterator[Page]:
    """The responses of one WARC file, ours or anybody's; `problem` says which are no pages.

    Raises InputError where the file is cut short or none.
    """
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with storage.reading(path) as stream:
        records = ArchiveIterator(
            cast("Any", _Checked(stream, path)), record_types=WarcRecordType.response, auto_decode="none"
        )
        while (record := _next(records, path)) is not None:
            if record.http_headers is not None:
                yield _page(record)


def _next(records: Iterator[Any], path: Path) -> Any:
    try:
        return next(records, None)
    except BaseException as problem:
        if type(problem).__name__ != "PanicException":  # what FastWARC raises where a file is damaged, no Exception
            raise
        raise InputError(f"{path} is damaged", got=str(problem)) from None


class _Checked:
    """What FastWARC reads from: the decompressed bytes, which must begin as a WARC file does."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path, self._place = stream, path, 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes."""
        data: bytes = self._stream.read(size)
        if not self._place and data and not data.lstrip().startswith(b"WARC/"):
            raise InputError(f"{self._path} is not a WARC file", got=repr(data[:40]))
        self._place += len(data)
        return data

    def tell(self) -> int:
        """How many bytes were read; FastWARC wants to know."""
        return self._place

    def close(self) -> None:
        """Nothing: the file is closed by who opened it."""


def _body(raw: bytes, http: Any) -> tuple[bytes, str]:
    """A body without the transfer's chunks and compression, or why it cannot be had."""
    try:
        if (http.get("Transfer-Encoding") or "").lower() == "chunked":
            raw = _without_chunks(raw)
        if (http.get("Content-Encoding") or "").lower() in ("gzip", "x-gzip", "deflate"):
            raw = _decompressed(raw)
    except (ValueError, zlib.error):
        return b"", "wrong encoding"
    return (raw, "") if len(raw) <= _LARGEST_BYTES else (b"", "too large")


def _without_chunks(raw: bytes) -> bytes:
    """The body of chunks; as it is if it is none, for some crawlers undo them and keep the header."""
    body, place = bytearray(), 0
    while (end := raw.find(b"\r\n", place)) >= 0:
        try:
            size = int(raw[place:end].partition(b";")[0], 16)
        except ValueError:
            if not body:
                return raw
            raise
        if not size:
            break
        body += raw[end + 2 : end + 2 + size]
        place = end + 4 + size
    return bytes(body)


def _decompressed(raw: bytes) -> bytes:
    """A gzip or deflate body; as it is if it begins like neither, for some crawlers undo compression and keep the header."""
    if not raw.startswith((b"\x1f\x8b", b"\x78")):
        return raw
    return zlib.decompressobj(wbits=47).decompress(raw, _LARGEST_BYTES + 1)


def _page(record: Any) -> Page:
    headers, http = record.headers, record.http_headers
    target = headers.get("WARC-Target-URI", "").strip("<>")
    kind = (http.get("Content-Type") or "").partition(";")[0].strip().lower()
    body, problem = b"", ""
    if http.status_code != 200:
        problem = f"status {http.status_code}"
    elif kind not in KINDS:
        problem = f"content type {kind or 'none'}"
    else:
        body, problem = _body(record.reader.read(min(_LARGEST_BYTES, record.content_length) + 1), http)
    submission = headers.get(_SUBMISSION)
    return Page(
        url=headers.get("WARC-Source-URI") or target,
        final_url=target,
        content_type=http.get("Content-Type") or "",
        body=b"" if problem else body,
        link=msgspec.json.decode(submission, type=Link) if submission else None,
        problem=problem,
    )
