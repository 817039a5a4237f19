"""Token shards on disk: little-endian ids, documents each preceded by <|endoftext|>, and what is needed to trust them.

shards.json beside them holds lengths, hashes and the fingerprint of the tokenizer, whose files lie there too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError, UsageError
from selftaught.tokenizer.files import ENCODER_FILE, MERGES_FILE

INDEX_FILE = "shards.json"
Split = Literal["train", "heldout"]
_AGAIN = "make the shards again: selftaught pack"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of tokens, and one that says where its documents begin."""

    name: str
    tokens: int
    sha256: str
    documents: int = 0
    bytes: int = 0
    """UTF-8 bytes of the text, without <|endoftext|>."""
    offsets: str = ""
    """File of little-endian uint64: where in the whole split the <|endoftext|> before each document stands."""
    offsets_sha256: str = ""

    def damage(self, folder: Path) -> str:
        """What is wrong with its files, "" if they are what was written. Reads all of them."""
        for name, wanted in ((self.name, self.sha256), (self.offsets, self.offsets_sha256)):
            if wanted and not (folder / name).is_file():
                return f"{folder / name} is missing"
            if wanted and storage.sha256(folder / name) != wanted:
                return f"{folder / name} is not what was written"
        return ""


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


def files_of(index: Index) -> list[str]:
    """Names of all files of a TOKENS folder, without the run's own."""
    shards = [shard for side in index.splits.values() for shard in side.shards]
    return [INDEX_FILE, ENCODER_FILE, MERGES_FILE, *(name for shard in shards for name in (shard.name, shard.offsets))]


class Shards:
    """One side of the split, memory-mapped; `slice` reads across shard files as if they were one."""

    def __init__(self, folder: Path, index: Index, split: str) -> None:
        self.folder, self.index, self.split = folder, index, split
        side = index.splits[split]
        self.tokens, self.bytes, self.documents = side.tokens, side.bytes, side.documents
        self.vocabulary_size, self.fingerprint = index.vocabulary_size, index.fingerprint
        self._arrays = [_mapped(folder / shard.name, shard.tokens, index.dtype) for shard in side.shards]
        self._starts = np.cumsum([0, *(len(array) for array in self._arrays)])

    def slice(self, start: int, count: int) -> np.ndarray[Any, Any]:
        """Tokens start to start + count - 1, as int64. Raises UsageError past either end."""
        end = start + count
        if not 0 <= start <= end <= self.tokens:
            raise UsageError(
                f"no tokens {start} to {end - 1} in {self.folder}", expected=f"0 to {self.tokens - 1} ({self.split})"
            )
        found, place = np.empty(count, dtype=np.int64), start
        while place < end:
            number = int(np.searchsorted(self._starts, place, side="right")) - 1
            offset = place - int(self._starts[number])
            part = self._arrays[number][offset : offset + end - place]
            found[place - start : place - start + len(part)] = part
            place += len(part)
        return found

    def document_starts(self) -> np.ndarray[Any, Any]:
        """Where each document's <|endoftext|> stands (int64). Raises DamagedFileError if the files of offsets are not whole."""
        shards = self.index.splits[self.split].shards
        parts = [_mapped(self.folder / shard.offsets, shard.documents, "uint64") for shard in shards]
        return np.concatenate(parts).astype(np.int64)

    def verify(self) -> None:
        """Hash every file. Raises DamagedFileError for one that has changed."""
        for shard in self.index.splits[self.split].shards:
            if damage := shard.damage(self.folder):
                raise DamagedFileError(damage, expected="the SHA-256 in shards.json", hint=_AGAIN)


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
            f"no token shards in {folder}",
            expected=INDEX_FILE,
            hint="Type: selftaught pack CORPUS --tokenizer DIR --out DIR",
        )
    return storage.read_json(folder / INDEX_FILE, Index)


def _mapped(path: Path, count: int, dtype: str) -> np.ndarray[Any, Any]:
    kind = np.dtype(dtype).newbyteorder("<")
    size = path.stat().st_size if path.is_file() else -1
    if size != count * kind.itemsize:
        raise DamagedFileError(
            f"{path} is {'missing' if size < 0 else 'damaged'}",
            expected=f"{count * kind.itemsize} bytes",
            got="no file" if size < 0 else f"{size} bytes",
            hint=_AGAIN,
        )
    return np.memmap(path, dtype=kind, mode="r") if size else np.empty(0, dtype=kind)
