"""The normal form of an address by the standard library alone, however plain the address."""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

TRACKING = ("fbclid", "gclid", "igshid", "mc_cid", "mc_eid", "ref_src")
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});")


def normal_form(url: str) -> str:
    """Normal form of an http address whose host has a name."""
    try:
        parts = urlsplit(ENTITY.sub(lambda entity: html.unescape(entity[0]), url.strip()))
        host, port = (parts.hostname or "").rstrip(".").encode("idna").decode("ascii"), parts.port
    except (ValueError, UnicodeError):
        return ""
    if parts.scheme not in ("http", "https") or "." not in host:
        return ""
    place = host if port in (None, {"http": 80, "https": 443}[parts.scheme]) else f"{host}:{port}"
    return urlunsplit(
        (parts.scheme, place, quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._"), query(parts.query), "")
    )


def query(written: str) -> str:
    """A query as it is written, quoted; encoded anew where it holds tracking parameters."""
    pairs = parse_qsl(written, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name not in TRACKING and not name.startswith("utm_")]
    return quote(written, safe="=&%+/:@!$'()*,;~-._?") if kept == pairs else urlencode(kept)


def blocked(url: str, listed: dict[str, str], media: frozenset[str]) -> str:
    """Why an address in normal form is not fetched: the entry for its longest domain, else its ending."""
    parts = urlsplit(url)
    labels, path = (parts.hostname or "").split("."), parts.path[1:].split("/")
    for first in range(len(labels) - 1):
        domain = ".".join(labels[first:])
        for last in range(3):
            if last <= len(path) and (reason := listed.get("/".join((domain, *path[:last])))):
                return reason
    return "media file" if parts.path.lower().endswith(tuple(media)) else ""
