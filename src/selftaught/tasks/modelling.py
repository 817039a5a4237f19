"""Texts whose probability is measured: documents, and language-modelling data sets with their own units."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
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
"""Size of the whole file (of text8 also), and how much of its end is the test set."""
PENN_FILE, TEXT8_FILE = "ptb/ptb.test.txt", "text8/text8"

Form: TypeAlias = Literal["invertible", "megatron", "none"]
Units: TypeAlias = Literal["words-and-ends", "words", "pieces", "tokens"]
"""`pieces`: what is between blanks, the nothing before the first and after the last one of a text included; `tokens`: the
model's own."""
Version: TypeAlias = Literal["tokens", "raw", "articles"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The choices that the paper leaves open about text that was tokenised."""

    detokeniser: Form = "invertible"
    unknown: Literal["keep", "replace"] = "keep"
    """Whether `<unk>` stays or becomes `?`."""
    units: Units = "words-and-ends"
    version: Version = "tokens"
    """WikiText's wiki.test.tokens, or wiki.test.raw (without `<unk>`) as one text or article by article."""
    limit: int = 0
    """Use only the first lines."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A language-modelling data set as it is scored."""

    texts: tuple[Text, ...]
    words: str
    """What was done to it."""
    size: int
    """Bytes of the file."""
    unigram: float
    """Nats of a unit if each is guessed by how often this very text has it; 0 where units are tokens."""


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
    """The test set of WikiText-2 or WikiText-103; its units are the original words and one end a line (245,569).

    One text, unless it is read article by article.
    """
    if reading.version != "tokens":
        path = path.with_name("wiki.test.raw")
    lines = read_lines(path, reading.limit)
    rules = detokenizers.megatron if reading.detokeniser == "megatron" else None
    if reading.version == "articles":
        return _articles(path.parent.name, lines, reading, rules)
    text, form = _written(lines, reading.detokeniser, detokenizers.wikitext, rules)
    return _one_text(path.parent.name, text, lines, reading, form if reading.version == "tokens" else f"raw, {form}")


def articles(lines: Iterable[str]) -> Iterator[list[str]]:
    """The lines of each article: a title has one sign on each side, `= Title =`."""
    found: list[str] = []
    for line in lines:
        title = line.replace("= = =", "===").replace("= =", "==").strip()
        if title.startswith("= ") and title.endswith(" =") and any(map(str.strip, found)):
            yield found
            found = []
        elif title.startswith("= ") and title.endswith(" ="):
            found = []
        found.append(line)
    if found:
        yield found


def _articles(name: str, lines: Sequence[str], reading: Reading, rules: Callable[[str], str] | None) -> DataSet:
    texts: list[Text] = []
    counted: list[str] = []
    for number, part in enumerate(articles([*lines, ""]), start=1):
        original = "\n".join(part)
        text, form = _written(part, reading.detokeniser, detokenizers.wikitext, rules, end="")
        units = re.split(r"\s+", original) if reading.units == "pieces" else _units(part, reading.units)
        counted += units
        texts.append(Text(id=f"{name}-{number}", text=_known(text, reading), units=len(units)))
    size = sum(len("\n".join(part).encode()) for part in articles([*lines, ""]))
    words = f"raw, {len(texts)} articles each alone, {form.partition(' (')[0]}, {_counted(reading)} ({len(counted):,})"
    return DataSet(texts=tuple(texts), words=words, size=size, unigram=unigram(counted))


def read_news(path: Path, reading: Reading, *, alone: bool = False) -> DataSet:
    """A shard of the One Billion Word benchmark's test sentences, joined by newlines or each a text of its own (`alone`)."""
    if reading.detokeniser == "megatron":
        raise InputError("Megatron-LM has no rules for this data set", hint="Add --detokeniser invertible or none")
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
    words = f"{form.partition(' (')[0]}, each sentence alone"
    return DataSet(texts=tuple(texts), words=words, size=_size(lines), unigram=unigram(_units(lines, reading.units)))


def read_penn(path: Path, reading: Reading) -> DataSet:
    """The test set of the Penn Treebank in Mikolov's version (10,000 words, lower case, `N` and `<unk>`) as one text."""
    lines = read_lines(path, reading.limit)
    rules = detokenizers.megatron_penn if reading.detokeniser == "megatron" else None
    text, form = _written(lines, reading.detokeniser, detokenizers.penn, rules)
    return _one_text("ptb", text, lines, reading, form)


def read_enwik8(path: Path, *, limit: int = 0) -> DataSet:
    """The last 5,000,000 bytes of enwik8, or all of a file that is only a part of it; the unit is the byte.

    Bytes that are no UTF-8, as of a character that is cut at either end, are left out and counted. `limit`: use only the first
    lines.
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
    if units < len(part):
        words += f", {len(part) - units:,} bytes that are no characters left out"
    return DataSet(
        texts=(Text(id="enwik8", text=text, units=units),), words=words, size=units, unigram=unigram(text.encode())
    )


def read_text8(path: Path, *, limit: int = 0) -> DataSet:
    """The last 5,000,000 characters of text8; the unit is the character. `limit`: use only the first thousands of them."""
    try:
        text = storage.read_bytes(path)[-ENWIK8_TEST_BYTES:].decode("ascii")
    except UnicodeDecodeError as problem:
        raise InputError(f"{path} is not text8", expected="letters a to z and blanks", got=problem.reason) from problem
    text = text[: 1000 * limit] if limit else text
    if not text.strip():
        raise InputError(f"{path} holds no text")
    words = (
        f"the last {ENWIK8_TEST_BYTES:,} characters" if len(text) == ENWIK8_TEST_BYTES else f"{len(text):,} characters"
    )
    return DataSet(
        texts=(Text(id="text8", text=text, units=len(text)),), words=words, size=len(text), unigram=unigram(text)
    )


def unigram(units: Iterable[Hashable]) -> float:
    """Nats of a unit if each is guessed by how often it occurs: the entropy of how often they do."""
    counts = Counter(units)
    total = counts.total()
    return sum(count * math.log(total / count) for count in counts.values()) / total if total else 0.0


def count_units(lines: Sequence[str], units: Units) -> int:
    """The original units: words parted by blanks, and line ends unless only words count; none where tokens count."""
    return len(_units(lines, units))


def _units(lines: Iterable[str], units: Units) -> list[str]:
    if units == "tokens":
        return []
    if units == "pieces":
        return re.split(r"\s+", "".join(f"{line}\n" for line in lines))
    ends = ["\n"] if units == "words-and-ends" else []
    return [unit for line in lines for unit in (*line.split(), *ends)]


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _written(
    lines: Sequence[str],
    form: Form,
    join: Callable[[Sequence[str]], detokenizers.Line],
    rules: Callable[[str], str] | None = None,
    *,
    end: str = "\n",
) -> tuple[str, str]:
    """The text of some lines, and what was done to them in words; `rules` do it to all at once."""
    as_is = "\n".join(lines) + end
    if rules is not None:
        return rules(as_is), "de-tokenised by Megatron-LM's rules"
    if form == "none":
        return as_is, "as it is tokenised"
    joined = [join(line.split()) for line in lines]
    escaped = sum(line.escaped for line in joined)
    text = "\n".join(line.text for line in joined) + end
    return text, f"de-tokenised invertibly ({escaped:,} tokens marked)"


def _counted(reading: Reading) -> str:
    names = {"words-and-ends": "original word and line end", "words": "original word", "pieces": "original piece"}
    return f"per {names.get(reading.units, 'token')}"


def _one_text(name: str, text: str, lines: Sequence[str], reading: Reading, form: str) -> DataSet:
    counted = _units(lines, reading.units)
    unknown = "<unk> kept" if reading.unknown == "keep" else "<unk> replaced by ?"
    words = f"{form}, {unknown}, {_counted(reading)}" + (f" ({len(counted):,})" if counted else "")
    return DataSet(
        texts=(Text(id=name, text=_known(text, reading), units=len(counted)),),
        words=words,
        size=_size(lines),
        unigram=unigram(counted),
    )


def _known(text: str, reading: Reading) -> str:
    return text if reading.unknown == "keep" else text.replace(detokenizers.UNKNOWN, "?")
