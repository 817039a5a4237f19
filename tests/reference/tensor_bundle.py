"""TensorFlow's checkpoint files written by hand, as its BundleWriter does, for tests of the reader."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from selftaught.checkpoint.tensor_bundle import crc32c


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def masked(data: bytes) -> int:
    checksum = crc32c(np.frombuffer(data, np.uint8))
    return ((checksum >> 15 | checksum << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def block(entries: list[tuple[bytes, bytes]], interval: int = 16) -> bytes:
    out, restarts, before = b"", [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    return out + b"".join(struct.pack("<I", place) for place in restarts) + struct.pack("<I", len(restarts))


def write(prefix: Path, tensors: dict[str, np.ndarray], *, shards: int = 1, per_block: int = 5) -> None:
    data = [bytearray() for _ in range(shards)]
    entries = [(b"", b"\x08" + varint(shards) + b"\x1a\x02\x08\x01")]
    for number, name in enumerate(sorted(tensors)):
        array, shard = np.asarray(tensors[name], dtype="<f4", order="C"), number % shards
        raw = array.tobytes()
        sides = b"".join(b"\x12" + varint(len(side)) + side for side in (b"\x08" + varint(n) for n in array.shape))
        value = b"\x08\x01\x12" + varint(len(sides)) + sides
        value += (b"\x18" + varint(shard) if shard else b"") + (
            b"\x20" + varint(len(data[shard])) if data[shard] else b""
        )
        value += b"\x28" + varint(len(raw)) + b"\x35" + struct.pack("<I", masked(raw))
        entries.append((name.encode(), value))
        data[shard] += raw
    out, handles = b"", []

    def place(content: bytes) -> bytes:
        nonlocal out
        handle = varint(len(out)) + varint(len(content))
        out += content + b"\x00" + struct.pack("<I", masked(content + b"\x00"))
        return handle

    for start in range(0, len(entries), per_block):
        part = entries[start : start + per_block]
        handles.append((part[-1][0] + b"\x00", place(block(part))))
    footer = place(block([])) + place(block(handles, interval=1))
    out += footer.ljust(40, b"\x00") + struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(prefix.name + ".index").write_bytes(out)
    for number, content in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{shards:05d}").write_bytes(content)
