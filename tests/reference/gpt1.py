"""GPT-1's encoder done slowly: spaCy on the whole text, every merge looked for again and again."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any


def standardise(text: str) -> str:
    for sign, plain in {"—": "-", "–": "-", "―": "-", "…": "...", "´": "'"}.items():  # noqa: RUF001
        text = text.replace(sign, plain)
    runs = "|".join(re.escape(sign) + "+" for sign in '-~!";?+,)(/*[]}{|_')
    text = re.sub(f"({runs})", r" \1 ", text)
    text = re.sub(r"\s*\n\s*", " \n ", text)
    return re.sub(r"[^\S\n]+", " ", text).strip()


def encode(text: str, ids: dict[str, int], merges: list[tuple[str, str]], words: Any, fix: Any) -> list[int]:
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    found = []
    for token in words(standardise(fix(text))):
        word = token.text.lower()
        parts = [*word[:-1], word[-1] + "</w>"]
        while ranked := [pair for pair in pairwise(parts) if pair in ranks]:
            best, place = min(ranked, key=ranks.__getitem__), 0
            while place < len(parts) - 1:
                if (parts[place], parts[place + 1]) == best:
                    parts[place : place + 2] = ["".join(best)]
                place += 1
        found += [ids["\n</w>"]] if parts == ["\n", " </w>"] else [ids.get(part, 0) for part in parts]
    return found
