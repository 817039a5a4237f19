"""Streams compressed and decompressed by the name of their file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from selftaught.errors import InputError
from selftaught.storage.files import input_error

_READY_BYTES = 1 << 18
_BUFFER_BYTES = 1 << 16
"""Little: who reads more at a time gets it without a detour through the buffer."""


@contextmanager
def reading(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for binary reading, decompressed by its name (.gz, .bz2, .xz, .zst with windows up to 2 GiB)."""
    try:
        with open(path, "rb") as raw, decompressed(raw, path) as stream:
            yield stream
    except OSError as problem:
        raise input_error(path, problem) from problem
    except _damage(path) as problem:
        raise InputError(f"{path} is cut short or not {path.suffix}", got=str(problem)) from problem


@contextmanager
def compressed(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """Compress what goes to `raw` by the name of `path`: .gz, .zst, or not at all."""
    if path.suffix == ".gz":
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as stream:
            yield stream  # type: ignore[misc]  # a GzipFile is a binary stream in all but its declared type
    elif path.suffix == ".zst":
        import zstandard

        with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as stream:
            yield stream
    else:
        yield raw


def decompressed(raw: IO[bytes], path: Path) -> IO[bytes]:
    """Decompress what comes from `raw` by the name of `path`."""
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[return-value]  # as above
    if path.suffix == ".bz2":
        return bz2.BZ2File(raw, "rb")
    if path.suffix == ".xz":
        return lzma.LZMAFile(raw, "rb")
    if path.suffix == ".zst":
        return io.BufferedReader(_Zstandard(raw), _BUFFER_BYTES)
    return raw


class _Zstandard(io.RawIOBase):
    """Frames of a .zst file one after another; EOFError if the last is cut short, which zstandard's own reader lets pass."""

    def __init__(self, raw: IO[bytes]) -> None:
        import zstandard

        self._decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
        self._raw, self._frame, self._input = raw, self._decompressor.decompressobj(), b""
        self._ready = memoryview(b"")
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
            self._ready, self._begun = memoryview(self._frame.decompress(data)), True
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
