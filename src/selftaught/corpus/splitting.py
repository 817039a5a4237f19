"""Train or held-out, decided by a hash of the URL or its domain: the same page falls on the same side in every corpus."""

from __future__ import annotations

import hashlib
from typing import Literal

from selftaught.corpus.urls import domain_of

Unit = Literal["url", "domain"]


def side(url: str, heldout: float, unit: Unit = "url") -> Literal["train", "heldout"]:
    """The side of the split that a URL falls on, given the share that is held out.

    With the unit `domain` all pages of a registered domain (bbc.co.uk, not news.bbc.co.uk) fall on one side.
    """
    name = domain_of(url) or url if unit == "domain" else url
    value = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64
    return "heldout" if value < heldout else "train"
