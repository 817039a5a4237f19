"""The texts behind answers about a corpus' held-out documents, by the names that the answers have.

Answers do not keep the passages that were asked about. They are cut out of the documents again, so that they can be looked up
in the training text as data sets' examples are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from selftaught.corpus import documents
from selftaught.tasks import cloze, passages

Named: TypeAlias = tuple[str, str]
"""Name and text."""


def _documents(texts: Iterable[Named], _starts: Collection[str]) -> Iterator[Named]:
    return iter(texts)


def _last_words(texts: Iterable[Named], _starts: Collection[str]) -> Iterator[Named]:
    return ((one.id, one.context + one.word) for one in passages.make_passages(texts))


def _cloze(texts: Iterable[Named], starts: Collection[str]) -> Iterator[Named]:
    for name, text in texts:
        for start in starts:
            yield f"{name}@{start}", cloze.passage(text, int(start))


_CUT: dict[str, Callable[[Iterable[Named], Collection[str]], Iterator[Named]]] = {
    "heldout": _documents,
    "lastword": _last_words,
    "cloze": _cloze,
}
TASKS = frozenset(_CUT)
"""Tasks that are made from held-out documents."""


def asked(task: str, names: Collection[str], corpus: Path) -> Iterator[Named]:
    """Name and text of each of a task's questions that is called by one of `names`. The held-out side is read once."""
    starts: dict[str, list[str]] = {}
    for name in names:
        document, _, start = name.rpartition("@") if task != "heldout" else (name, "", "")
        starts.setdefault(document, []).append(start)
    for row in documents.read(corpus, "heldout"):
        if row.id in starts:
            yield from (one for one in _CUT[task]([(row.id, row.text)], starts[row.id]) if one[0] in names)
