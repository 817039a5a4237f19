"""TensorFlow's checkpoint files, without TensorFlow: an index (a sorted table as LevelDB's) and shards of raw numbers.

The layout follows tensorflow/core/util/tensor_bundle and tensorflow/core/lib/io/table: blocks of entries whose keys share
their beginning with the one before, each block with a checksum, and a footer that says where the block of blocks lies.
Values are protocol-buffer messages, of which the few fields needed here are read by hand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError

_FOOTER, _MAGIC = 48, 0xDB4775248B80FB57
_TRAILER = 5
"""After each block: how it is compressed, and its checksum."""
_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """Where a tensor lies."""

    kind: int
    sides: tuple[int, ...]
    shard: int
    start: int
    size: int
    checksum: int


class TensorBundle(Mapping[str, np.ndarray[Any, Any]]):
    """The tensors of a checkpoint by name, each read and checked against its checksum when it is asked for.

    `prefix` is the path without `.index`. Raises InputError if the files are not there, DamagedFileError if they are damaged.
    """

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        index = prefix.with_name(f"{prefix.name}.index")
        data = storage.read_bytes(index)
        try:
            entries = dict(_table(data, index))
            header = _message(entries.pop(b""))
            self._shards = int(header.get(1, [1])[0])
            self._entries = {key.decode(): _entry(value) for key, value in entries.items()}
        except (IndexError, KeyError, struct.error, UnicodeDecodeError, TypeError) as problem:
            raise DamagedFileError(f"{index} is damaged", expected="an index of a TensorFlow checkpoint") from problem
        if header.get(2, [0])[0]:
            raise InputError(f"{index} was written on a big-endian machine", expected="little-endian numbers")

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        entry = self._entries[name]
        path = self._prefix.with_name(f"{self._prefix.name}.data-{entry.shard:05d}-of-{self._shards:05d}")
        if entry.kind not in _TYPES:
            raise InputError(
                f"{name} in {path} holds another kind of number", expected="float32", got=f"type {entry.kind}"
            )
        if not path.is_file():
            raise InputError(f"{path} is missing", expected=f"{self._shards} files of data beside the index")
        kind = np.dtype(_TYPES[entry.kind])
        count = int(np.prod(entry.sides))
        raw = np.fromfile(path, dtype=np.uint8, offset=entry.start, count=entry.size)
        if len(raw) != entry.size or entry.size != count * kind.itemsize:
            raise DamagedFileError(f"{path} is cut short", expected=f"{entry.size} bytes of {name}", got=str(len(raw)))
        if _masked(crc32c(raw)) != entry.checksum:
            raise DamagedFileError(f"{path} is damaged", expected=f"the checksum of {name}")
        return raw.view(kind).reshape(entry.sides)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _table(data: bytes, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a table, in order of key."""
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise DamagedFileError(f"{path} is damaged", expected="an index of a TensorFlow checkpoint")
    footer = len(data) - _FOOTER
    _, place = _varint(data, footer)
    _, place = _varint(data, place)
    for _, handle in _block(data, place, path):
        yield from _block(handle, 0, path, of=data)


def _block(handle: bytes, place: int, path: Path, of: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
    """The entries of the block that a handle (its place and length, as varints) points to."""
    data = handle if of is None else of
    start, place = _varint(handle, place)
    size, _ = _varint(handle, place)
    end = start + size
    compression, checksum = struct.unpack_from("<BI", data, end)
    if _masked(crc32c(np.frombuffer(data, np.uint8, size + 1, start))) != checksum:
        raise DamagedFileError(f"{path} is damaged", expected="the checksum of each block")
    if compression:
        raise InputError(
            f"{path} is compressed", expected="the plain index that TensorFlow writes", got=f"method {compression}"
        )
    (restarts,) = struct.unpack_from("<I", data, end - 4)
    limit, place, key = end - 4 - 4 * restarts, start, b""
    while place < limit:
        shared, place = _varint(data, place)
        own, place = _varint(data, place)
        length, place = _varint(data, place)
        key = key[:shared] + data[place : place + own]
        yield key, data[place + own : place + own + length]
        place += own + length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first; and where it ends."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _message(data: bytes) -> dict[int, list[Any]]:
    """The fields of a protocol-buffer message: number -> values, numbers or bytes."""
    fields: dict[int, list[Any]] = {}
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        value: int | bytes
        if tag & 7 == 0:
            value, place = _varint(data, place)
        elif tag & 7 == 2:
            size, place = _varint(data, place)
            value, place = data[place : place + size], place + size
        else:
            width = {1: 8, 5: 4}[tag & 7]
            value, place = int.from_bytes(data[place : place + width], "little"), place + width
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _entry(data: bytes) -> _Entry:
    fields = _message(data)
    sides = [_message(side).get(1, [0])[0] for side in _message(fields.get(2, [b""])[0]).get(2, [])]
    return _Entry(
        kind=fields.get(1, [0])[0],
        sides=tuple(sides),
        shard=fields.get(3, [0])[0],
        start=fields.get(4, [0])[0],
        size=fields.get(5, [0])[0],
        checksum=fields.get(6, [0])[0],
    )


def _masked(checksum: int) -> int:
    """TensorFlow stores checksums turned and shifted, so that a checksum of data that holds one stays good."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: np.ndarray[Any, Any]) -> int:
    """Checksum CRC-32C (Castagnoli, RFC 3720) of bytes."""
    return int(_compiled_crc()(data, _table_of_bytes()))


@cache
def _table_of_bytes() -> np.ndarray[Any, Any]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1).astype(np.uint32)
    return table


@cache
def _compiled_crc() -> Any:
    # Every model is loaded by way of this module, and numba takes a fifth of a second to import.
    import numba

    return numba.njit(cache=True)(_crc)


def _crc(data: np.ndarray[Any, Any], table: np.ndarray[Any, Any]) -> Any:
    value = np.uint32(0xFFFFFFFF)
    for byte in data:
        value = table[(value ^ byte) & np.uint32(0xFF)] ^ value >> np.uint32(8)
    return value ^ np.uint32(0xFFFFFFFF)
