"""Data sets from the Hugging Face hub, on request only: written in the formats of local files, with their hashes.

Files that are there already are not fetched again; those that were fetched are checked against the hash that was kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftaught import console, settings, storage
from selftaught.errors import DamagedFileError, InputError, MissingExtraError, UsageError
from selftaught.evaluation.remotes import ELSEWHERE, REMOTES, Remote

HUB_FILE = "hub.json"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What hub.json says of a file."""

    repository: str
    configuration: str
    split: str
    rows: int
    sha256: str


def fetch(tasks: Sequence[str], data: Path) -> list[Path]:
    """Fetch the files of some tasks into a folder of data sets, those that are not there; return the new ones.

    Raises UsageError for a task that the hub does not have, with where its text is to be had; MissingExtraError without
    `datasets`, InputError for a data set that is not as it should be, DamagedFileError for a fetched file that has changed
    since.
    """
    for task in tasks:
        if task in ELSEWHERE:
            raise UsageError(f"{task} is not on the hub", hint=f"Bring {data}/{ELSEWHERE[task]}.")
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
        text = "".join(f"{line}{remote.end}" for line in remote.lines(rows))
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise InputError(f"{where} has other columns than expected", got=repr(problem)) from problem
    if remote.md5 and hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() != remote.md5:
        raise InputError(f"{where} is not the text that is meant", expected=f"MD5 {remote.md5}")
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
