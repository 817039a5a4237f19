"""Windows over a text as the evaluation protocol words them: starts 0, s, 2s; each scores what none before it did."""

from __future__ import annotations


def windows(length: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """(first input, first scored, end) of each window over `length` tokens after a start token."""
    scored: set[int] = set()
    found = []
    for start in range(0, length, stride):
        targets = [place for place in range(start + 1, min(start + context, length) + 1) if place not in scored]
        if targets:
            found.append((start, targets[0], targets[-1] + 1))
        scored.update(targets)
    return found
