"""Run folders: what ran, with which settings and inputs, where, for how long and how it ended.

A run folder holds `run.json` (all of that), `plan.json` (the settings alone, a valid `--plan`) and `log.jsonl`.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from selftaught import compute, errors, settings
from selftaught.errors import InputError, MismatchError, OutputError
from selftaught.storage.documents import read_json, write_json
from selftaught.storage.files import LOCK_FILE, append_line, output_error, sha256, sweep
from selftaught.storage.records import RUN_FILE, Ending, Input, Record, failed, identity, note

PLAN_FILE, LOG_FILE = "plan.json", "log.jsonl"
_REFUSED = (errors.UsageError.exit_code, InputError.exit_code)
"""A run that ended so made nothing of its input: its folder may be begun with other settings or another input."""


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
    with _locked(folder) as lock:
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
        with _recorded(opened, lock):
            yield opened


@contextmanager
def _recorded(opened: Run, lock: int) -> Iterator[None]:
    start = time.monotonic()
    ending = Ending(status="failed", exit_code=1)
    note(lock, None)
    try:
        yield
        ending = Ending(status="finished", exit_code=0)
    except (KeyboardInterrupt, SystemExit) as stop:
        code = errors.TERMINATED if isinstance(stop, SystemExit) else errors.INTERRUPTED
        ending = Ending(status="interrupted", exit_code=code)
        raise
    except Exception as problem:
        ending = failed(problem)
        raise
    finally:
        try:
            write_json(opened.path(RUN_FILE), _ended(opened, ending, time.monotonic() - start))
        except OutputError as problem:
            if ending.status == "finished":
                note(lock, failed(problem))
                raise
            note(lock, ending)


def _ended(opened: Run, ending: Ending, seconds: float) -> Record:
    return dataclasses.replace(
        opened.record,
        status=ending.status,
        exit_code=ending.exit_code,
        problem=ending.problem,
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
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock file for the whole run; its descriptor."""
    try:
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as problem:
        raise output_error(folder, problem) from problem
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise OutputError(
                f"{folder} is in use by another process", hint="Wait for it or choose another --out."
            ) from problem
        yield lock
    finally:
        os.close(lock)


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
