"""Bytes of a page -> text: what it says it is encoded in, and what it is where it says nothing or something wrong."""

from __future__ import annotations

import codecs
import re

_LOOKED_AT = 1 << 17
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w:.-]{2,40})|<\?xml[^>]{0,100}?encoding=["']([\w.-]{2,40})""",
    re.IGNORECASE,
)
_HEADER = re.compile(r"""charset\s*=\s*["']?\s*([\w:.-]{2,40})""", re.IGNORECASE)


def decoded(body: bytes, content_type: str = "") -> str:
    """The text of a page, without NULs and byte order mark.

    In the order of the HTML standard: byte order mark, charset of the HTTP header, of a <meta>, then what the bytes look like.
    But bytes with signs beyond ASCII that are valid UTF-8 are UTF-8, whatever is said: chance hardly ever makes them so; and an
    encoding that does not fit the bytes is not believed.
    """
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace").replace("\0", "")
    try:
        return body.decode("utf-8").replace("\0", "")
    except UnicodeDecodeError:
        return _declared_or_detected(body, content_type).replace("\0", "")


def _declared_or_detected(body: bytes, content_type: str) -> str:
    best, fewest = "", len(body) + 1
    for name in (*_declared(body, content_type), _detected(body)):
        try:
            text = body.decode(name, "replace")
        except (LookupError, UnicodeError):
            continue
        broken = text.count("\ufffd")
        if broken <= _share_forgiven(name) * (len(text) - len(text.encode("ascii", "ignore"))):
            return text
        if broken < fewest:
            best, fewest = text, broken
    return best


def _share_forgiven(encoding: str) -> float:
    """Share of the signs beyond ASCII that may be broken; text in another encoding read as UTF-8 is broken nearly everywhere."""
    return 0.3 if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else 0.02


def _declared(body: bytes, content_type: str) -> list[str]:
    """Encodings that the page names, as browsers read these names (ISO-8859-1 is windows-1252)."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    header, meta = _HEADER.search(content_type), _META.search(body[:_LOOKED_AT])
    named = [header[1]] if header else []
    if meta:
        named.append((meta[1] or meta[2]).decode("ascii", "replace"))
    return [map_encoding_to_html5(name, fallback_utf8=False) or name for name in named]


def _detected(body: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    return str(detect_encoding(body[:_LOOKED_AT]) or "utf-8")
