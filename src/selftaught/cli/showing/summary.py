"""A short account of a file or folder: facts, tables, excerpts; and how it is written to the screen."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from selftaught import console

LONGEST_EXCERPT = 420
"""Characters of a text that are shown."""
_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing worth knowing, such as `parameters` 2,615,424."""

    name: str
    value: str | int | float


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """The beginning of a text; `title` says of which."""

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What there is to say of one path; `kind` names it, such as `corpus folder`."""

    path: str
    kind: str
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    excerpts: tuple[Excerpt, ...] = ()


def excerpt(title: str, text: str) -> Excerpt:
    """The beginning of `text`, without control characters, which could rewrite the screen."""
    shown = "".join(sign for sign in text[:LONGEST_EXCERPT] if sign == "\n" or not _controls(sign))
    return Excerpt(title=one_line(title), text=shown + (" ..." if len(text) > LONGEST_EXCERPT else ""))


def one_line(text: str, longest: int = 90) -> str:
    """`text` on one line, without control characters, cut to `longest` characters."""
    joined = "".join(" " if _controls(sign) else sign for sign in text[: longest * 4])
    joined = " ".join(joined.split())
    return joined if len(joined) <= longest else joined[: longest - 4] + " ..."


def _controls(sign: str) -> bool:
    """Control characters, and format characters that turn the direction of writing around."""
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs")


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Values as a line of blocks, the lowest one low, each block the mean of its share of the values."""
    if not values:
        return ""
    width = min(width, len(values))
    parts = [values[len(values) * n // width : len(values) * (n + 1) // width] for n in range(width)]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((mean - low) * scale)] for mean in means)


def size_words(count: int) -> str:
    """A number of bytes in words."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def write(summary: Summary) -> None:
    """Write a summary to the screen."""
    console.line(f"{summary.path}: {summary.kind}", style="bold")
    width = max((len(fact.name) for fact in summary.facts), default=0)
    for fact in summary.facts:
        console.line(f"  {fact.name:<{width}}  {_shown(fact.value)}")
    for table in summary.tables:
        console.line()
        console.table(table.columns, table.rows, title=table.title)
    for one in summary.excerpts:
        console.line()
        console.line(one.title, style="bold")
        for line in one.text.split("\n"):
            console.line(f"  {line}")


def _shown(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
