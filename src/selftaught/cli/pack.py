"""`selftaught pack`: a corpus as token shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.cli.making import make


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """How shards are cut."""

    shard_tokens: int = 1 << 27
    """Tokens in a shard file."""


@dataclass(frozen=True, kw_only=True)
class Pack(settings.Verb):
    """Encode both sides of a corpus into memory-mapped token shards, each document preceded by <|endoftext|>."""

    corpus: Positional[Path]
    """A corpus folder."""
    tokenizer: Path
    """Folder with encoder.json and vocab.bpe (or vocab.json and merges.txt)."""
    out: Path
    """Folder of the shards."""
    settings: PackSettings = field(default_factory=PackSettings)


def run(argv: Sequence[str]) -> None:
    """Pack the corpus that `argv` names."""
    resolved = settings.resolve(Pack, argv, prog="selftaught pack")
    command = resolved.command
    from selftaught.tokenizer.tokenizer import Tokenizer
    from selftaught.tokens import packing, shards

    def work(_: storage.Run) -> Sequence[str]:
        tokenizer = Tokenizer.load(command.tokenizer)
        index = packing.pack(command.corpus, tokenizer, command.out, shard_tokens=command.settings.shard_tokens)
        return shards.files_of(index)

    make(resolved, "pack", {"corpus": command.corpus, "tokenizer": command.tokenizer}, work)
    index = shards.read_index(command.out)
    if command.json:
        console.result(settings.as_document(index))
    console.table(
        ["", "documents", "tokens", "bytes per token"],
        [
            (name, side.documents, f"{side.tokens:,}", f"{side.bytes / side.tokens:.2f}")
            for name, side in index.splits.items()
        ],
    )
