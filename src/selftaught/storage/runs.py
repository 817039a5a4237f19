"""Run folders: what ran, with which settings and inputs, where, for how long and how it ended.

A run folder holds `run.json` (all of that), `plan.json` (the settings alone, a valid `--plan`) and `log.jsonl`.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from selftaught import compute, errors, settings
from selftaught.errors import InputError, MismatchError, OutputError
from selftaught.storage.documents import read_json, write_json
from selftaught.storage.files import LOCK_FILE, append_line, output_error, sha256, sweep

RUN_FILE, PLAN_FILE, LOG_FILE = "run.json", "plan.json", "log.jsonl"
_REFUSED = (errors.UsageError.exit_code, InputError.exit_code)
"""A run that ended so made nothing of its input: its folder may be begun with other settings or another input."""


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
    outputs: dict[str, str] = field(default_factory=dict)
    """File name -> hash, for the files that the verb declared as its result."""


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


class Run:
    """An open run folder; made by `run`."""

    def __init__(self, folder: Path, record: Record, *, finished: bool, resumed: bool) -> None:
        self.folder = folder
        self.record = record
        self.finished = finished
        """An earlier start of the same command did all the work: say so and stop."""
        self.resumed = resumed
        self._outputs: dict[str, str] = dict(record.outputs)

    def path(self, name: str) -> Path:
        """Return the place of a file in this folder."""
        return self.folder / name

    def log(self, row: Any) -> None:
        """Append one JSON line to log.jsonl."""
        append_line(self.path(LOG_FILE), msgspec.json.encode(row))

    def declare(self, name: str) -> None:
        """Record the hash of a finished result file (or folder) in run.json."""
        self._outputs[name] = sha256(self.path(name))

    def outputs(self) -> dict[str, str]:
        """Return the hashes declared so far."""
        return dict(self._outputs)


@contextmanager
def run(
    folder: Path,
    *,
    verb: str,
    plan: Any,
    sources: Mapping[str, str] | None = None,
    inputs: Mapping[str, Path] | None = None,
    more: bool = False,
) -> Iterator[Run]:
    """Open `folder` as the run of `verb` with the settings `plan` and yield it; record how the block ends.

    The same verb, settings and inputs in the same folder resume (or find it `finished`, unless there is `more` to do than the
    finished run did). Raises OutputError if another process is in it or it belongs to something else, MismatchError (with the
    difference) if settings or inputs changed.
    """
    _prepare(folder)
    hashed = {name: Input(path=str(path), sha256=identity(path)) for name, path in (inputs or {}).items()}
    document = settings.as_document(plan)
    with _locked(folder):
        old = _previous(folder, verb, document, hashed, type(plan))
        fresh = Record(
            verb=verb,
            command=("selftaught", *sys.argv[1:]),
            settings=document,
            sources=dict(sources or {}),
            inputs=hashed,
            versions=compute.versions(),
            git=_git_revision(),
            machine=dict(compute.description()),
            started=old.started if old else _now(),
            seconds=old.seconds if old else 0.0,
            outputs=old.outputs if old else {},
        )
        if old is not None and old.status == "finished" and not more and _outputs_hold(folder, old):
            yield Run(folder, old, finished=True, resumed=True)
            return
        sweep(folder)
        write_json(folder / PLAN_FILE, document)
        write_json(folder / RUN_FILE, fresh)
        opened = Run(folder, fresh, finished=False, resumed=old is not None)
        with _recorded(opened):
            yield opened


@contextmanager
def _recorded(opened: Run) -> Iterator[None]:
    start = time.monotonic()
    status, code = "failed", 1
    try:
        yield
        status, code = "finished", 0
    except (KeyboardInterrupt, SystemExit) as stop:
        status, code = "interrupted", errors.TERMINATED if isinstance(stop, SystemExit) else errors.INTERRUPTED
        raise
    except errors.SelftaughtError as problem:
        code = problem.exit_code
        raise
    finally:
        try:
            write_json(opened.path(RUN_FILE), _ended(opened, status, code, time.monotonic() - start))
        except OutputError:
            if status == "finished":
                raise


def _ended(opened: Run, status: str, code: int, seconds: float) -> Record:
    return dataclasses.replace(
        opened.record,
        status=status,
        exit_code=code,
        finished=_now(),
        seconds=round(opened.record.seconds + seconds, 3),
        peak_memory_bytes=compute.peak_memory_bytes(),
        outputs=opened.outputs(),
    )


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as problem:
        raise OutputError(
            f"cannot use {folder}", expected="a folder", got="a file", hint="Choose another --out."
        ) from problem
    except OSError as problem:
        raise output_error(folder, problem) from problem
    owned = (folder / RUN_FILE).exists() or not any(p.name != LOCK_FILE for p in folder.iterdir())
    if not owned:
        raise OutputError(
            f"{folder} holds something that is not a run",
            expected="an empty folder or one that this command made",
            hint="Choose another --out.",
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        lock = open(folder / LOCK_FILE, "ab")  # noqa: SIM115  # held open for the whole run
    except OSError as problem:
        raise output_error(folder, problem) from problem
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise OutputError(
                f"{folder} is in use by another process", hint="Wait for it or choose another --out."
            ) from problem
        yield


def read_record(folder: Path) -> Record:
    """Read the record of a run; one that says `running` in a folder that no process holds was `killed`.

    Raises InputError or DamagedFileError as `read_json`.
    """
    record = read_json(folder / RUN_FILE, Record)
    return record if record.status != "running" or _is_held(folder) else dataclasses.replace(record, status="killed")


def _is_held(folder: Path) -> bool:
    try:
        with open(folder / LOCK_FILE, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _previous(
    folder: Path, verb: str, document: dict[str, Any], inputs: dict[str, Input], kind: type[Any]
) -> Record | None:
    if not (folder / RUN_FILE).exists():
        return None
    old = read_json(folder / RUN_FILE, Record)
    if old.verb != verb:
        raise OutputError(
            f"{folder} belongs to another verb",
            expected=f"a run of `selftaught {verb}`",
            got=f"one of `selftaught {old.verb}`",
            hint="Choose another --out.",
        )
    if old.status == "failed" and old.exit_code in _REFUSED:
        return None
    # A setting that did not exist yet was what its default is now: what a run did then is what the default does.
    begun, free = settings.completed(old.settings, kind), settings.changeable(kind)
    changed = [d for d in settings.difference(begun, document) if d.split(":", 1)[0] not in free]
    changed += [text for name in sorted({*old.inputs, *inputs}) if (text := _changed(name, old.inputs, inputs))]
    if changed:
        raise MismatchError(
            f"{folder} was begun with another plan",
            got=", ".join(changed),
            hint="Give the old values, or another --out.",
        )
    return old


def _changed(name: str, old: Mapping[str, Input], new: Mapping[str, Input]) -> str:
    """How an input differs from the one that a run was begun with, or ""."""
    if name not in old or name not in new:
        return f"input {name} {'added' if name in new else 'left out'}"
    if old[name].sha256 == new[name].sha256:
        return ""
    moved = old[name].path != new[name].path
    return f"input {name}: {old[name].path} -> {new[name].path}" if moved else f"input {name} changed"


def _outputs_hold(folder: Path, old: Record) -> bool:
    """Whether every declared output is still there and still what was written."""
    return all((folder / name).exists() and sha256(folder / name) == hashed for name, hashed in old.outputs.items())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git_revision() -> str:
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
