"""Filters of the n-grams of a corpus: made on several threads, kept, used again, united.

How many distinct n-grams there are is estimated first, so that a filter has just the room that it needs. The hashes are kept
for the second round while they are few; the rest of a larger text is read twice, and memory holds the filter and little else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import console, storage
from selftaught.corpus import documents
from selftaught.errors import InputError, MismatchError, UsageError
from selftaught.overlap.bloom import Bloom
from selftaught.overlap.chunks import Piece, Workers, hashed, pieces, workers
from selftaught.overlap.distinct import STANDARD_ERROR, Distinct
from selftaught.overlap.parameters import PARAMETERS_FILE, Content, Parameters
from selftaught.overlap.plan import IndexSettings
from selftaught.overlap.sources import Texts, text_of

Array = np.ndarray[Any, Any]
KEPT_HASHES = 1 << 25
"""Hashes that are kept between the two rounds: 268 MB."""


def identity(path: Path) -> str:
    """SHA-256 of what `text_of` reads: of a corpus folder its training side, of anything else the files."""
    train = documents.split_file(path, "train")
    return storage.sha256(train if train.is_file() else path)


def filter_of(path: Path, out: Path, rules: IndexSettings) -> Bloom:
    """The filter of a text's n-grams: the one in `out` if it is of this text, else a new one that is kept there."""
    content = Content(words=rules.words, across=rules.across, texts=(identity(path),))
    if (out / PARAMETERS_FILE).is_file():
        known = storage.read_json(out / PARAMETERS_FILE, Parameters)
        if known.content == content and rules.capacity in (0, known.capacity):
            return Bloom.load(out)
    made = filled(text_of(path), rules)
    made.save(out, content)
    return made


def filter_from(index: Path, path: Path, rules: IndexSettings) -> Bloom:
    """The filter in `index`, which must be of this text alone. Raises MismatchError if it is of another or of other n-grams."""
    content = Content(words=rules.words, across=rules.across, texts=(identity(path),))
    known = read_content(index)
    if known != content:
        other = known.kind if known.kind != content.kind else "another text"
        raise MismatchError(f"{index} is no index of {path}", expected=content.kind, got=other)
    return Bloom.load(index)


def filled(texts: Texts, rules: IndexSettings) -> Bloom:
    """A filter of all n-grams of texts: with `rules.capacity`, or just the room that is needed."""
    stream = rules.across == "stream"
    with workers(rules.jobs) as threads:
        kept, capacity, complete = list[Array](), rules.capacity, False
        if not capacity:
            distinct, kept, complete = _counted(texts, rules, threads)
            capacity = room_for(distinct.estimate())
        made = Bloom(capacity)

        def put(item: Piece | Array) -> int:
            hashes = item if isinstance(item, np.ndarray) else hashed(item, rules.words, stream=stream).hashes
            made.add(hashes)
            return len(hashes)

        rest = iter(()) if complete else islice(pieces(texts(), rules.words, stream=stream), len(kept), None)
        with console.progress("indexing", unit="n-grams") as bar:
            for count in threads.map(put, chain(kept, rest)):
                bar.advance(count)
    return made


def _counted(texts: Texts, rules: IndexSettings, threads: Workers) -> tuple[Distinct, list[Array], bool]:
    """What is distinct among the n-grams, the hashes of as many first pieces as are to be kept, and whether those are all."""
    stream = rules.across == "stream"

    def work(piece: Piece) -> tuple[Array, Distinct]:
        hashes, own = hashed(piece, rules.words, stream=stream).hashes, Distinct()
        own.add(hashes)
        return hashes, own

    distinct, size = Distinct(), 0
    kept: list[Array] = []
    with console.progress("counting", unit="n-grams") as bar:
        for hashes, own in threads.map(work, pieces(texts(), rules.words, stream=stream)):
            distinct.unite(own)
            size += len(hashes)
            if size <= KEPT_HASHES:
                kept.append(hashes)
            bar.advance(len(hashes))
    return distinct, kept, size <= KEPT_HASHES


def room_for(estimate: float) -> int:
    """A capacity for about so many distinct keys: three standard errors of the estimate more."""
    return math.ceil(estimate * (1 + 3 * STANDARD_ERROR)) + 8


def merge(folders: Sequence[Path], out: Path) -> Parameters:
    """Unite the filters in folders, made with one capacity of the same kind of n-grams, into one in `out`.

    Raises MismatchError for filters that are unlike or together too full, UsageError for fewer than two.
    """
    if len(folders) < 2:
        raise UsageError("nothing to merge", expected="two folders or more", got=str(len(folders)))
    first, *others = folders
    made, content = Bloom.load(first), read_content(first)
    for folder in others:
        content = content.united(read_content(folder))
        made.union(Bloom.load(folder))
    made.save(out, content)
    return storage.read_json(out / PARAMETERS_FILE, Parameters)


def read_content(folder: Path) -> Content:
    """What a saved filter holds. Raises InputError where there is none."""
    if not (folder / PARAMETERS_FILE).is_file():
        raise InputError(
            f"no index in {folder}", expected=PARAMETERS_FILE, hint="Type: selftaught overlap index TEXT --out DIR"
        )
    return storage.read_json(folder / PARAMETERS_FILE, Parameters).content
