"""Outbound links of Reddit submissions with enough karma (GPT-2 paper, section 2.1: at least 3)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from selftaught import storage
from selftaught.corpus import urls
from selftaught.corpus.documents import Funnel

STAGE = "links"
LONGEST_ROW_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Link:
    """One address and the best submission of it."""

    url: str
    karma: int
    subreddit: str = ""
    title: str = ""
    date: str = ""


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """Which submissions count."""

    karma: int = 3
    """Lowest score of a submission (GPT-2 paper, section 2.1)."""
    over_18: bool = False
    """Whether to keep links marked as not safe for work."""


def read_links(files: Iterable[Path], rules: LinkSettings, funnel: Funnel) -> list[Link]:
    """Distinct links of submission dumps (.zst, .xz, .bz2, .gz or plain), highest karma first.

    Every row that gives none is dropped with its reason; of reposts the one with most karma stays.
    """
    best: dict[str, Link] = {}
    for number, row in enumerate(row for file in files for row in _rows(file)):
        funnel.enter(STAGE)
        link, reason = _link(row, rules)
        name = str(row.get("id") or number) if isinstance(row, dict) else str(number)
        if link is None:
            funnel.drop(STAGE, reason, id=name, url=_address(row))
        elif link.url in best:
            funnel.drop(STAGE, "repost", id=name, url=link.url)
            best[link.url] = max(best[link.url], link, key=lambda one: one.karma)
        else:
            best[link.url] = link
    funnel.keep(STAGE, len(best))
    return sorted(best.values(), key=lambda link: (-link.karma, link.url))


def _rows(path: Path) -> Iterator[Any]:
    with storage.reading(path) as stream:
        for line in _lines(stream):
            try:
                yield msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                yield None


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    while line := stream.readline(LONGEST_ROW_BYTES):
        if line.strip():
            yield line


def _address(row: Any) -> str:
    return str(row.get("url") or row.get("u") or "") if isinstance(row, dict) else ""


def _link(row: Any, rules: LinkSettings) -> tuple[Link | None, str]:
    if reason := _reason_to_drop(row, rules):
        return None, reason
    url = urls.normalise(_address(row))
    if reason := urls.reason_to_block(url) if url else "not a web address":
        return None, reason
    return Link(
        url=url,
        karma=row.get("score", row.get("k")),
        subreddit=str(row.get("subreddit") or row.get("r") or ""),
        title=str(row.get("title") or ""),
        date=_date(row.get("created_utc", row.get("time"))),
    ), ""


def _reason_to_drop(row: Any, rules: LinkSettings) -> str:
    """What a submission itself says against its link."""
    if not isinstance(row, dict):
        return "not JSON"
    score = row.get("score", row.get("k"))
    if not isinstance(score, int):
        return "no score"
    if row.get("is_self") or row.get("self"):
        return "self post"
    if row.get("over_18") and not rules.over_18:
        return "over 18"
    return f"karma below {rules.karma}" if score < rules.karma else ""


def _date(created: Any) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(int(created)))
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
