"""Real documents for the scripts in bench/: those of ../shared/data/text where they are there, else Python's own sources."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

DATA = Path(__file__).parents[2] / "shared" / "data"


def documents() -> Iterator[str]:
    """Real documents, sources in turns so that a prefix is a fair sample."""
    files = sorted((DATA / "text").glob("*.jsonl"))
    if not files:
        for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
            yield path.read_text(errors="replace")
        return
    readers = [(json.loads(line)["text"] for line in path.read_bytes().splitlines()) for path in files]
    while readers:
        for reader in list(readers):
            text = next(reader, None)
            if text is None:
                readers.remove(reader)
            else:
                yield text


def within(texts: Iterator[str], size: int) -> Iterator[str]:
    """Texts until they hold `size` bytes of UTF-8."""
    for text in texts:
        if size <= 0:
            return
        size -= len(text.encode())
        yield text
