"""8-gram overlap: ours beside a Python set, rbloom, fastbloom-rs, abloom, lm-evaluation-harness' and datatrove's n-grams.

Filters are for false positives of at most 1 in 10^8.

    python bench/overlap.py [--quick] [--json FILE]

The peers hold strings, so they are given 8-grams that are made by a regular expression, as such scripts make them. The harness
(where lm_eval is installed) makes its own of the same words and keeps them in a set, as its decontamination does; so does
datatrove (with xxhash below 3.6), which keeps their 64-bit hashes. Rates are 8-grams a second of processor time: making them
(strings or hashes), inserting and looking up what was made before, and all of it together, from text to the filter and from
text to the answer. Before anything is timed, every contender counts how many
8-grams of unseen text are in the filter, and all must agree. Memory is bits for each distinct 8-gram.
Last, files are read, indexed and looked up by two threads beside one, by the clock on the wall.
The text is that of ../shared/data/text where it is there, else the sources of Python's standard library.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from real_text import documents, within
from selftaught import storage
from selftaught.corpus.documents import Document
from selftaught.corpus.ngrams import ngram_hashes
from selftaught.overlap.bloom import LARGEST_RATE, Bloom
from selftaught.overlap.chunks import workers
from selftaught.overlap.indexing import filled
from selftaught.overlap.lookup import look_up
from selftaught.overlap.plan import IndexSettings, OverlapSettings
from selftaught.overlap.sources import text_of
from side_by_side import SideBySide

N = 8
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to keep a set of n-grams."""

    name: str
    made: Callable[[str], Any]
    """A text -> its n-grams, as this contender wants them."""
    empty: Callable[[int], Any]
    """Room for so many."""
    add: Callable[[Any, Any], object]
    """The set and n-grams."""
    hits: Callable[[Any, Any], int]
    """The set and n-grams -> how many of them it holds."""
    bits: Callable[[Any], float]
    """Memory of a set."""

    def filled(self, parts: Sequence[Any], room: int) -> Any:
        """A set of all n-grams."""
        found = self.empty(room)
        for part in parts:
            self.add(found, part)
        return found

    def filled_from_text(self, texts: Sequence[str], room: int) -> Any:
        """The same from the beginning."""
        found = self.empty(room)
        for text in texts:
            self.add(found, self.made(text))
        return found

    def count(self, known: Any, parts: Sequence[Any]) -> int:
        """How many n-grams are members."""
        return sum(self.hits(known, part) for part in parts)

    def count_from_text(self, known: Any, texts: Sequence[str]) -> int:
        """The same from the beginning."""
        return sum(self.hits(known, self.made(text)) for text in texts)


def strings(text: str) -> list[str]:
    """The 8-grams of a text as Python makes them."""
    words = WORD.findall(text.lower())
    return [" ".join(words[start : start + N]) for start in range(len(words) - N + 1)]


OURS = Contender(
    name="",
    made=lambda text: ngram_hashes(text, N),
    empty=Bloom,
    add=lambda known, part: known.add(part),
    hits=lambda known, part: int(np.count_nonzero(known.contains(part))),
    bits=lambda known: 8.0 * known.blocks.nbytes,
)


def contenders(bench: SideBySide) -> list[Contender]:
    """Ours, Python's set, and the peers that are installed."""
    found = [OURS, _set("set of strings", strings)]
    if rbloom := bench.peer("rbloom"):
        found.append(
            Contender(
                name="rbloom",
                made=strings,
                empty=lambda room: rbloom.Bloom(room, LARGEST_RATE),
                add=lambda known, part: known.update(part),
                hits=_members,
                bits=lambda known: known.size_in_bits,
            )
        )
    if fastbloom := bench.peer("fastbloom_rs"):
        found.append(
            Contender(
                name="fastbloom-rs",
                made=strings,
                empty=lambda room: fastbloom.FilterBuilder(room, LARGEST_RATE).build_bloom_filter(),
                add=lambda known, part: known.add_str_batch(part),
                hits=lambda known, part: sum(known.contains_str_batch(part)),
                bits=lambda known: 8.0 * len(known.get_bytes()),
            )
        )
    if abloom := bench.peer("abloom"):
        found.append(
            Contender(
                name="abloom",
                made=strings,
                empty=lambda room: abloom.BloomFilter(room, LARGEST_RATE),
                add=lambda known, part: known.update(part),
                hits=_members,
                bits=lambda known: 8.0 * known.byte_count,
            )
        )
    if importlib.util.find_spec("lm_eval") and (janitor := bench.peer("lm_eval.decontamination.janitor")):
        found.append(_set("lm-eval", lambda text: list(janitor.word_ngrams(" ".join(WORD.findall(text.lower())), N))))
    if hashes := _datatrove(bench):
        found.append(_set("datatrove", hashes))
    return found


def _set(name: str, made: Callable[[str], Any]) -> Contender:
    """A set of what `made` finds in a text."""
    return Contender(
        name=name,
        made=made,
        empty=lambda room: set(),  # noqa: ARG005
        add=lambda known, part: known.update(part),
        hits=_members,
        bits=lambda known: 8.0 * (sys.getsizeof(known) + sum(map(sys.getsizeof, known))),
    )


def _members(known: Any, part: list[str]) -> int:
    return sum(gram in known for gram in part)


def _datatrove(bench: SideBySide) -> Callable[[str], list[int]] | None:
    """A text -> the hashes of its 8-grams as datatrove's decontamination makes them, of the same words."""
    if not (text := bench.peer("datatrove.utils.text")) or not bench.peer("xxhash"):
        return None
    from datatrove.utils.hashing import HashConfig, create_hash_func

    hashed = create_hash_func(HashConfig(precision=64, hash_fc="xxhash"))
    return lambda given: list(map(hashed, map(" ".join, text.ngrams(WORD.findall(given.lower()), N))))


def main() -> None:
    """Compare and show."""
    bench = SideBySide("overlap")
    texts = list(within(documents(), 4_000_000 if bench.quick else 10_000_000))
    # Every tenth document is unseen: it is looked up and not inserted.
    unseen, seen = texts[::10], [text for number, text in enumerate(texts) if number % 10]
    everybody = contenders(bench)
    grams, asked = _made(everybody, seen), _made(everybody, unseen)
    room = sum(map(len, grams[""]))
    known = {one.name: one.filled(grams[one.name], room) for one in everybody}
    _require_same_hits(everybody, known, asked)

    def compare(case: str, works: dict[str, Callable[[], object]], amount: int) -> None:
        bench.compare(case, works.pop(""), works, amount=amount / 1e6, unit="M 8-grams/CPU-s")

    made: dict[str, Callable[[], object]] = {
        "": lambda: [OURS.made(text) for text in seen],
        "regular expression": lambda: [strings(text) for text in seen],
    }
    compare("make from text", made, room)
    compare("insert", {one.name: _filled(one, grams, room) for one in everybody}, room)
    compare("look up, all there", {one.name: _counted(one, known, grams) for one in everybody}, room)
    other = sum(map(len, asked[""]))
    compare("look up unseen text", {one.name: _counted(one, known, asked) for one in everybody}, other)
    compare("text to filter", {one.name: _filled_from_text(one, seen, room) for one in everybody}, room)
    compare("text to answer", {one.name: _counted_from_text(one, known, seen) for one in everybody}, room)
    _memory(bench, everybody, known)
    with tempfile.TemporaryDirectory() as folder:
        _threads(bench, Path(folder))
    bench.finish()


def _threads(bench: SideBySide, folder: Path) -> None:
    """Two threads beside one, from files to the filter and from files to the answer."""
    texts = list(within(documents(), 24_000_000 if bench.quick else 400_000_000))
    (folder / "plain.txt").write_text("\n\n".join(texts))
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    storage.write_jsonl(folder / "train.jsonl.zst", [Document(id=str(n), text=text) for n, text in enumerate(texts)])
    for title, path in {"text": folder / "plain.txt", "JSON lines": folder / "rows.jsonl", "corpus": folder}.items():
        known = filled(text_of(path), IndexSettings())
        amount = known.keys / 1e6
        for case, work in {"index": _indexed(path), "look up": _looked_up(path, known)}.items():
            peers = {"one thread": partial(work, 1)}
            bench.compare(
                f"{case} {title}, 2 threads", partial(work, 2), peers, amount=amount, unit="M 8-grams/s", clock="wall"
            )


def _indexed(path: Path) -> Callable[[int], object]:
    return lambda jobs: filled(text_of(path), IndexSettings(jobs=jobs))


def _looked_up(path: Path, known: Bloom) -> Callable[[int], object]:
    def work(jobs: int) -> object:
        with workers(jobs) as threads:
            return look_up(text_of(path), [known.contains], OverlapSettings(jobs=jobs), threads)

    return work


def _made(everybody: Sequence[Contender], texts: Sequence[str]) -> dict[str, list[Any]]:
    """For each contender the n-grams of all texts; those who want the same share them."""
    makers = {one.made for one in everybody}
    made = {maker: [maker(text) for text in texts] for maker in makers}
    return {one.name: made[one.made] for one in everybody}


def _filled(one: Contender, grams: dict[str, list[Any]], room: int) -> Callable[[], object]:
    return lambda: one.filled(grams[one.name], room)


def _counted(one: Contender, known: dict[str, Any], parts: dict[str, list[Any]]) -> Callable[[], object]:
    return lambda: one.count(known[one.name], parts[one.name])


def _filled_from_text(one: Contender, texts: Sequence[str], room: int) -> Callable[[], object]:
    return lambda: one.filled_from_text(texts, room)


def _counted_from_text(one: Contender, known: dict[str, Any], texts: Sequence[str]) -> Callable[[], object]:
    return lambda: one.count_from_text(known[one.name], texts)


def _require_same_hits(everybody: Sequence[Contender], known: dict[str, Any], asked: dict[str, list[Any]]) -> None:
    counts = {one.name or "ours": one.count(known[one.name], asked[one.name]) for one in everybody}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"the contenders disagree on how many 8-grams were seen before: {counts}")


def _memory(bench: SideBySide, everybody: Sequence[Contender], known: dict[str, Any]) -> None:
    distinct = len(known["set of strings"])
    sizes = {one.name: one.bits(known[one.name]) / distinct for one in everybody}
    for name, size in sizes.items():
        if name:
            bench.note("memory", sizes[""], size, name, unit="bits/distinct 8-gram", larger_is_better=False)


if __name__ == "__main__":
    main()
