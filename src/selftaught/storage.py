"""The one place that writes files: atomic, hashed, and every verb's output a run folder with its record.

A file appears under its name only when all of it is on the disk: it is written beside its place under a temporary name,
synchronised and renamed. A run folder holds `run.json` (what ran, with which settings and inputs, where, for how long and
how it ended), `plan.json` (the settings alone, a valid `--plan`) and `log.jsonl`.
"""

from __future__ import annotations

import bz2
import dataclasses
import errno
import fcntl
import gzip
import hashlib
import heapq
import io
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Generic, TypeVar, cast

import msgspec

from selftaught import compute, errors, settings
from selftaught.errors import DamagedFileError, InputError, MismatchError, OutputError

RUN_FILE, PLAN_FILE, LOG_FILE, LOCK_FILE = "run.json", "plan.json", "log.jsonl", ".lock"
TEMPORARY = ".unfinished"
"""Suffix of files that are being written; `sweep` removes those that a killed process left behind."""

_FRAME_BYTES, _READY_BYTES = 1 << 18, 1 << 18

_REFUSED = (errors.UsageError.exit_code, InputError.exit_code)
"""A run that ended so made nothing of its input: its folder may be begun with other settings or another input."""

T = TypeVar("T")


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


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for binary writing; it appears complete on leaving the block and not at all on an error.

    Raises OutputError where the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
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


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document (dataclasses, paths and msgspec types included) atomically, indented, one final newline."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=1) + b"\n")


@contextmanager
def writing_rows(path: Path) -> Iterator[Callable[[Any], None]]:
    """Open a JSON-lines file, atomic, compressed if the name ends in .gz or .zst; gives a function that adds a row."""
    with writing(path) as raw, _compressed(raw, path) as stream:

        def add(row: Any) -> None:
            stream.write(msgspec.json.encode(row) + b"\n")

        yield add


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write one JSON document a line (see `writing_rows`). Returns the number of rows."""
    count = 0
    with writing_rows(path) as add:
        for row in rows:
            add(row)
            count += 1
    return count


@contextmanager
def _compressed(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as stream:
            yield stream  # type: ignore[misc]  # a GzipFile is a binary stream in all but its declared type
    elif path.suffix == ".zst":
        import zstandard

        with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as stream:
            yield stream
    else:
        yield raw


class _Temporary(io.FileIO):
    """An unnamed temporary file, closed without a warning when nobody needs it any more."""

    def __del__(self) -> None:
        self.close()

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as problem:
            raise output_error(Path(tempfile.gettempdir()), problem) from problem


def temporary() -> IO[bytes]:
    """Open an unnamed file for scratch data, not buffered; TMPDIR says on which disk. It goes when it or its process does.

    Raises OutputError if the disk is full, also on writing.
    """
    try:
        number, name = tempfile.mkstemp(prefix="selftaught-")
        Path(name).unlink()
    except OSError as problem:
        raise output_error(Path(tempfile.gettempdir()), problem) from problem
    return _Temporary(number, "w+b")


class Spool(Generic[T]):
    """Rows that may be too many for memory: appended, counted, read again in order, as often as wanted.

    They lie compressed in an unnamed temporary file (TMPDIR says on which disk), which goes when this object or its process does.
    """

    def __init__(self, kind: type[T], rows: Iterable[T] = ()) -> None:
        self._encode, self._decoder = msgspec.json.Encoder(enc_hook=str).encode, msgspec.json.Decoder(kind)
        self._waiting, self._count = bytearray(), 0
        self._file: IO[bytes] | None = None
        self._frames: list[tuple[int, int]] = []
        for row in rows:
            self.append(row)

    def __len__(self) -> int:
        """How many rows were appended."""
        return self._count

    def append(self, row: T) -> None:
        """Add one row at the end. Raises OutputError if the temporary disk is full."""
        self._waiting += self._encode(row)
        self._waiting += b"\n"
        self._count += 1
        if len(self._waiting) >= _FRAME_BYTES:
            self._write()

    def __iter__(self) -> Iterator[T]:
        """All rows in order; several iterations may go on at a time."""
        import zstandard

        for place, size in list(self._frames):
            data = zstandard.decompress(os.pread(cast("IO[bytes]", self._file).fileno(), size, place))
            yield from self._decoder.decode_lines(data)
        yield from self._decoder.decode_lines(bytes(self._waiting))

    def _write(self) -> None:
        import zstandard

        data = zstandard.compress(bytes(self._waiting))
        if self._file is None:
            self._file = temporary()
        place = sum(self._frames[-1]) if self._frames else 0
        self._file.write(data)
        self._frames.append((place, len(data)))
        self._waiting.clear()


def sorted_rows(
    rows: Iterable[T],
    kind: type[T],
    key: Callable[[T], Any],
    *,
    weight: Callable[[T], int] = lambda _: 1,
    most: int = 500_000,
) -> Iterator[T]:
    """Rows in order of `key`, equal ones as they came, with rows of at most `most` total `weight` in memory at a time."""
    runs: list[Spool[T]] = []
    held: list[T] = []
    room = most
    for row in rows:
        held.append(row)
        room -= weight(row)
        if room <= 0:
            runs.append(Spool(kind, sorted(held, key=key)))
            held, room = [], most
    held.sort(key=key)
    yield from heapq.merge(*runs, held, key=key)


def read_json(path: Path, kind: type[T]) -> T:
    """Read a JSON file as a value of type `kind` (a dataclass, `dict[str, Any]`, a list of dataclasses...).

    Raises InputError if it is missing, DamagedFileError if it is not such a document.
    """
    return decode_json(read_bytes(path), kind, path)


def decode_json(data: bytes, kind: type[T], path: Path) -> T:
    """Decode JSON that was read from `path`; DamagedFileError says where it is wrong."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, ValueError) as problem:
        wanted = getattr(kind, "__name__", str(kind))
        raise DamagedFileError(f"{path} cannot be read", expected=f"JSON of a {wanted}", got=str(problem)) from problem


def read_bytes(path: Path) -> bytes:
    """Read a whole file; InputError if it is not there or may not be read."""
    try:
        return path.read_bytes()
    except OSError as problem:
        raise input_error(path, problem) from problem


def input_error(path: Path, problem: OSError) -> InputError:
    """Turn an operating-system error on reading `path` into one of ours."""
    return InputError(f"cannot read {path}", got=problem.strerror or str(problem))


@contextmanager
def reading(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for binary reading, decompressed by its name (.gz, .bz2, .xz, .zst with windows up to 2 GiB)."""
    try:
        with open(path, "rb") as raw, _decompressed(raw, path) as stream:
            yield stream
    except OSError as problem:
        raise input_error(path, problem) from problem
    except _damage(path) as problem:
        raise InputError(f"{path} is cut short or not {path.suffix}", got=str(problem)) from problem


class _Zstandard(io.RawIOBase):
    """Frames of a .zst file one after another; EOFError if the last is cut short, which zstandard's own reader lets pass."""

    def __init__(self, raw: IO[bytes]) -> None:
        import zstandard

        self._decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
        self._raw, self._frame, self._input, self._ready = raw, self._decompressor.decompressobj(), b"", b""
        self._begun, self._step = False, 512

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._input:
                self._input = self._raw.read(1 << 15)
            if not self._input:
                if self._begun:
                    raise EOFError("the last frame is not complete")
                return 0
            data, self._input = self._input[: self._step], self._input[self._step :]
            self._ready, self._begun = self._frame.decompress(data), True
            # A few bytes may stand for megabytes, and there is no telling zstandard to stop: so the next step follows the last.
            fitting = self._step * _READY_BYTES // max(1, len(self._ready))
            self._step = min(1 << 15, 2 * self._step, max(16, fitting))
            if self._frame.eof:
                self._input = self._frame.unused_data + self._input
                self._frame, self._begun = self._decompressor.decompressobj(), False
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _damage(path: Path) -> tuple[type[Exception], ...]:
    """What a decompressor raises for a damaged file."""
    if path.suffix != ".zst":
        return (EOFError, lzma.LZMAError, zlib.error)
    import zstandard

    return (EOFError, zstandard.ZstdError)


def _decompressed(raw: IO[bytes], path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[return-value]  # as above
    if path.suffix == ".bz2":
        return bz2.BZ2File(raw, "rb")
    if path.suffix == ".xz":
        return lzma.LZMAFile(raw, "rb")
    if path.suffix == ".zst":
        return io.BufferedReader(_Zstandard(raw), 1 << 20)
    return raw


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
            expected=f"{needed / 1e6:,.0f} MB free",
            got=f"{free / 1e6:,.0f} MB",
            hint="Free some space or choose another --out.",
        )


def sweep(folder: Path) -> None:
    """Remove files and folders that a killed process left half-written under `folder`."""
    for leftover in list(folder.rglob(f".*{TEMPORARY}")):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


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


def append_line(path: Path, line: bytes) -> None:
    """Append one line to a log in a single write, so that a reader never sees half of one."""
    try:
        with open(path, "ab") as stream:
            stream.write(line + b"\n")
    except OSError as problem:
        raise output_error(path, problem) from problem


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """Read a JSON-lines file; a last line cut short by a kill is left out."""
    lines = read_bytes(path).split(b"\n")
    return [decode_json(line, kind, path) for line in lines[:-1] if line]


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
