"""Packing: documents -> token shards."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from selftaught import console, storage
from selftaught.corpus import documents
from selftaught.errors import InputError
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.shards import INDEX_FILE, Index, Shard, SplitIndex

SHARD_TOKENS = 1 << 27
"""Tokens in a shard: 256 MiB of 16-bit ids."""


def pack(corpus: str | Path, tokenizer: Tokenizer, out: str | Path, *, shard_tokens: int = SHARD_TOKENS) -> Index:
    """Encode both sides of a corpus into shards in the folder `out`; shards.json appears last, when all is complete.

    Raises InputError if a side has no document.
    """
    corpus, out = Path(corpus), Path(out)
    splits = {
        split: _pack_split(corpus, split, tokenizer, out, shard_tokens=shard_tokens) for split in ("train", "heldout")
    }
    dtype: Literal["uint16", "uint32"] = "uint16" if tokenizer.dtype is np.uint16 else "uint32"
    index = Index(
        fingerprint=tokenizer.fingerprint,
        vocabulary_size=tokenizer.vocabulary_size,
        end_of_text=tokenizer.end_of_text,
        dtype=dtype,
        splits=splits,
    )
    tokenizer.save(out)
    storage.write_json(out / INDEX_FILE, index)
    return index


def _pack_split(corpus: Path, split: str, tokenizer: Tokenizer, out: Path, *, shard_tokens: int) -> SplitIndex:
    shards: list[Shard] = []
    waiting: list[np.ndarray[tuple[int], np.dtype[np.generic]]] = []
    held = size = count = 0
    start = np.array([tokenizer.end_of_text], dtype=tokenizer.dtype)
    with console.progress(f"packing {split}", documents.count(corpus, split), unit="documents") as bar:
        for row in documents.read(corpus, split):
            ids = tokenizer.encode_array(row.text)
            waiting += [start, ids]
            held, size, count = held + 1 + len(ids), size + len(row.text.encode("utf-8", "replace")), count + 1
            bar.advance()
            if held >= shard_tokens:
                shards.append(_write_shard(out, split, len(shards), waiting))
                waiting, held = [], 0
    if waiting:
        shards.append(_write_shard(out, split, len(shards), waiting))
    if not count:
        raise InputError(f"the corpus has no {split} document", expected="at least one on each side of the split")
    return SplitIndex(tokens=sum(shard.tokens for shard in shards), documents=count, bytes=size, shards=tuple(shards))


def _write_shard(
    out: Path, split: str, number: int, arrays: list[np.ndarray[tuple[int], np.dtype[np.generic]]]
) -> Shard:
    joined = np.concatenate(arrays)
    data = joined.astype(joined.dtype.newbyteorder("<")).tobytes()
    name = f"{split}-{number:05}.tokens"
    storage.write_bytes(out / name, data)
    return Shard(name=name, tokens=len(joined), sha256=hashlib.sha256(data).hexdigest())
