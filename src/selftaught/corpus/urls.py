"""URLs in a normal form, so that equal pages have equal addresses."""

from __future__ import annotations

import html
import re
from functools import lru_cache
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

_TRACKING = frozenset(("fbclid", "gclid", "igshid", "mc_cid", "mc_eid", "ref_src"))
_PORTS = {"http": 80, "https": 443}

_NORMAL = re.compile(
    r"(https?://(?:[a-z0-9_-]{1,63}\.)+[a-z0-9_-]{1,63})(?:(/[A-Za-z0-9/%:@!$'()*+,;=~._-]*)?(?:\?([A-Za-z0-9/%:@!$'()*+,=~._&?-]*))?)"
)
"""Host, path and query of addresses in normal form but for tracking parameters and what is empty: nearly all."""
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});")
"""With its semicolon: `&section=2` is a parameter and no section sign."""
_IN_QUERIES = "=&%+/:@!$'()*,;~-._?"
_PLAIN_QUERY = re.compile(r"[A-Za-z0-9=&+/:@!$'()*,;~._?-]*")
_MAYBE_TRACKING = re.compile("|".join(("utm_", *sorted(_TRACKING), "%[4-7]")))
"""Also letters that are written as numbers."""
_TRACKING_PAIRS = re.compile(rf"(?:^|&)(?:utm_[^=&]*|(?:{'|'.join(sorted(_TRACKING))})(?=[=&]|$))(?:=[^&]*)?")
_PLAIN_PAIRS = re.compile(r"(?:[A-Za-z0-9_.~-]+=[A-Za-z0-9_.~-]*(?:&(?!$)|$))*")
"""Pairs that stay as they are when they are decoded and encoded again."""


def normalise(url: str) -> str:
    """The normal form of an http(s) URL, or "" if it is none.

    Undoes `&amp;`, lower-cases scheme and host, drops fragment, default port and tracking parameters, quotes what needs it.
    """
    text = url.strip()
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    if found := _NORMAL.fullmatch(text.partition("#")[0]):
        place, path, query = found.groups()
        return f"{place}{path or '/'}?{kept}" if query and (kept := _query(query)) else place + (path or "/")
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").rstrip(".").encode("idna").decode("ascii"), parts.port
    except (ValueError, UnicodeError):  # `http://[URL]` makes urlsplit raise; so do ports and labels that are none
        return ""
    if parts.scheme.lower() not in _PORTS or not {".", ":"} & set(host):
        return ""
    scheme = parts.scheme.lower()
    host = f"[{host}]" if ":" in host else host
    place = host if port in (None, _PORTS[scheme]) else f"{host}:{port}"
    return urlunsplit((scheme, place, quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._"), _query(parts.query), ""))


def _query(query: str) -> str:
    """A query without tracking parameters; the others are encoded anew only where some were taken away."""
    if not _MAYBE_TRACKING.search(query):
        return query if _PLAIN_QUERY.fullmatch(query) else quote(query, safe=_IN_QUERIES)
    shorter, found = _TRACKING_PAIRS.subn("", query)
    if found and _PLAIN_PAIRS.fullmatch(shorter := shorter.removeprefix("&")):
        return shorter
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name not in _TRACKING and not name.startswith("utm_")]
    return quote(query, safe=_IN_QUERIES) if kept == pairs else urlencode(kept)


def key(url: str) -> str:
    """What tells an address from others although it was noted at another time: without scheme and leading `www.`."""
    return (normalise(url) or url).partition("://")[2].removeprefix("www.")


def domain_of(url: str) -> str:
    """The registered domain of a URL (bbc.co.uk of news.bbc.co.uk), its host where that has none, "" where there is no host."""
    return _registered(url.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0])


@lru_cache(maxsize=100_000)
def _registered(host: str) -> str:
    import tld

    return str(tld.get_fld(f"http://{host}/", fail_silently=True) or host) if host else ""
