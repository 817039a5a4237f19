"""The text of data sets' test files, example by example, and of their own training files (GPT-2 paper, table 6).

Files are read as `evaluate` reads them, in all their forms, and examples have the names that it gives them in its answers. What
was tokenised is de-tokenised first, in test and training files alike, since raw text of a corpus is compared with it. The paper
does not say what it did with long texts: here they are streams, whose lines are the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from selftaught import storage
from selftaught.errors import InputError
from selftaught.tasks import (
    cloze,
    conversations,
    detokenizers,
    modelling,
    passages,
    questions,
    summaries,
    translation,
    winograd,
)
from selftaught.tasks.rows import read_lines, read_rows

Example = tuple[str, str]
"""Name and text."""
_READ_BYTES = 1 << 20
_LEAST_WORDS = 3
"""Strings of fewer words in the rows of an unknown data set are labels and names rather than text."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set that is there."""

    name: str
    """As its task is called in `evaluate`, or its folder."""
    test: Callable[[], Iterable[Example]]
    own: Callable[[], Iterable[str]] | None = None
    """Its own training text; None where that is not there."""
    own_name: str = ""
    """`own train`, or which file takes its place."""
    across: Literal["documents", "stream"] = "documents"


Lines = Callable[[str], str]


def _plain(line: str) -> str:
    return line


def _joined(rules: Callable[[list[str]], Any]) -> Lines:
    return lambda line: str(rules(line.split()).text)


@dataclass(frozen=True, kw_only=True)
class _Form:
    """Lines of tokenised text: which files, and how a line is written."""

    name: str
    test: tuple[str, ...]
    own: tuple[tuple[str, str], ...]
    """(what it is called, pattern of its files): the first that is there."""
    written: Lines
    across: Literal["documents", "stream"]

    def found(self, data: Path) -> DataSet | None:
        """The data set, if its test file is there."""
        test = next((data / file for file in self.test if (data / file).is_file()), None)
        if test is None:
            return None
        own = next(((title, sorted(data.glob(files))) for title, files in self.own if any(data.glob(files))), ("", []))
        return DataSet(
            name=self.name,
            test=lambda: self._lines(test),
            own=(lambda: (text for path in own[1] for _, text in self._lines(path))) if own[1] else None,
            own_name=own[0],
            across=self.across,
        )

    def _lines(self, path: Path) -> Iterator[Example]:
        numbered = enumerate(read_lines(path), start=1)
        return ((f"{self.name}-{number}", self.written(line)) for number, line in numbered if line.strip())


def _wikitext(name: str) -> _Form:
    return _Form(
        name=name,
        test=(f"{name}/wiki.test.tokens",),
        own=(("own train", f"{name}/wiki.train.tokens"), ("own validation", f"{name}/wiki.valid.tokens")),
        written=_joined(detokenizers.wikitext),
        across="stream",
    )


_FORMS = (
    _Form(
        name="ptb",
        test=(modelling.PENN_FILE,),
        own=(("own train", "ptb/ptb.train.txt"), ("own validation", "ptb/ptb.valid.txt")),
        written=_joined(detokenizers.penn),
        across="stream",
    ),
    _wikitext("wikitext2"),
    _wikitext("wikitext103"),
    _Form(
        name="1bw",
        test=(modelling.NEWS_FILE, modelling.NEWS_PART_FILE),
        own=(("own train", "lm1b/**/news.en-00*-of-00100"), ("own validation", "lm1b/1b_benchmark.dev.tokens")),
        written=_joined(detokenizers.news),
        across="documents",
    ),
)


def _characters(data: Path, name: str, files: tuple[str, ...]) -> DataSet | None:
    """enwik8 or text8: the last 5 million bytes are the test set, the first 90 million the training set."""
    path = next((data / file for file in files if (data / file).is_file()), None)
    if path is None:
        return None
    size = path.stat().st_size
    whole = size == modelling.ENWIK8_BYTES
    first = size - modelling.ENWIK8_TEST_BYTES if whole else 0
    return DataSet(
        name=name,
        test=lambda: ((f"{name}@{first + at}", text) for at, text in _stretches(path, first, size)),
        own=(lambda: (text for _, text in _stretches(path, 0, _TRAIN_BYTES))) if whole else None,
        own_name="own train" if whole else "",
        across="stream",
    )


_TRAIN_BYTES = 90_000_000


def _stretches(path: Path, first: int, end: int) -> Iterator[tuple[int, str]]:
    """Stretches of about a megabyte between two bytes of a file, cut at blanks, with the places where they begin."""
    with storage.reading(path) as stream:
        stream.seek(first)
        at, waiting, left = 0, b"", end - first
        while left and (data := stream.read(min(_READ_BYTES, left))):
            left -= len(data)
            waiting += data
            cut = waiting.rfind(b" ") if left else len(waiting)
            if cut > 0:
                yield at, waiting[:cut].decode("utf-8", "replace")
                at, waiting = at + cut, waiting[cut:]
        if waiting:
            yield at, waiting.decode("utf-8", "replace")


def _winograd(data: Path, files: tuple[str, ...]) -> Iterable[Example]:
    """Schemas with their pronoun, as they may stand in a text."""
    return winograd.read_texts(next(path for pattern in files for path in sorted(data.glob(pattern))))


def _cbt(data: Path) -> Iterator[Example]:
    for asked in cloze.read_cbt(data).values():
        for one in asked:
            yield one.id, one.contexts[one.answer] + one.continuations[one.answer]


_QUESTIONS: dict[str, tuple[tuple[str, ...], Callable[[Path], Iterable[Example]]]] = {
    "lambada": (
        (passages.LAMBADA_FILE,),
        lambda data: ((one.id, one.context + one.word) for one in passages.read_lambada(data)),
    ),
    "cbt": (cloze.CBT_FILES, _cbt),
    "winograd": (winograd.WSC273_FILES, partial(_winograd, files=winograd.WSC273_FILES)),
    "pdp60": (winograd.PDP60_FILES, partial(_winograd, files=winograd.PDP60_FILES)),
    "coqa": (
        conversations.COQA_FILES,
        lambda data: ((one.id, one.story) for one in conversations.read_coqa(data)),
    ),
    "cnndm": (summaries.CNN_DM_FILES, lambda data: ((one.id, one.article) for one in summaries.read_articles(data))),
    "nq": (
        (questions.NQ_FILE,),
        lambda data: ((one.id, one.question) for one in questions.read_questions(data, examples=0, seed=1).asked),
    ),
    "wmt14-en": (translation.TEST_FILES["en"], partial(translation.read_language, language="en")),
    "wmt14-fr": (translation.TEST_FILES["fr"], partial(translation.read_language, language="fr")),
}
_KNOWN_FOLDERS = frozenset(
    ("ptb", "wikitext2", "wikitext103", "lm1b", "enwik8", "text8", "lambada", "cbt", "winograd", "coqa", "cnn_dm")
) | {"nq_open", "wmt14_en_fr"}


def find(data: Path) -> list[DataSet]:
    """The data sets in a folder: the paper's (docs/evaluate.md), and other folders with rows in test*.jsonl or dev*.jsonl.

    Raises InputError if there are none.
    """
    found = [form.found(data) for form in _FORMS]
    found += [
        _characters(data, "enwik8", (modelling.ENWIK8_FILE, modelling.ENWIK8_PREFIX_FILE)),
        _characters(data, "text8", (modelling.TEXT8_FILE,)),
    ]
    for name, (files, read) in _QUESTIONS.items():
        if any(any(data.glob(file)) for file in files):
            found.append(DataSet(name=name, test=partial(read, data)))
    folders = sorted(path for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
    found += [_rows(folder) for folder in folders if folder.name not in _KNOWN_FOLDERS]
    there = [one for one in found if one is not None]
    if not there:
        raise InputError(f"no data set in {data}", expected="folders such as lambada/ or wikitext2/ (docs/evaluate.md)")
    return there


def _rows(folder: Path) -> DataSet | None:
    """A folder of JSON lines: test*.jsonl, or else dev*.jsonl, and train*.jsonl."""
    sides = {side: sorted(folder.glob(f"{side}*.jsonl")) for side in ("test", "dev", "train")}
    test = sides["test"] or sides["dev"]
    if not test:
        return None

    def examples(paths: list[Path]) -> Iterator[Example]:
        for path in paths:
            for number, row in read_rows(path, dict[str, Any]):
                yield f"{path.stem}-{number}", "\n".join(_strings(row))

    train = sides["train"]
    return DataSet(
        name=folder.name,
        test=lambda: examples(test),
        own=(lambda: (text for _, text in examples(train))) if train else None,
        own_name="own train" if train else "",
    )


def _strings(value: Any) -> Iterator[str]:
    """The texts in a row, in order."""
    if isinstance(value, str) and len(value.split()) >= _LEAST_WORDS:
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
