"""How many tokens are read at a time: found while texts are read, bounded by memory, and halved where that runs out.

What is scored does not depend on it, so it may follow what this machine is fast at, and what others leave free on it.
"""

from __future__ import annotations

from selftaught import compute

PASSES = 2
"""Passes of a size that are timed, of which the faster one counts: others may have been in the way of one."""
FULL = 0.75
"""Share of the tokens that a pass must have to be timed: the last one of some texts is smaller."""
MEMORY_SHARE = 0.5
"""Of what is free that tokens may take: the rest is for logits, and for other programs."""


class Budget:
    """Tokens of a pass: `first` to begin with, then twice or half as many as long as that is faster.

    Powers of two between `least` and `most`, and no more than there is memory for at `token_bytes` each.
    """

    def __init__(self, first: int, *, least: int, most: int, token_bytes: int = 0, device: str = "cpu") -> None:
        free = compute.free_memory_bytes(device)
        self._most = most
        while free is not None and self._most > 1 and self._most * token_bytes > MEMORY_SHARE * free:
            self._most //= 2
        self._least = min(least, self._most)
        self.tokens = min(first, self._most)
        """How many there may be now."""
        self.halvings = 0
        """How often memory ran out."""
        self._rates: dict[int, list[float]] = {}
        self._settled = False

    def passed(self, tokens: int, seconds: float) -> None:
        """Hear how long a pass of so many tokens took."""
        if self._settled or tokens < FULL * self.tokens:
            return
        rates = self._rates.setdefault(self.tokens, [])
        rates.append(tokens / max(seconds, 1e-9))
        if len(rates) < PASSES:
            return
        best = max(self._rates, key=lambda size: max(self._rates[size]))
        untried = [
            size for size in (2 * best, best // 2) if size not in self._rates and self._least <= size <= self._most
        ]
        self.tokens, self._settled = (untried[0], False) if untried else (best, True)

    def halve(self) -> None:
        """Memory ran out: never again as many as now."""
        self.tokens = self._most = max(1, self.tokens // 2)
        self.halvings += 1
        self._settled = True
