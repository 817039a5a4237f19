"""URLs in a normal form, so that equal pages have equal addresses, and the lists of addresses that are never fetched."""

from __future__ import annotations

import html
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

_TRACKING = frozenset(("fbclid", "gclid", "igshid", "mc_cid", "mc_eid", "ref_src"))
_PORTS = {"http": 80, "https": 443}
_MEDIA = (
    ".jpg",
    ".jpeg",
    ".png",
    ".gif",
    ".gifv",
    ".webp",
    ".svg",
    ".mp4",
    ".webm",
    ".mp3",
    ".pdf",
    ".zip",
    ".gz",
    ".exe",
)
_BLOCKED = {
    "wikipedia": ("wikipedia.org", "wikimedia.org", "wiktionary.org", "wikiwand.com"),
    "reddit": ("reddit.com", "redd.it"),
    "images and video": ("imgur.com", "youtube.com", "youtu.be", "vimeo.com", "flickr.com", "gfycat.com"),
}
"""GPT-2 paper, section 2.1: all Wikipedia documents were removed."""


def normalise(url: str) -> str:
    """The normal form of an http(s) URL, or "" if it is none.

    Undoes `&amp;`, lower-cases scheme and host, drops fragment, default port and tracking parameters, quotes what needs it.
    """
    try:
        parts = urlsplit(html.unescape(url.strip()))
        host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
    except (ValueError, UnicodeError):  # `http://[URL]` makes urlsplit raise; so do ports and labels that are none
        return ""
    if parts.scheme.lower() not in _PORTS or not {".", ":"} & set(host):
        return ""
    scheme = parts.scheme.lower()
    host = f"[{host}]" if ":" in host else host
    place = host if port in (None, _PORTS[scheme]) else f"{host}:{port}"
    return urlunsplit((scheme, place, quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._"), _query(parts), ""))


def _query(parts: SplitResult) -> str:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name not in _TRACKING and not name.startswith("utm_")]
    return quote(parts.query, safe="=&%+/:@!$'()*,;~-._?") if kept == pairs else urlencode(kept)


def reason_to_block(url: str) -> str:
    """Why a URL in normal form is not fetched: `wikipedia`, `reddit`, `images and video`, `media file`; or ""."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    for reason, domains in _BLOCKED.items():
        if any(host == domain or host.endswith("." + domain) for domain in domains):
            return reason
    return "media file" if parts.path.lower().endswith(_MEDIA) else ""
