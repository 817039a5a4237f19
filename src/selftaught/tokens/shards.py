"""Token shards on disk: little-endian ids, documents each preceded by <|endoftext|>, and what is needed to trust them.

shards.json beside them holds lengths, hashes and the fingerprint of the tokenizer, whose files lie there too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError

INDEX_FILE = "shards.json"
Split = Literal["train", "heldout"]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of tokens."""

    name: str
    tokens: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SplitIndex:
    """One side of the split."""

    tokens: int
    documents: int
    bytes: int
    """UTF-8 bytes of the text, without <|endoftext|>."""
    shards: tuple[Shard, ...]


@dataclass(frozen=True, kw_only=True)
class Index:
    """What shards.json holds."""

    fingerprint: str
    vocabulary_size: int
    end_of_text: int
    dtype: Literal["uint16", "uint32"]
    splits: dict[str, SplitIndex]


class Shards:
    """One side of the split, memory-mapped; `slice` reads across shard files as if they were one."""

    def __init__(self, folder: Path, index: Index, split: str) -> None:
        self.folder, self.index, self.split = folder, index, split
        side = index.splits[split]
        self.tokens, self.bytes, self.documents = side.tokens, side.bytes, side.documents
        self.vocabulary_size, self.fingerprint = index.vocabulary_size, index.fingerprint
        self._arrays = [_mapped(folder / shard.name, shard, index.dtype) for shard in side.shards]
        self._starts = np.cumsum([0, *(len(array) for array in self._arrays)])

    def slice(self, start: int, count: int) -> np.ndarray[Any, Any]:
        """Tokens start to start + count - 1, as int64."""
        parts, place, end = [], start, start + count
        while place < end:
            number = int(np.searchsorted(self._starts, place, side="right")) - 1
            array, offset = self._arrays[number], place - int(self._starts[number])
            part = array[offset : offset + end - place]
            parts.append(part)
            place += len(part)
        return np.concatenate(parts).astype(np.int64) if len(parts) != 1 else parts[0].astype(np.int64)

    def verify(self) -> None:
        """Hash every shard. Raises DamagedFileError for one that has changed."""
        for shard in self.index.splits[self.split].shards:
            if storage.sha256(self.folder / shard.name) != shard.sha256:
                raise DamagedFileError(
                    f"{self.folder / shard.name} is damaged",
                    expected=f"SHA-256 {shard.sha256}",
                    hint="make the shards again: selftaught pack",
                )


def open_shards(folder: str | Path, split: Split = "train") -> Shards:
    """Open one side of a TOKENS folder. Raises InputError if it is none, DamagedFileError if a shard is too short."""
    folder = Path(folder)
    index = read_index(folder)
    if split not in index.splits:
        raise InputError(f"{folder} has no {split} tokens", got=f"{', '.join(index.splits)}")
    return Shards(folder, index, split)


def read_index(folder: Path) -> Index:
    """Read shards.json."""
    if not (folder / INDEX_FILE).is_file():
        raise InputError(
            f"no token shards in {folder}", expected=INDEX_FILE, hint="selftaught pack CORPUS --tokenizer DIR --out DIR"
        )
    return storage.read_json(folder / INDEX_FILE, Index)


def _mapped(path: Path, shard: Shard, dtype: str) -> np.ndarray[Any, Any]:
    kind = np.dtype(dtype).newbyteorder("<")
    size = path.stat().st_size if path.is_file() else -1
    if size != shard.tokens * kind.itemsize:
        raise DamagedFileError(
            f"{path} is {'missing' if size < 0 else 'damaged'}",
            expected=f"{shard.tokens * kind.itemsize} bytes",
            got="no file" if size < 0 else f"{size} bytes",
            hint="make the shards again: selftaught pack",
        )
    return np.memmap(path, dtype=kind, mode="r") if size else np.empty(0, dtype=kind)
