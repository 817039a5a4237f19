"""Files and folders that are there whole or not at all, their hashes, and the space they need."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from selftaught.errors import InputError, OutputError

TEMPORARY = ".unfinished"
"""Suffix of files that are being written; `sweep` removes those that a killed process left behind."""
LOCK_FILE = ".lock"
"""Held by the process that is in a run folder; no part of what it holds."""


def output_error(path: Path, problem: OSError) -> OutputError:
    """Turn an operating-system error on writing `path` into one that says what to do."""
    hints = {
        errno.ENOSPC: "Free some space or choose another --out, then run the same command again: finished work is kept.",
        errno.EACCES: "Choose an --out that you may write to.",
        errno.EROFS: "Choose an --out on a writable disk.",
        errno.ENOTDIR: "Choose an --out whose parent is a folder.",
    }
    hint = hints.get(problem.errno or 0, "Choose another --out.")
    return OutputError(f"cannot write {path}", got=problem.strerror or str(problem), hint=hint)


def input_error(path: Path, problem: OSError) -> InputError:
    """Turn an operating-system error on reading `path` into one of ours."""
    return InputError(f"cannot read {path}", got=problem.strerror or str(problem))


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for binary writing; it appears complete on leaving the block and not at all on an error.

    Raises OutputError where the disk is full or the folder cannot be written.
    """
    # A number of a process is unique neither among machines that share a disk nor among threads.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            mode = os.fstat(stream.fileno()).st_mode
        # Not `stream`: safetensors puts a file of its own there, which nobody else may read.
        with open(temporary, "rb") as written:
            temporary.chmod(stat.S_IMODE(mode))
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as problem:
        raise output_error(path, problem) from problem
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing_folder(folder: Path, *, replaces: Callable[[Path], bool] = lambda _: False) -> Iterator[Path]:
    """Yield a place for the files of a folder, which gets its name on leaving the block: it is there whole or not at all.

    An empty folder of that name makes room for it, as does one that `replaces` says yes to. Raises OutputError for any other.
    """
    place = unfinished(folder)
    shutil.rmtree(place, ignore_errors=True)
    try:
        place.mkdir(parents=True)
        yield place
        if folder.exists():
            if not folder.is_dir() or (any(folder.iterdir()) and not replaces(folder)):
                raise OutputError(f"{folder} is there already", hint="Choose another place.")
            shutil.rmtree(folder)
        place.replace(folder)
    except OSError as problem:
        raise output_error(folder, problem) from problem
    finally:
        shutil.rmtree(place, ignore_errors=True)


def unfinished(folder: Path) -> Path:
    """Where the files of a folder lie while it is written."""
    return folder.with_name(f".{folder.name}{TEMPORARY}")


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with writing(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def read_bytes(path: Path) -> bytes:
    """Read a whole file; InputError if it is not there or may not be read."""
    try:
        return path.read_bytes()
    except OSError as problem:
        raise input_error(path, problem) from problem


def sha256(path: Path) -> str:
    """Return the hash of a file, or of a folder's files (names and contents, in order of name)."""
    if path.is_dir():
        combined = hashlib.sha256()
        for inner in sorted(p for p in path.rglob("*") if p.is_file() and p.name != LOCK_FILE):
            combined.update(f"{inner.relative_to(path).as_posix()} {sha256(inner)}\n".encode())
        return combined.hexdigest()
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise input_error(path, problem) from problem


def free_bytes(path: Path) -> int:
    """Return the free space on the disk that holds `path` (which need not exist yet)."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free


def require_space(path: Path, needed: int) -> None:
    """Raise OutputError before long work whose `needed` bytes will not fit on the disk of `path`."""
    free = free_bytes(path)
    if free < needed:
        raise OutputError(
            f"not enough space for {path}",
            expected=f"{_size_words(needed)} free",
            got=_size_words(free),
            hint="Free some space or choose another --out.",
        )


def _size_words(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 10_000_000 else f"{size / 1e3:,.0f} kB"


def sweep(folder: Path) -> None:
    """Remove files and folders that a killed process left half-written under `folder`."""
    for leftover in list(folder.rglob(f".*{TEMPORARY}")):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def append_line(path: Path, line: bytes) -> None:
    """Append one line to a log in a single write, so that a reader never sees half of one."""
    try:
        with open(path, "ab") as stream:
            stream.write(line + b"\n")
    except OSError as problem:
        raise output_error(path, problem) from problem
