"""Other tools' single files for the same vocabulary: Hugging Face's tokenizer.json and tiktoken's file of ranks."""

from __future__ import annotations

import base64
import binascii
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError
from selftaught.tokenizer import files
from selftaught.tokenizer.alphabet import BYTES_IN_ORDER, written
from selftaught.tokenizer.files import END_OF_TEXT, Vocabulary, checked, merge_of


def plain_document(vocabulary: Vocabulary) -> dict[str, Any]:
    """tokenizer.json as Python values, without any special token."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {written(token): number for token, number in vocabulary.ids.items()},
            "merges": [f"{written(left)} {written(right)}" for left, right in vocabulary.merges],
        },
    }


def _require_byte_level(vocabulary: Vocabulary) -> None:
    if vocabulary.kind != "gpt2":
        raise InputError(
            "this format cannot hold GPT-1's vocabulary", expected="a byte-level one", got="words of characters"
        )


def write_tokenizer_json(path: Path, vocabulary: Vocabulary) -> None:
    """Write tokenizer.json; there, as its readers expect, `<|endoftext|>` is a special token. InputError for GPT-1's."""
    _require_byte_level(vocabulary)
    document = plain_document(vocabulary)
    document["model"]["vocab"][END_OF_TEXT] = vocabulary.end_of_text
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    document["added_tokens"] = [{"id": vocabulary.end_of_text, "content": END_OF_TEXT} | flags | {"special": True}]
    storage.write_text(path, json.dumps(document, ensure_ascii=False))


def write_huggingface(folder: Path, vocabulary: Vocabulary) -> None:
    """Write vocab.json and merges.txt, and the tokenizer.json of a byte-level vocabulary beside them."""
    files.write(folder, vocabulary, names=("vocab.json", "merges.txt"))
    if vocabulary.kind == "gpt2":
        write_tokenizer_json(folder / files.TOKENIZER_FILE, vocabulary)


class _Added(msgspec.Struct, frozen=True):
    id: int
    content: str


class _Model(msgspec.Struct, frozen=True):
    vocab: dict[str, int]
    merges: list[str | list[str]]
    type: str = "BPE"
    unk_token: str | None = None
    end_of_word_suffix: str | None = None


class _Document(msgspec.Struct, frozen=True):
    model: msgspec.Raw
    added_tokens: list[_Added] = []
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None


def read_tokenizer_json(path: Path) -> Vocabulary:
    """Read a tokenizer.json. Raises InputError, naming the entry, unless it is a byte-level BPE with GPT-2's pieces."""
    document = storage.read_json(path, _Document)
    kind = storage.decode_json(document.model, dict[str, Any], path).get("type", "BPE")
    pre = document.pre_tokenizer or {}
    wanted = {
        "model.type": (kind, "BPE"),
        "normalizer": (document.normalizer, None),
        "pre_tokenizer.type": (pre.get("type"), "ByteLevel"),
        "pre_tokenizer.add_prefix_space": (pre.get("add_prefix_space"), False),
        "pre_tokenizer.use_regex": (pre.get("use_regex", True), True),
    }
    for name, (got, expected) in wanted.items():
        if got != expected:
            raise InputError(f"{path} is another kind of tokenizer", expected=f"{name} {expected}", got=str(got)[:80])
    model = storage.decode_json(document.model, _Model, path)
    ids = model.vocab | {one.content: one.id for one in document.added_tokens if one.content == END_OF_TEXT}
    merges = tuple(
        merge_of(line if isinstance(line, str) else " ".join(line), f"{path} merge {number}")
        for number, line in enumerate(model.merges, start=1)
    )
    return checked(ids, merges, path)


def write_ranks(path: Path, vocabulary: Vocabulary) -> None:
    """Write tiktoken's file: each token in base64 with its rank, which is its id.

    Raises InputError for GPT-1's, and if the ids do not follow the merges, since the file then could not say what merges first.
    """
    _require_byte_level(vocabulary)
    order = [bytes([byte]) for byte in BYTES_IN_ORDER] + [left + right for left, right in vocabulary.merges]
    if [vocabulary.ids[token] for token in order] != list(range(len(order))):
        raise InputError("tiktoken's file cannot hold this vocabulary", expected="ids in the order of the merges")
    storage.write_bytes(path, b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(order)))


def read_ranks(path: Path) -> Vocabulary:
    """Read tiktoken's file; a token's merge is the last one that its bytes come to by the merges before it."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(storage.read_bytes(path).splitlines(), start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as problem:
            raise DamagedFileError(
                f"{path} line {number} is not a rank",
                expected="a token in base64, a blank, a number",
                got=repr(line[:80]),
            ) from problem
    if sorted(ranks.values()) != list(range(len(ranks))) or any(bytes([byte]) not in ranks for byte in range(256)):
        raise DamagedFileError(
            f"{path} is not a whole vocabulary", expected="every byte, and ranks 0, 1, 2, ... each once"
        )
    merges = []
    for spelled in sorted(ranks, key=ranks.__getitem__):
        if len(spelled) > 1:
            parts = _split(spelled, ranks, ranks[spelled])
            if len(parts) != 2:
                raise DamagedFileError(f"{path}: no merge makes the token of rank {ranks[spelled]}", got=repr(spelled))
            merges.append((parts[0], parts[1]))
    ids = {written(spelled): rank for spelled, rank in ranks.items()} | {END_OF_TEXT: len(ranks)}
    return checked(ids, tuple(merges), path)


def _split(token: bytes, ranks: dict[bytes, int], before: int) -> list[bytes]:
    """What a token's bytes come to by merges of lower rank."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 1:
        rank, place = min(
            (ranks.get(left + right, before), place) for place, (left, right) in enumerate(pairwise(parts))
        )
        if rank >= before:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts
