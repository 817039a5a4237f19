"""How pages are asked for: who asks, how much at a time, for how long. Apart from `fetching`, which loads the HTTP client."""

from __future__ import annotations

from dataclasses import dataclass

from selftaught.corpus.ranges import require_least


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """How pages are fetched."""

    user_agent: str = "selftaught/0.1 (research corpus; respects robots.txt)"
    """Who asks; put a way to reach you into it before fetching other people's pages."""
    concurrent: int = 32
    """Requests under way at a time."""
    per_host: int = 2
    """Requests under way at a time to one host."""
    timeout_seconds: float = 20.0
    """Longest time for one page."""
    largest_bytes: int = 8 << 20
    """Larger pages are dropped (after decompression)."""

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through."""
        require_least(self, 1, "concurrent", "per_host", "largest_bytes")
        require_least(self, 0.01, "timeout_seconds")
