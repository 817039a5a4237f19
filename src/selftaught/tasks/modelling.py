"""Texts whose probability is measured: documents, and language-modelling data sets with their own units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from selftaught import compute, storage
from selftaught.errors import InputError
from selftaught.tasks import detokenizers
from selftaught.tasks.examples import Text
from selftaught.tasks.rows import read_lines

WIKITEXT2_FILE, WIKITEXT103_FILE = "wikitext2/wiki.test.tokens", "wikitext103/wiki.test.tokens"
NEWS_FILE, NEWS_PART_FILE = "lm1b/news.en.heldout-00000-of-00050", "lm1b/1b_benchmark.test.tokens"
ENWIK8_FILE, ENWIK8_PREFIX_FILE = "enwik8/enwik8", "enwik8/enwik8_prefix.bin"
ENWIK8_BYTES, ENWIK8_TEST_BYTES = 100_000_000, 5_000_000
"""Size of the whole file, and how much of its end is the test set."""

Form: TypeAlias = Literal["invertible", "megatron", "none"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The choices that the paper leaves open about text that was tokenised."""

    detokeniser: Form = "invertible"
    unknown: Literal["keep", "replace"] = "keep"
    """Whether `<unk>` stays or becomes `?`."""
    units: Literal["words-and-ends", "words"] = "words-and-ends"
    limit: int = 0
    """Use only the first lines."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A language-modelling data set as it is scored."""

    texts: tuple[Text, ...]
    words: str
    """What was done to it."""


def choose_texts(texts: Iterable[tuple[str, str]], *, most_bytes: int, seed: int) -> list[Text]:
    """(id, text) in an order drawn by the seed, until `most_bytes` are reached; the unit is the UTF-8 byte."""
    order = sorted(texts, key=lambda one: compute.seed_of("texts", seed, one[0]))
    chosen: list[Text] = []
    size = 0
    for name, text in order:
        length = len(text.encode("utf-8", "replace"))
        if chosen and size + length > most_bytes:
            continue
        chosen.append(Text(id=name, text=text, units=length))
        size += length
    return chosen


def read_wikitext(path: Path, reading: Reading) -> DataSet:
    """The test set of WikiText-2 or WikiText-103 as one text; its units are the original words and one end a line (245,569)."""
    lines = read_lines(path, reading.limit)
    if reading.detokeniser == "megatron":
        text, form = (
            detokenizers.megatron("".join(f"{line}\n" for line in lines)),
            "de-tokenised by Megatron-LM's rules",
        )
    else:
        text, form = _written(lines, reading.detokeniser, detokenizers.wikitext)
    return _one_text(path.parent.name, text, lines, reading, form)


def read_news(path: Path, reading: Reading, *, alone: bool = False) -> DataSet:
    """A shard of the One Billion Word benchmark's test sentences, joined by newlines or each a text of its own (`alone`)."""
    if reading.detokeniser == "megatron":
        raise InputError("Megatron-LM's rules are WikiText's only", hint="--detokeniser invertible or none")
    lines = [line for line in read_lines(path, reading.limit) if line.strip()]
    if not alone:
        text, form = _written(lines, reading.detokeniser, detokenizers.news)
        return _one_text("1bw", text, lines, reading, f"{form}, sentences joined by newlines")
    texts = []
    form = ""
    for number, line in enumerate(lines, start=1):
        text, form = _written([line], reading.detokeniser, detokenizers.news)
        units = count_units([line], reading.units)
        texts.append(Text(id=f"1bw-{number}", text=_known(text.removesuffix("\n"), reading), units=units))
    return DataSet(texts=tuple(texts), words=f"{form.partition(' (')[0]}, each sentence alone")


def read_enwik8(path: Path, *, limit: int = 0) -> DataSet:
    """The last 5,000,000 bytes of enwik8, or all of a file that is only a part of it; the unit is the byte.

    What is cut of a character at either end is left out. `limit`: use only the first lines.
    """
    data = storage.read_bytes(path)
    whole = len(data) == ENWIK8_BYTES
    part = data[-ENWIK8_TEST_BYTES:] if whole else data
    if limit:
        part = b"".join(part.splitlines(keepends=True)[:limit])
    text = part.decode("utf-8", "ignore")
    units = len(text.encode())
    if not units:
        raise InputError(f"{path} holds no text")
    words = "the last 5,000,000 bytes" if whole else f"a part of the data set ({path.name})"
    return DataSet(texts=(Text(id="enwik8", text=text, units=units),), words=words)


def count_units(lines: Sequence[str], units: Literal["words-and-ends", "words"]) -> int:
    """The original units: words parted by blanks, and line ends unless only words count."""
    return sum(len(line.split()) + (units == "words-and-ends") for line in lines)


def _written(lines: Sequence[str], form: Form, join: Callable[[Sequence[str]], detokenizers.Line]) -> tuple[str, str]:
    """The text of some lines, and what was done to them in words."""
    if form == "none":
        return "".join(f"{line}\n" for line in lines), "as it is tokenised"
    joined = [join(line.split()) for line in lines]
    escaped = sum(line.escaped for line in joined)
    text = "".join(f"{line.text}\n" for line in joined)
    return text, f"de-tokenised invertibly ({escaped:,} tokens marked)"


def _one_text(name: str, text: str, lines: Sequence[str], reading: Reading, form: str) -> DataSet:
    units = count_units(lines, reading.units)
    unknown = "<unk> kept" if reading.unknown == "keep" else "<unk> replaced by ?"
    counted = "word and line end" if reading.units == "words-and-ends" else "word"
    words = f"{form}, {unknown}, per original {counted} ({units:,})"
    return DataSet(texts=(Text(id=name, text=_known(text, reading), units=units),), words=words)


def _known(text: str, reading: Reading) -> str:
    return text if reading.unknown == "keep" else text.replace(detokenizers.UNKNOWN, "?")
