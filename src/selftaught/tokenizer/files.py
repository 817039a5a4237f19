"""GPT-2's two vocabulary files: encoder.json (token -> id) and vocab.bpe (merges, most important first)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError
from selftaught.tokenizer.alphabet import BYTES_IN_ORDER, unwritten, written

END_OF_TEXT = "<|endoftext|>"
ENCODER_FILE, MERGES_FILE = "encoder.json", "vocab.bpe"
_NAMES = ((ENCODER_FILE, MERGES_FILE), ("vocab.json", "merges.txt"))
"""OpenAI's names and Hugging Face's for the same two files."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What the files hold."""

    ids: dict[bytes, int]
    """Token -> id, without <|endoftext|>."""
    merges: tuple[tuple[bytes, bytes], ...]
    end_of_text: int


def from_merges(merges: list[tuple[bytes, bytes]]) -> Vocabulary:
    """The vocabulary that GPT-2's layout gives to merges: 256 bytes, the merges in order, <|endoftext|> last.

    No two learned merges make the same token: what becomes a token was cut and merged alike wherever it stands, since a merge
    across its border would have kept it from becoming one.
    """
    tokens = [bytes([byte]) for byte in BYTES_IN_ORDER] + [left + right for left, right in merges]
    return Vocabulary(
        ids={token: number for number, token in enumerate(tokens)}, merges=tuple(merges), end_of_text=len(tokens)
    )


def is_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a byte-level BPE under one of the usual pairs of names."""
    return any(all((folder / name).is_file() for name in names) for names in _NAMES)


def read(folder: Path) -> Vocabulary:
    """Read and check a vocabulary. Raises InputError if there is none, DamagedFileError if it contradicts itself."""
    for encoder, merges in _NAMES:
        if (folder / encoder).is_file() and (folder / merges).is_file():
            return _checked(_ids(folder / encoder), _merges(folder / merges), folder)
    raise InputError(
        f"no tokenizer in {folder}",
        expected=" or ".join(f"{encoder} and {merges}" for encoder, merges in _NAMES),
        hint="selftaught tokenizer learn CORPUS --out DIR",
    )


def _ids(path: Path) -> dict[str, int]:
    return storage.read_json(path, dict[str, int])


def _merges(path: Path) -> tuple[tuple[bytes, bytes], ...]:
    merges = []
    try:
        lines = storage.read_bytes(path).decode("utf-8").split("\n")
    except UnicodeDecodeError as problem:
        raise DamagedFileError(f"{path} is not UTF-8", got=str(problem)) from problem
    for number, line in enumerate(lines, start=1):
        if (number == 1 and line.startswith("#version")) or not line.strip():
            continue
        try:
            left, right = line.rstrip("\r").split(" ")
            merges.append((unwritten(left), unwritten(right)))
        except ValueError as problem:
            raise DamagedFileError(
                f"{path} line {number} is not a merge",
                expected="two tokens and a blank between them",
                got=repr(line[:80]),
            ) from problem
    return tuple(merges)


def _checked(ids: dict[str, int], merges: tuple[tuple[bytes, bytes], ...], folder: Path) -> Vocabulary:
    ids = dict(ids)
    end_of_text = ids.pop(END_OF_TEXT, None)
    if end_of_text is None:
        raise DamagedFileError(f"the vocabulary in {folder} has no {END_OF_TEXT}")
    tokens = {_unwritten(token, folder): number for token, number in ids.items()}
    needed = chain(
        (bytes([byte]) for byte in range(256)), (part for left, right in merges for part in (left, right, left + right))
    )
    missing = next((token for token in needed if token not in tokens), None)
    if missing is not None:
        raise DamagedFileError(
            f"encoder and merges in {folder} do not belong together", got=f"no id for {written(missing)!r}"
        )
    if sorted([*tokens.values(), end_of_text]) != list(range(len(tokens) + 1)):
        raise DamagedFileError(f"the ids in {folder} are not 0, 1, 2, ... each once")
    return Vocabulary(ids=tokens, merges=merges, end_of_text=end_of_text)


def _unwritten(token: str, folder: Path) -> bytes:
    try:
        return unwritten(token)
    except ValueError as problem:
        raise DamagedFileError(
            f"the vocabulary in {folder} has a sign outside the byte alphabet", got=repr(token)
        ) from problem


def write(folder: Path, vocabulary: Vocabulary) -> None:
    """Write encoder.json and vocab.bpe."""
    ids = {written(token): number for token, number in vocabulary.ids.items()} | {END_OF_TEXT: vocabulary.end_of_text}
    merges = "".join(f"{written(left)} {written(right)}\n" for left, right in vocabulary.merges)
    storage.write_text(folder / ENCODER_FILE, json.dumps(ids))
    storage.write_text(folder / MERGES_FILE, f"#version: 0.2\n{merges}")
