"""Data sets from the Hugging Face hub, on request only: written in the formats of local files, with their hashes.

Files that are there already are not fetched again; those that were fetched are checked against the hash that was kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from selftaught import console, settings, storage
from selftaught.errors import DamagedFileError, InputError, MissingExtraError
from selftaught.tasks import conversations, modelling, passages, questions, summaries, translation

HUB_FILE = "hub.json"
Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A split of a data set on the hub and the local file that it becomes."""

    file: str
    repository: str
    configuration: str
    split: str
    rows: int
    """As many as it must have."""
    lines: Callable[[Iterable[Row]], Iterator[str]]
    """Rows to lines of the file."""
    sha256: str = ""
    """Of the file as its authors published it, where that is known."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What hub.json says of a file."""

    repository: str
    configuration: str
    split: str
    rows: int
    sha256: str


def _documents(*names: str) -> Callable[[Iterable[Row]], Iterator[str]]:
    """One JSON document a line with some fields of a row."""

    def lines(rows: Iterable[Row]) -> Iterator[str]:
        for row in rows:
            yield msgspec.json.encode({name: row[name] for name in names}).decode()

    return lines


def _text(rows: Iterable[Row]) -> Iterator[str]:
    """Lines of text; the hub has empty ones where the original has a blank."""
    for row in rows:
        yield row["text"].removesuffix("\n") or " "


def _conversations(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        asked, gold = row["questions"]["input_text"], row["answers"]["input_text"]
        others = [row["additional_answers"][key]["input_text"] for key in sorted(row["additional_answers"])]
        turns = [
            {"question": question, "answers": list(answers)}
            for question, *answers in zip(asked, gold, *others, strict=True)
        ]
        document = {"id": row["id"], "source": row["source"], "story": row["story"], "turns": turns}
        yield msgspec.json.encode(document).decode()


def _cloze(rows: Iterable[Row]) -> Iterator[str]:
    """The official lines: 20 numbered sentences, the question with answer and candidates, a blank line."""
    for row in rows:
        for number, sentence in enumerate(row["sentences"], start=1):
            yield f"{number} {sentence}"
        yield f"{len(row['sentences']) + 1} {row['question']}\t{row['answer']}\t\t{'|'.join(row['options'])}"
        yield ""


def _language(language: str) -> Callable[[Iterable[Row]], Iterator[str]]:
    def lines(rows: Iterable[Row]) -> Iterator[str]:
        for row in rows:
            yield row["translation"][language].replace("\n", " ")

    return lines


def _wikitext(file: str, configuration: str) -> Remote:
    return Remote(
        file=file,
        repository="Salesforce/wikitext",
        configuration=configuration,
        split="test",
        rows=4358,
        lines=_text,
        sha256=_KNOWN.get(file, ""),
    )


def _pairs(file: str, split: str, rows: int) -> tuple[Remote, ...]:
    return tuple(
        Remote(
            file=f"{file}.{language}",
            repository="wmt/wmt14",
            configuration="fr-en",
            split=split,
            rows=rows,
            lines=_language(language),
            sha256=_KNOWN.get(f"{file}.{language}", ""),
        )
        for language in translation.NAMES
    )


_RAW2_FILE = "wikitext2/wiki.test.raw"
_KNOWN = {
    modelling.WIKITEXT2_FILE: "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    _RAW2_FILE: "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
    modelling.WIKITEXT103_FILE: "56db52eb157b1ab5c89646eef70510c1eca6e12a3bfdb99f0d6b05b4eacb75b9",
    f"{translation.TEST_FILE}.en": "9a12cb6e8efb3509ebede627e4a9c83ee64935509d561ff70f4b7bd5f93f6096",
    f"{translation.TEST_FILE}.fr": "2bd07dc204f965bf88e90adb6223a8cb850f9bf9840df6af1f4945195936656e",
}
"""Hashes of files as their authors published them."""
_WMT14 = (*_pairs(translation.TEST_FILE, "test", 3003), *_pairs(translation.EXAMPLES_FILE, "validation", 3000))
_NQ = "google-research-datasets/nq_open"
REMOTES: dict[str, tuple[Remote, ...]] = {
    "lambada": (
        Remote(
            file=passages.LAMBADA_FILE,
            repository="EleutherAI/lambada_openai",
            configuration="default",
            split="test",
            rows=5153,
            lines=_documents("text"),
        ),
    ),
    "wikitext2": (
        _wikitext(modelling.WIKITEXT2_FILE, "wikitext-2-v1"),
        _wikitext(_RAW2_FILE, "wikitext-2-raw-v1"),
    ),
    "wikitext103": (_wikitext(modelling.WIKITEXT103_FILE, "wikitext-103-v1"),),
    "cbt": tuple(
        Remote(
            file=f"cbt/cbtest_{category}_valid_2000ex.txt",
            repository="cam-cst/cbt",
            configuration=category,
            split="validation",
            rows=2000,
            lines=_cloze,
        )
        for category in ("CN", "NE", "P", "V")
    ),
    "coqa": (
        Remote(
            file=conversations.COQA_FILE,
            repository="EleutherAI/coqa",
            configuration="default",
            split="validation",
            rows=500,
            lines=_conversations,
        ),
    ),
    "cnndm": (
        Remote(
            file=summaries.CNN_DM_FILES[0],
            repository="abisee/cnn_dailymail",
            configuration="3.0.0",
            split="test",
            rows=11_490,
            lines=_documents("id", "article", "highlights"),
        ),
    ),
    "wmt14-en-fr": _WMT14,
    "wmt14-fr-en": _WMT14,
    "nq": (
        Remote(
            file=questions.NQ_FILE,
            repository=_NQ,
            configuration="nq_open",
            split="validation",
            rows=3610,
            lines=_documents("question", "answer"),
        ),
        Remote(
            file=questions.NQ_EXAMPLES_FILE,
            repository=_NQ,
            configuration="nq_open",
            split="train",
            rows=87_925,
            lines=_documents("question", "answer"),
        ),
    ),
}
"""Task -> its files. Others have no readable copy on the hub: docs/evaluate.md says where they are."""


def fetch(tasks: Sequence[str], data: Path) -> list[Path]:
    """Fetch the files of some tasks into a folder of data sets, those that are not there; return the new ones.

    Raises UsageError for a task that the hub does not have, MissingExtraError without `datasets`, InputError for a data set
    that is not as it should be, DamagedFileError for a fetched file that has changed since.
    """
    for task in tasks:
        if task not in REMOTES:
            raise settings.unknown_name("task on the hub", task, REMOTES)
    kept = storage.read_json(data / HUB_FILE, dict[str, Fetched]) if (data / HUB_FILE).is_file() else {}
    new = []
    for remote in dict.fromkeys(remote for task in tasks for remote in REMOTES[task]):
        path = data / remote.file
        if path.is_file():
            _check(path, kept.get(remote.file))
            continue
        kept[remote.file] = _write(path, remote)
        storage.write_json(data / HUB_FILE, kept)
        new.append(path)
    return new


def _check(path: Path, known: Fetched | None) -> None:
    """A file of the user's own is taken as it is."""
    if known is not None and storage.sha256(path) != known.sha256:
        raise DamagedFileError(f"{path} has changed since it was fetched", hint="Delete it to fetch it again.")


def _write(path: Path, remote: Remote) -> Fetched:
    where = f"{remote.repository}, {remote.configuration}, {remote.split}"
    console.line(f"fetching {path.name} from the hub: {where}")
    rows = _load(remote)
    if len(rows) != remote.rows:
        raise InputError(
            f"{where} is not the data set that is meant", expected=f"{remote.rows:,} rows", got=f"{len(rows):,}"
        )
    try:
        text = "".join(f"{line}\n" for line in remote.lines(rows))
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise InputError(f"{where} has other columns than expected", got=repr(problem)) from problem
    storage.write_text(path, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if remote.sha256 and digest != remote.sha256:
        console.warn(f"{path} is not byte for byte the file that its authors published")
    return Fetched(
        repository=remote.repository,
        configuration=remote.configuration,
        split=remote.split,
        rows=len(rows),
        sha256=digest,
    )


def _load(remote: Remote) -> Any:
    try:
        import datasets
    except ImportError as problem:
        raise MissingExtraError("datasets", "hub") from problem
    try:
        return datasets.load_dataset(remote.repository, remote.configuration, split=remote.split)
    except Exception as problem:  # what it raises without a network, or for a name that is gone, is not documented
        message = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise InputError(
            f"{remote.repository} cannot be fetched from the hub",
            got=message,
            hint=f"Check the connection, or bring {remote.file} yourself.",
        ) from problem
