"""Filters of the n-grams of a corpus: made on several threads, kept, used again, united.

How many distinct n-grams there are is estimated first, so that a filter has just the room that it needs. The hashes are kept
for the second round while they are few; a larger text is read twice, and memory holds the filter and little else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import console, storage
from selftaught.corpus import documents, local
from selftaught.corpus.documents import Funnel
from selftaught.errors import InputError, MismatchError, UsageError
from selftaught.overlap.bloom import Bloom
from selftaught.overlap.chunks import Piece, Workers, hashed, pieces, workers
from selftaught.overlap.distinct import STANDARD_ERROR, Distinct
from selftaught.overlap.parameters import PARAMETERS_FILE, Content, Parameters
from selftaught.overlap.plan import IndexSettings

Array = np.ndarray[Any, Any]
KEPT_HASHES = 1 << 25
"""Hashes that are kept between the two rounds: 268 MB."""


def text_of(path: Path) -> Callable[[], Iterable[str]]:
    """The training documents of a corpus folder, or the documents of files and folders of text, as often as they are wanted.

    Reading raises InputError where there is no text, with what was found instead.
    """
    if documents.split_file(path, "train").is_file():
        return lambda: (row.text for row in documents.read(path))
    files = local.find_files((path,))

    def read() -> Iterator[str]:
        funnel, none = Funnel(), True
        for row in local.read_documents(files, funnel):
            none = False
            yield row.text
        if none:
            dropped = ", ".join(f"{row.count} {row.reason}" for row in funnel.rows() if row.reason not in ("", "kept"))
            raise InputError(f"no text in {path}", expected='text, or JSON lines with a field "text"', got=dropped)

    return read


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


def filled(texts: Callable[[], Iterable[str]], rules: IndexSettings) -> Bloom:
    """A filter of all n-grams of texts: with `rules.capacity`, or just the room that is needed."""
    with workers(rules.jobs) as threads:
        kept: list[Array] | None = None
        capacity = rules.capacity
        if not capacity:
            distinct, kept = _counted(texts, rules, threads)
            capacity = room_for(distinct.estimate())
        made = Bloom(capacity)
        found = iter(kept) if kept is not None else (hashes for hashes, _ in _hashes(texts, rules, threads))
        with console.progress("indexing", unit="n-grams") as bar:
            while batch := list(islice(found, 2 * rules.jobs)):
                made.add_shared(batch, threads)
                bar.advance(sum(map(len, batch)))
    return made


def _hashes(
    texts: Callable[[], Iterable[str]], rules: IndexSettings, threads: Workers, *, count: bool = False
) -> Iterator[tuple[Array, Distinct]]:
    """The hashes of piece after piece; with `count` also what their thread counted of them."""
    stream = rules.across == "stream"

    def work(piece: Piece) -> tuple[Array, Distinct]:
        hashes, distinct = hashed(piece, rules.words, stream=stream).hashes, Distinct()
        if count:
            distinct.add(hashes)
        return hashes, distinct

    return threads.map(work, pieces(texts(), rules.words, stream=stream))


def _counted(
    texts: Callable[[], Iterable[str]], rules: IndexSettings, threads: Workers
) -> tuple[Distinct, list[Array] | None]:
    """What is distinct among the n-grams, and their hashes if they are few."""
    distinct, size = Distinct(), 0
    kept: list[Array] = []
    with console.progress("counting", unit="n-grams") as bar:
        for hashes, own in _hashes(texts, rules, threads, count=True):
            distinct.unite(own)
            size += len(hashes)
            if size > KEPT_HASHES:
                kept.clear()
            else:
                kept.append(hashes)
            bar.advance(len(hashes))
    return distinct, kept if size <= KEPT_HASHES else None


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
            f"no index in {folder}", expected=PARAMETERS_FILE, hint="selftaught overlap index TEXT --out DIR"
        )
    return storage.read_json(folder / PARAMETERS_FILE, Parameters).content
