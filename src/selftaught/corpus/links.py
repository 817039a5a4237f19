"""Outbound links of Reddit submissions with enough karma (GPT-2 paper, section 2.1: at least 3)."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from selftaught import console, storage
from selftaught.corpus import urls
from selftaught.corpus.blocking import BlockList
from selftaught.corpus.documents import Drop, Funnel
from selftaught.corpus.submissions import Submission, read_submissions
from selftaught.errors import UsageError

STAGE = "links"
_REMOVED = ("[deleted]", "[removed]", "")
_HELD_LINKS = 500_000
"""Distinct links in memory at a time; further ones wait on the disk, in order of their address."""


class Link(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One address and the best submission of it; a Struct, since half a million of them wait in memory."""

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
    removed: bool = False
    """Whether to keep links of submissions that moderators or Reddit removed."""
    since: str = ""
    """Drop submissions before this day (YYYY-MM-DD), and those without a date."""
    until: str = ""
    """Drop submissions from this day on (YYYY-MM-DD; the paper's links end with December 2017), and those without a date."""
    block: tuple[Path, ...] = ()
    """Files of domains (or domain/path, or URLs), one a line, that are not wanted either."""

    def __post_init__(self) -> None:
        """Refuse what is no day."""
        for name in ("since", "until"):
            if not _is_day(getattr(self, name)):
                raise UsageError(f"--{name} cannot be {getattr(self, name)}", expected="a day such as 2017-12-31")


def _is_day(text: str) -> bool:
    try:
        return not text or date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def read_links(files: Iterable[Path], rules: LinkSettings, funnel: Funnel) -> Iterator[Link]:
    """Distinct links of submission files (see `corpus.submissions`), highest karma first, equal ones by address.

    Every row that gives none is dropped with its reason; of reposts the one with most karma stays. Memory is bounded.
    """
    distinct = _merged(_runs(_accepted(files, rules, funnel), funnel), funnel)
    for link in storage.sorted_rows(distinct, Link, lambda link: (-link.karma, link.url), most=_HELD_LINKS):
        funnel.keep(STAGE)
        yield link


def _accepted(files: Iterable[Path], rules: LinkSettings, funnel: Funnel) -> Iterator[Link]:
    """The links of all rows that pass the rules, reposts included."""
    blocked, first = BlockList.load(rules.block), 0
    with console.progress("reading links", unit="rows") as bar:
        for rows in itertools.chain.from_iterable(read_submissions(file, rules.karma) for file in files):
            funnel.enter(STAGE, len(rows))
            bar.advance(len(rows))
            drops = []
            for number, row in enumerate(rows, first):
                address = "" if row is None else str(row.url or row.u or "")
                link, reason = _link(row, address, rules, blocked)
                if link is not None:
                    yield link
                else:
                    name = str((row and row.id) or number)
                    drops.append(Drop(id=name, url=address, stage=STAGE, reason=reason))
            funnel.drop_all(drops)
            first += len(rows)


def _runs(links: Iterable[Link], funnel: Funnel) -> list[Iterable[Link]]:
    """Distinct links in order of their address: several runs where they do not fit into memory."""
    runs: list[Iterable[Link]] = []
    best: dict[str, Link] = {}
    for link in links:
        if (other := best.get(link.url)) is None:
            if len(best) >= _HELD_LINKS:
                runs.append(storage.Spool(Link, _by_address(best)))
                best.clear()
            best[link.url] = link
        else:
            best[link.url] = _better(other, link, funnel)
    return [*runs, _by_address(best)]


def _by_address(best: dict[str, Link]) -> list[Link]:
    return [best[url] for url in sorted(best)]


def _merged(runs: list[Iterable[Link]], funnel: Funnel) -> Iterator[Link]:
    """The links of all runs, each address once."""
    waiting: Link | None = None
    for link in heapq.merge(*runs, key=lambda link: link.url):
        if waiting is not None and waiting.url == link.url:
            waiting = _better(waiting, link, funnel)
            continue
        if waiting is not None:
            yield waiting
        waiting = link
    if waiting is not None:
        yield waiting


def _better(one: Link, other: Link, funnel: Funnel) -> Link:
    """The submission of an address with more karma, the earlier one of equals."""
    funnel.drop(STAGE, "repost", id=other.url, url=other.url)
    best = max(one, other, key=lambda link: link.karma)
    return best if best.title else msgspec.structs.replace(best, title=one.title or other.title)


def _link(row: Submission | None, address: str, rules: LinkSettings, blocked: BlockList) -> tuple[Link | None, str]:
    if row is None:
        return None, "not JSON"
    karma = _whole(row.score if row.score is not None else row.k)
    created = row.created_utc if row.created_utc is not None else row.time
    if reason := _reason_to_drop(row, karma, address, created, rules):
        return None, reason
    url = urls.normalise(address)
    if reason := blocked.reason(url) if url else "not a web address":
        return None, reason
    subreddit, title = row.subreddit or row.r or "", row.title or ""
    return Link(url=url, karma=karma or 0, subreddit=str(subreddit), title=str(title), date=_day(created)), ""


def _reason_to_drop(row: Submission, karma: int | None, address: str, created: Any, rules: LinkSettings) -> str:
    """What a submission itself says against its link."""
    if karma is None:
        return "no score"
    if row.is_self or row.self_:
        return "self post"
    if not rules.removed and (row.removed_by_category or address in _REMOVED):
        return "removed" if address else "no address"
    if row.over_18 and not rules.over_18:
        return "over 18"
    if rules.since or rules.until:
        day = _day(created)
        if not (day and rules.since <= day < (rules.until or "9")):
            return "out of the dates" if day else "no date"
    return "" if karma >= rules.karma else f"karma below {rules.karma}"


def _whole(value: Any) -> int | None:
    """A number of points, also where it is written as text."""
    if type(value) is int:
        return value
    try:
        return int(value) if isinstance(value, str | float) else None
    except (ValueError, OverflowError):
        return None


def _day(created: Any) -> str:
    """The day of seconds since 1970 or of a date in ISO form, or ""."""
    if created is None:
        return ""
    if isinstance(created, str) and len(created) >= 10 and created[4] == "-" and _is_day(created[:10]):
        return created[:10]
    try:
        return _day_of(int(created) // 86400)
    except (TypeError, ValueError, OverflowError, OSError):
        return ""


@lru_cache(maxsize=10_000)
def _day_of(number: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(number * 86400))
