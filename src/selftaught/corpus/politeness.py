"""How pages are asked for: who asks, how much at a time, for how long. Apart from `fetching`, which loads the HTTP client."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from selftaught.corpus.ranges import require_least


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """How pages are fetched."""

    user_agent: str = "selftaught/0.1 (research corpus; respects robots.txt)"
    """Who asks; put a way to reach you into it before fetching other people's pages."""
    concurrent: int = field(default=32, metadata={"changeable": True})
    """Requests under way at a time."""
    per_host: int = field(default=2, metadata={"changeable": True})
    """Requests under way at a time to one host."""
    most_per_host: int = 0
    """Links to one host that are fetched at most, those with most karma; 0 sets no limit."""
    timeout_seconds: float = field(default=20.0, metadata={"changeable": True})
    """Longest time for one page."""
    largest_bytes: int = 8 << 20
    """Larger pages are dropped (after decompression)."""
    first_pause_seconds: float = 0.5
    """Pause before a request that failed is tried again; four times as long before each further try."""
    allow_private: bool = False
    """Whether addresses of private networks and of this machine may be connected to: for an intranet of your own only."""
    compression: Literal["zst", "gz"] = "zst"
    """How pages are kept; gz is what Common Crawl uses, zst is made six times as fast."""

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through."""
        require_least(self, 1, "concurrent", "per_host", "largest_bytes")
        require_least(self, 0, "most_per_host", "first_pause_seconds")
        require_least(self, 0.01, "timeout_seconds")
