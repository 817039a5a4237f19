"""The part of bench/corpus.py that reads dumps: rows parsed and filtered, addresses in normal form, and both.

Imported by bench/corpus.py; run by itself this file does nothing. The dump is made: rows with all the fields of a real one
(1.6 kB each), real addresses where they are; 38 of 100 rows are self posts, and three quarters of the others below 3 points.
"""

from __future__ import annotations

import gzip
import json
import lzma
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from selftaught.corpus import urls
from selftaught.corpus.blocking import BlockList
from selftaught.corpus.documents import Funnel
from selftaught.corpus.links import LinkSettings, read_links
from selftaught.corpus.submissions import read_submissions
from side_by_side import SideBySide

NOTHING_PASSES = 1 << 30
"""Points that no submission has: rows are parsed and filtered, and each is dropped with its reason."""
Row = dict[str, Any]


class Wanted(msgspec.Struct):
    """What the short script over msgspec decodes of a row."""

    url: str | None = None
    score: int = 0
    is_self: bool = False
    over_18: bool = False


def compare_links(bench: SideBySide, folder: Path, data: Path) -> None:
    """Rows, addresses and links a second of processor time."""
    count, addresses = 20_000 if bench.quick else 100_000, _addresses(data)
    path = _dump(folder / "submissions.jsonl", data, count, addresses)
    packed = _compressed(path)
    scripts: dict[str, Callable[[], object]] = {}
    forms: dict[str, Callable[[], object]] = {}
    if tldextract := bench.peer("tldextract"):
        domain = tldextract.TLDExtract(suffix_list_urls=())
        scripts["json + tldextract"] = lambda: _by_json(path, lambda url: domain(url).registered_domain)
        forms["tldextract, domain only"] = lambda: [domain(url) for url in addresses]
    if w3lib := bench.peer("w3lib.url"):
        scripts["json + w3lib"] = lambda: _by_json(path, w3lib.canonicalize_url)
        forms["w3lib"] = lambda: [_safely(w3lib.canonicalize_url, url) for url in addresses]
    if duckdb := bench.peer("duckdb"):
        duckdb.execute("SET threads = 1")
        scripts["duckdb, as they are"] = lambda: duckdb.execute(_QUERY, [str(path)]).fetchall()
    scripts["msgspec, as they are"] = lambda: _best(_by_msgspec(path))
    _compare_reading(bench, path, count)
    _compare_reading(bench, packed, count)
    bench.compare(
        "dump -> links",
        lambda: list(read_links([path], LinkSettings(), Funnel())),
        scripts,
        amount=count,
        unit="rows/s",
    )
    if forms:
        bench.compare(
            "normal form and block lists",
            lambda: _brought_into_form(addresses),
            forms,
            amount=len(addresses),
            unit="urls/s",
        )


def _compare_reading(bench: SideBySide, path: Path, count: int) -> None:
    """Rows decoded; and decoded, filtered and each dropped with its reason (the peers' are merely left out)."""
    decoded: dict[str, Callable[[], object]] = {"msgspec": lambda: sum(1 for _ in _rows_by_msgspec(path))}
    filtered: dict[str, Callable[[], object]] = {"msgspec": lambda: sum(1 for _ in _by_msgspec(path))}
    if path.suffix != ".zst":
        decoded["json"] = lambda: sum(1 for _ in map(json.loads, path.open("rb")))
        filtered["json"] = lambda: sum(map(_passes, map(json.loads, path.open("rb"))))
    kind = "dump of .jsonl" if path.suffix != ".zst" else "dump of .jsonl.zst"
    bench.compare(
        f"{kind} parsed", lambda: sum(map(len, read_submissions(path, 0))), decoded, amount=count, unit="rows/s"
    )
    bench.compare(f"{kind} parsed and filtered", lambda: _drop_all(path), filtered, amount=count, unit="rows/s")


_QUERY = """
SELECT url, max(score) FROM read_json(?, format = 'newline_delimited',
    columns = {url: 'VARCHAR', score: 'BIGINT', is_self: 'BOOLEAN', over_18: 'BOOLEAN'})
WHERE score >= 3 AND NOT is_self AND NOT over_18 GROUP BY url
"""


def _drop_all(path: Path) -> None:
    assert not list(read_links([path], LinkSettings(karma=NOTHING_PASSES), Funnel()))


def _brought_into_form(addresses: list[str]) -> list[str]:
    blocked, forms = BlockList(), map(urls.normalise, addresses)
    return [url for url in forms if url and not blocked.reason(url)]


def _passes(row: Row) -> bool:
    return row["score"] >= 3 and not row["is_self"] and not row["over_18"]


def _best(rows: Iterator[tuple[str, int]]) -> dict[str, int]:
    best: dict[str, int] = {}
    for url, score in rows:
        best[url] = max(best.get(url, 0), score)
    return best


def _by_json(path: Path, normal: Callable[[str], str]) -> dict[str, int]:
    """What a short script does: parse, filter, keep the best of equal addresses."""
    rows = filter(_passes, map(json.loads, path.open("rb")))
    return _best((_safely(normal, row["url"]), row["score"]) for row in rows)


def _safely(normal: Callable[[str], object], url: str) -> str:
    try:
        return str(normal(url))
    except ValueError:
        return ""


def _by_msgspec(path: Path) -> Iterator[tuple[str, int]]:
    for row in _rows_by_msgspec(path):
        if row.score >= 3 and not row.is_self and not row.over_18 and row.url:
            yield row.url, row.score


def _rows_by_msgspec(path: Path) -> Iterator[Wanted]:
    decoder, rest = msgspec.json.Decoder(Wanted), b""
    with path.open("rb") as raw:
        unpack = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader
        stream = unpack(raw) if path.suffix == ".zst" else raw
        while data := stream.read(1 << 20):
            data = rest + data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            yield from decoder.decode_lines(data[:end])


def _dump(path: Path, data: Path, count: int, addresses: list[str]) -> Path:
    draw, shapes = random.Random(7), _shapes(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            row = {**shapes[number % len(shapes)], "id": f"{number:x}", "over_18": draw.random() < 0.1}
            row |= {"score": draw.choice((0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 5, 20)), "created_utc": 1_485_000_000 + number}
            row |= {"url": f"{draw.choice(addresses)}?turn={number}", "is_self": draw.random() < 0.38, "selftext": ""}
            if row["is_self"]:
                row |= {"url": f"https://www.reddit.com/r/x/{number}", "selftext": "Some words. " * draw.randrange(80)}
            stream.write(json.dumps(row, separators=(",", ":")) + "\n")
    return path


def _shapes(data: Path) -> list[Row]:
    """Rows of a real dump, or rows that look like them."""
    file = data / "reddit" / "RS_v2_2005-07.xz"
    if file.is_file():
        return [json.loads(line) for line in lzma.open(file)]
    return [{"title": "A submission of some words", "subreddit": "x", **{f"field_{n}": None for n in range(60)}}]


def _addresses(data: Path) -> list[str]:
    """Real addresses where they are, else made-up ones."""
    files = sorted((data / "reddit" / "urk").glob("*.gz"))
    found = [json.loads(line)["u"] for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]
    real = [address for address in found if isinstance(address, str)]
    return real or [f"http://h{n % 700}.example.org/a/{n}?b={n % 7}&amp;utm_source=c" for n in range(40_000)]


def _compressed(path: Path) -> Path:
    """The dump as Reddit's are compressed: one frame with a window of 2 GiB."""
    packed = path.with_suffix(".jsonl.zst")
    rules = zstandard.ZstdCompressionParameters.from_level(3, window_log=31)
    with path.open("rb") as raw, packed.open("wb") as stream:
        zstandard.ZstdCompressor(compression_params=rules).copy_stream(raw, stream)
    return packed
