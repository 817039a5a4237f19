"""The page to play with: one HTML document with its style and script inside, which asks nobody but this server."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources


class Page:
    """The document, and headers that let only its own style and script do anything."""

    def __init__(self) -> None:
        style, script = _read("page.css"), _read("page.js") + _read("lane.js")
        text = _read("page.html").replace("/* style */", style).replace("/* script */", script)
        self.html = text.encode()
        policy = (
            f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self.headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cache-control": "no-cache",
        }


def _read(name: str) -> str:
    return resources.files("selftaught.server").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
