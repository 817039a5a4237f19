"""What a run says of itself in run.json, and how it ended: also where it was killed, or no space was left to say so."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from selftaught import errors
from selftaught.storage.documents import read_json
from selftaught.storage.files import LOCK_FILE, sha256

RUN_FILE = "run.json"
_ENDING_BYTES = 1024
"""Taken in the lock file while there is space, for how the run ended should there be none left to write run.json then."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended."""

    status: str
    exit_code: int | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a run: where it was and what it held."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """What `run.json` holds."""

    verb: str
    command: tuple[str, ...]
    settings: dict[str, Any]
    sources: dict[str, str]
    inputs: dict[str, Input]
    versions: dict[str, str]
    git: str
    machine: dict[str, Any]
    started: str
    status: str = "running"
    """`running`, `finished`, `interrupted` or `failed`; `running` in a folder that no process holds means killed."""
    finished: str = ""
    seconds: float = 0.0
    """Time spent over all the times it was started."""
    peak_memory_bytes: int = 0
    exit_code: int | None = None
    problem: str = ""
    """What it failed with, as it was said."""
    outputs: dict[str, str] = field(default_factory=dict)
    """File name -> hash, for the files that the verb declared as its result."""

    def ended(self, ending: Ending) -> Record:
        """The same with how the run ended."""
        return dataclasses.replace(self, status=ending.status, exit_code=ending.exit_code, problem=ending.problem)


def identity(path: Path) -> str:
    """Return what an input is recognised by: the results that a finished run declared, or the hash of any other path.

    So the same corpus made twice is the same input, although the times in its run.json differ.
    """
    if (path / RUN_FILE).is_file():
        record = read_json(path / RUN_FILE, Record)
        if record.status == "finished" and record.outputs:
            listed = "".join(f"{name} {hashed}\n" for name, hashed in sorted(record.outputs.items()))
            return hashlib.sha256(listed.encode()).hexdigest()
    return sha256(path)


def read_record(folder: Path) -> Record:
    """Read the record of a run; one that says `running` in a folder that no process holds was `killed`, or its disk was full.

    Raises InputError or DamagedFileError as `read_json`.
    """
    record = read_json(folder / RUN_FILE, Record)
    if record.status != "running" or _is_held(folder):
        return record
    return record.ended(_noted(folder))


def _is_held(folder: Path) -> bool:
    try:
        with open(folder / LOCK_FILE, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def note(lock: int, ending: Ending | None) -> None:
    """Write how a run ended, or that it goes on, over what its lock file holds: that needs no space on most disks."""
    told = b"" if ending is None else msgspec.json.encode(dataclasses.replace(ending, problem=ending.problem[:240]))
    with suppress(OSError):
        os.pwrite(lock, told.ljust(_ENDING_BYTES), 0)


def _noted(folder: Path) -> Ending:
    """How a run ended that says `running` and is not: as its lock file notes, or killed."""
    try:
        return msgspec.json.decode((folder / LOCK_FILE).read_bytes(), type=Ending)
    except (OSError, msgspec.DecodeError):
        return Ending(status="killed")


def failed(problem: Exception) -> Ending:
    """How a run ends that raised something."""
    if isinstance(problem, errors.SelftaughtError):
        return Ending(status="failed", exit_code=problem.exit_code, problem=problem.line())
    return Ending(status="failed", exit_code=1, problem=f"{type(problem).__name__}: {problem}")
