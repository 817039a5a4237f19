"""The tokenizer: text to ids and back, equal to OpenAI's encoder for equal merges."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from selftaught.errors import UsageError
from selftaught.tokenizer import files, merging, pieces
from selftaught.tokenizer.alphabet import written

if TYPE_CHECKING:
    from selftaught.tokenizer.encoding import Encoder

_REMEMBERED = 1 << 18
"""Pieces whose ids are kept; a language's frequent words are far fewer."""
_LONGEST_REMEMBERED = 64
_WORTH_LOADING = 1_000_000
"""Characters after which the fast encoder, up to half a second to load, has won its time back."""
_LONG_ARRAY = 32
"""From this many ids on, numpy decodes an array faster than a loop."""
_PART = 1 << 20
"""Ids that numpy decodes at a time, so that its tables of places stay small."""
_NOT_UTF8 = re.compile("([\udc80-\udcff]+)")
"""Bytes that are not UTF-8, as Python's `surrogateescape` reads them."""


class _Remembered(dict[str, list[int]]):
    """Piece -> ids, asked of `encode` where they are not known; emptied when full, so that memory is bounded."""

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, piece: str) -> list[int]:
        ids = self._encode(piece)
        if len(piece) <= _LONGEST_REMEMBERED:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[piece] = ids
        return ids


class Tokenizer:
    """Byte-level BPE (GPT-2 paper, section 2.2). Any text has ids, and they decode to that text again.

    `<|endoftext|>` inside a text is ordinary text unless the caller allows it: only `end_of_text` itself ends a document.
    """

    def __init__(self, vocabulary: files.Vocabulary) -> None:
        self.vocabulary = vocabulary
        ids = vocabulary.ids
        self._pairs = {
            (ids[left], ids[right]): (rank, ids[left + right]) for rank, (left, right) in enumerate(vocabulary.merges)
        }
        self._tokens = [b""] * self.vocabulary_size
        for token, number in ids.items():
            self._tokens[number] = self._spelled(token)
        self._tokens[vocabulary.end_of_text] = vocabulary.border.encode()
        self._known = _Remembered(self._merged)
        self._seen = 0

    @classmethod
    def load(cls, place: str | Path) -> Tokenizer:
        """Read a tokenizer: a folder of OpenAI, Hugging Face or ours, a tokenizer.json, a file of tiktoken's ranks.

        The word "gpt2" means GPT-2's own, out of an installed package that carries it. GPT-1's files give a `GPT1Tokenizer`.
        """
        from selftaught.tokenizer.gpt1 import GPT1Tokenizer

        vocabulary = files.read(Path(place))
        return GPT1Tokenizer(vocabulary) if vocabulary.kind == "gpt1" else Tokenizer(vocabulary)

    def save(self, folder: str | Path) -> None:
        """Write encoder.json and vocab.bpe into a folder, which is made if need be."""
        files.write(Path(folder), self.vocabulary)

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, the one at the borders of documents included."""
        return len(self.vocabulary.ids) + 1

    @property
    def end_of_text(self) -> int:
        """The id at the borders of documents: of <|endoftext|>, or of GPT-1's <unk>."""
        return self.vocabulary.end_of_text

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of merges and ids: equal tokenizers, equal fingerprints."""
        digest = hashlib.sha256()
        for left, right in self.vocabulary.merges:
            digest.update(f"{written(left)} {written(right)}\n".encode())
        for token in self._tokens:
            digest.update(len(token).to_bytes(4, "little") + token)
        return digest.hexdigest()

    @property
    def dtype(self) -> type[np.uint16 | np.uint32]:
        """The smallest numpy type that holds every id."""
        return np.uint16 if self.vocabulary_size <= 1 << 16 else np.uint32

    def encode(self, text: str | bytes, *, allowed_special: Collection[str] = ()) -> list[int]:
        """Ids of a text. Lone surrogates, for which UTF-8 has no form, count as U+FFFD.

        Bytes need not be UTF-8: each run of bytes that is not is a piece of its own and decodes to itself. With
        `allowed_special={"<|endoftext|>"}` that mark in a text is `end_of_text`; UsageError for any other name.
        """
        if not allowed_special and isinstance(text, str):
            return self._ids(text)
        if isinstance(text, bytes):
            return list(chain.from_iterable(self._runs(text)))
        border = self.vocabulary.border
        for name in allowed_special:
            if name != border:
                raise UsageError(f"{name} is no special token", expected=border)
        parts = [self._ids(part) for part in text.split(border)]
        return [number for part in parts for number in (*part, self.end_of_text)][:-1]

    def encode_array(self, text: str) -> np.ndarray[Any, Any]:
        """Ids of a text as uint16 (uint32 if the vocabulary needs it)."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Iterable[str]) -> list[np.ndarray[Any, Any]]:
        """Ids of each text; all processors work on a batch."""
        texts = list(texts)
        fast = self._fast_if_worth(sum(map(len, texts)))
        if fast is None:
            return [np.array(self._slowly(pieces.well_formed(text)), dtype=self.dtype) for text in texts]
        try:
            return fast.arrays(texts)
        except UnicodeEncodeError:
            return fast.arrays([pieces.well_formed(text) for text in texts])

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text, and for each the first character that it has a byte of and the one after the last.

        Tokens that share a character both name it; those of a lone surrogate name the surrogate.
        """
        ids = self.encode(text)
        ends = np.cumsum([len(self._tokens[number]) for number in ids], dtype=np.int64)
        data = np.frombuffer(pieces.utf8(text), dtype=np.uint8)
        # A byte that does not continue a character begins one.
        character = np.cumsum((data & 0xC0) != 0x80) - 1
        starts = np.concatenate([ends[:1] * 0, ends[:-1]])
        return ids, list(zip(character[starts].tolist(), (character[ends - 1] + 1).tolist(), strict=True))

    def _ids(self, text: str) -> list[int]:
        fast = self._fast_if_worth(len(text))
        if fast is None:
            return self._slowly(pieces.well_formed(text))
        try:
            return fast.ids(text)
        except UnicodeEncodeError:
            return fast.ids(pieces.well_formed(text))

    def _slowly(self, text: str) -> list[int]:
        """In Python alone: the reference for the fast encoder, and as quick until that is loaded."""
        return list(chain.from_iterable(map(self._known.__getitem__, pieces.pieces(text))))

    def _merged(self, piece: str) -> list[int]:
        return self._merged_bytes(piece.encode())

    def _merged_bytes(self, data: bytes) -> list[int]:
        return merging.merged([self._byte_ids[byte] for byte in data], self._pairs)

    @cached_property
    def _byte_ids(self) -> list[int]:
        return [self.vocabulary.ids[bytes([byte])] for byte in range(256)]

    def _runs(self, data: bytes) -> Iterator[list[int]]:
        for place, run in enumerate(_NOT_UTF8.split(data.decode("utf-8", "surrogateescape"))):
            yield self._merged_bytes(run.encode("utf-8", "surrogateescape")) if place % 2 else self._ids(run)

    def _fast_if_worth(self, characters: int) -> Encoder | None:
        self._seen += characters
        return self._fast if self._seen >= _WORTH_LOADING else None

    @cached_property
    def _fast(self) -> Encoder | None:
        if find_spec("fastokens") is None:
            return None
        from selftaught.tokenizer.encoding import Encoder

        return Encoder(self.vocabulary, self.dtype)

    def _spelled(self, token: bytes) -> bytes:
        """What a token decodes to."""
        return token

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that ids stand for. Raises UsageError for an id outside the vocabulary."""
        if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and ids.size >= _LONG_ARRAY:
            flat = ids.ravel()
            if flat.min() < 0 or flat.max() >= self.vocabulary_size:
                self._refuse(flat.tolist())
            return b"".join(self._gathered(flat[start : start + _PART]) for start in range(0, len(flat), _PART))
        wanted = ids if isinstance(ids, list) else ids.tolist() if hasattr(ids, "tolist") else list(ids)
        try:
            if len(wanted) > 1 and min(wanted) >= 0:
                return b"".join(itemgetter(*wanted)(self._tokens))
            return b"".join(self._tokens[number] if number >= 0 else self._refuse(wanted) for number in wanted)
        except (IndexError, TypeError):
            return self._refuse(wanted)

    def _gathered(self, ids: np.ndarray[Any, Any]) -> bytes:
        """The same for an array: every token's bytes are copied from one array of all tokens' bytes."""
        data, starts, lengths = self._token_bytes
        sizes = lengths[ids]
        ends = np.cumsum(sizes, dtype=np.int32)
        copied: bytes = data[
            np.repeat(starts[ids] - ends + sizes, sizes) + np.arange(ends[-1], dtype=np.int32)
        ].tobytes()
        return copied

    @cached_property
    def _token_bytes(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        lengths = np.array([len(token) for token in self._tokens], dtype=np.int32)
        starts = np.cumsum(lengths, dtype=np.int32) - lengths
        return np.frombuffer(b"".join(self._tokens), dtype=np.uint8), starts, lengths

    def _refuse(self, ids: Sequence[Any]) -> NoReturn:
        size = self.vocabulary_size
        wrong = next((number for number in ids if not isinstance(number, int) or not 0 <= number < size), "")
        raise UsageError(f"id {wrong} is not in the vocabulary", expected=f"0 to {size - 1}")

    def decode(self, ids: Iterable[int]) -> str:
        """The text that ids stand for; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def merge_steps(self, text: str) -> list[list[list[bytes]]]:
        """How merges build the tokens of each piece of a text, one step after another; the first step is the piece's bytes."""
        names = {number: token for token, number in self.vocabulary.ids.items()}
        steps = ([self._byte_ids[byte] for byte in piece.encode()] for piece in pieces.pieces(pieces.well_formed(text)))
        return [[[names[number] for number in step] for step in self._steps(first)] for first in steps]

    def _steps(self, ids: list[int]) -> Iterator[list[int]]:
        yield ids
        while (after := merging.merged_once(ids, self._pairs)) != ids:
            yield after
            ids = after

    def __getstate__(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary}

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, **state)
