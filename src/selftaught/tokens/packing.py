"""Packing: documents -> token shards, one shard after another; what is finished stays finished if the process is killed."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selftaught import console, storage
from selftaught.console import Bar
from selftaught.corpus import documents
from selftaught.corpus.documents import Document
from selftaught.errors import InputError, UsageError
from selftaught.tokenizer.pieces import utf8
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.shards import INDEX_FILE, Index, Shard, SplitIndex

SHARD_TOKENS = 1 << 27
"""Tokens in a shard: 256 MiB of 16-bit ids."""
_BATCH_CHARACTERS = 1 << 21
"""Documents are encoded together up to this size: enough for all processors to have work."""
_BATCHES_AHEAD = 2
_FINISHED_FILE = "finished.json"
"""A list of `_Finished`; there only until shards.json is."""
_Ids = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """A shard that is wholly on disk, and what it was made from."""

    source: str
    split: str
    shard: Shard


@dataclass(frozen=True)
class _Encoded:
    """The ids of a document, and how many bytes of UTF-8 they stand for."""

    ids: _Ids
    bytes: int


def pack(corpus: str | Path, tokenizer: Tokenizer, out: str | Path, *, shard_tokens: int = SHARD_TOKENS) -> Index:
    """Encode both sides of a corpus into shards in the folder `out`; shards.json appears last, when all is complete.

    A single file of documents has only a training side. After a kill, a second call goes on with the first shard that is not
    there. A document never lies in two shards, so a shard may have more than `shard_tokens`. Raises InputError if a side has
    no document, UsageError for a shard of less than one token.
    """
    if shard_tokens < 1:
        raise UsageError("shards are too small", expected="--shard-tokens of at least 1", got=str(shard_tokens))
    packing = _Packing(Path(corpus), tokenizer, Path(out), shard_tokens)
    splits = documents.SPLITS if packing.corpus.is_dir() else documents.SPLITS[:1]
    dtype: Literal["uint16", "uint32"] = "uint16" if tokenizer.dtype is np.uint16 else "uint32"
    index = Index(
        fingerprint=tokenizer.fingerprint,
        vocabulary_size=tokenizer.vocabulary_size,
        end_of_text=tokenizer.end_of_text,
        dtype=dtype,
        splits={split: packing.pack(split) for split in splits},
    )
    tokenizer.save(packing.out)
    storage.write_json(packing.out / INDEX_FILE, index)
    (packing.out / _FINISHED_FILE).unlink(missing_ok=True)
    return index


class _Packing:
    """One corpus on its way into one folder."""

    def __init__(self, corpus: Path, tokenizer: Tokenizer, out: Path, shard_tokens: int) -> None:
        self.corpus, self.tokenizer, self.out, self.shard_tokens = corpus, tokenizer, out, shard_tokens
        self.source = f"{storage.identity(corpus)} {tokenizer.fingerprint} {shard_tokens}"
        self.start = np.array([tokenizer.end_of_text], dtype=self._kind()).tobytes()
        self.finished = self._still_finished(out / _FINISHED_FILE)

    def pack(self, split: str) -> SplitIndex:
        """Write the shards of one side that are not there yet."""
        shards = [one.shard for one in self.finished if one.split == split]
        done = sum(shard.documents for shard in shards)
        with console.progress(
            f"packing {split}", documents.count(self.corpus, split), unit="documents", done=done
        ) as bar:
            rows = self._encoded(islice(documents.read(self.corpus, split), done, None))
            row = next(rows, None)
            while row is not None:
                shard, row = self._write(split, shards, row, rows, bar)
                shards.append(shard)
        if not shards:
            raise InputError(
                f"{self.corpus} has no {split} document",
                expected="at least one on each side of the split",
                hint="Add text, or make the corpus with another --heldout.",
            )
        return SplitIndex(
            tokens=sum(shard.tokens for shard in shards),
            documents=sum(shard.documents for shard in shards),
            bytes=sum(shard.bytes for shard in shards),
            shards=tuple(shards),
        )

    def _still_finished(self, path: Path) -> list[_Finished]:
        """Shards that an earlier start made from the same source, up to the first that is no longer what it wrote."""
        rows = storage.read_json(path, list[_Finished]) if path.is_file() else []
        return list(takewhile(lambda row: row.source == self.source and not row.shard.damage(self.out), rows))

    def _encoded(self, rows: Iterable[Document]) -> Iterator[_Encoded]:
        """The documents' ids and sizes, in order; many documents are encoded at a time, by all processors."""
        batches = storage.grouped((row.text for row in rows), _BATCH_CHARACTERS)
        for texts, found in _encoded_ahead(self.tokenizer, batches):
            for text, ids in zip(texts, found, strict=True):
                yield _Encoded(ids, len(utf8(text)))

    def _write(
        self, split: str, before: list[Shard], row: _Encoded | None, rows: Iterator[_Encoded], bar: Bar
    ) -> tuple[Shard, _Encoded | None]:
        """Write one shard that begins with `row`; returns it and the first document that is not in it."""
        name = f"{split}-{len(before):05}"
        first = sum(shard.tokens for shard in before)
        digest, starts, tokens, size = hashlib.sha256(), [], 0, 0
        with storage.writing(self.out / f"{name}.tokens") as stream:
            while row is not None and tokens < self.shard_tokens:
                data = self.start + row.ids.astype(self._kind(), copy=False).tobytes()
                stream.write(data)
                digest.update(data)
                starts.append(first + tokens)
                tokens, size = tokens + 1 + len(row.ids), size + row.bytes
                bar.advance()
                row = next(rows, None)
        offsets = np.array(starts, dtype="<u8").tobytes()
        shard = Shard(
            name=f"{name}.tokens",
            tokens=tokens,
            sha256=digest.hexdigest(),
            documents=len(starts),
            bytes=size,
            offsets=f"{name}.offsets",
            offsets_sha256=hashlib.sha256(offsets).hexdigest(),
        )
        storage.write_bytes(self.out / shard.offsets, offsets)
        self.finished.append(_Finished(source=self.source, split=split, shard=shard))
        storage.write_json(self.out / _FINISHED_FILE, self.finished)
        return shard, row

    def _kind(self) -> np.dtype[np.generic]:
        return np.dtype(self.tokenizer.dtype).newbyteorder("<")


def _encoded_ahead(tokenizer: Tokenizer, batches: Iterable[list[str]]) -> Iterator[tuple[list[str], list[_Ids]]]:
    """Each batch of texts with their ids; while one is written, the next are read and encoded."""
    waiting = deque[tuple[list[str], Future[list[_Ids]]]]()
    with ThreadPoolExecutor(1) as thread:
        for texts in batches:
            waiting.append((texts, thread.submit(tokenizer.encode_batch, texts)))
            if len(waiting) > _BATCHES_AHEAD:
                first, found = waiting.popleft()
                yield first, found.result()
        for first, found in waiting:
            yield first, found.result()
