"""Train or held-out, decided by a hash of the URL: the same page falls on the same side in every corpus."""

from __future__ import annotations

import hashlib
from typing import Literal


def side(url: str, heldout: float) -> Literal["train", "heldout"]:
    """The side of the split that a URL falls on, given the share that is held out."""
    value = int.from_bytes(hashlib.sha256(url.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64
    return "heldout" if value < heldout else "train"
