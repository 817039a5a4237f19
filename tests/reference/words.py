"""F1 of the words of two texts."""

from __future__ import annotations

import re
from collections import Counter


def f1(found: str, wanted: str) -> float:
    """Harmonic mean of precision and recall of lower-cased words, counted with their number."""
    one, other = (Counter(re.findall(r"\w+", text.lower())) for text in (found, wanted))
    return 2 * sum((one & other).values()) / max(1, one.total() + other.total())
