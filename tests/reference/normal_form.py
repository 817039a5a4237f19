"""The normal form of an address by the standard library alone, however plain the address."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit


def normal_form(url: str) -> str:
    """Normal form of an http address without a query."""
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip(".").encode("idna").decode("ascii"), parts.port
    except (ValueError, UnicodeError):
        return ""
    if parts.scheme not in ("http", "https") or "." not in host:
        return ""
    place = host if port in (None, {"http": 80, "https": 443}[parts.scheme]) else f"{host}:{port}"
    return urlunsplit((parts.scheme, place, quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._"), "", ""))
