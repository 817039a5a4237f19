"""Seeds and generators that are the same on every machine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def seed_of(*parts: object) -> int:
    """Derive a 63-bit seed from any parts: equal parts, equal seed, on every machine and Python."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: object) -> torch.Generator:
    """Return a torch generator seeded by `seed_of(*parts)`."""
    import torch

    return torch.Generator().manual_seed(seed_of(*parts))
