"""The tokenizer: text to ids and back, equal to OpenAI's encoder for equal merges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selftaught.errors import UsageError
from selftaught.tokenizer import files, merging, pieces
from selftaught.tokenizer.alphabet import written

if TYPE_CHECKING:
    import numpy as np

_REMEMBERED = 1 << 18
"""Pieces whose ids are kept; a language's frequent words are far fewer."""
_LONGEST_REMEMBERED = 64


class Tokenizer:
    """Byte-level BPE (GPT-2 paper, section 2.2). Any text has ids, and they decode to that text again.

    `<|endoftext|>` inside a text is ordinary text: only `end_of_text` itself ends a document.
    """

    def __init__(self, vocabulary: files.Vocabulary) -> None:
        self.vocabulary = vocabulary
        ids = vocabulary.ids
        self._byte_ids = [ids[bytes([byte])] for byte in range(256)]
        self._pairs = {
            (ids[left], ids[right]): (rank, ids[left + right]) for rank, (left, right) in enumerate(vocabulary.merges)
        }
        self._tokens = [b""] * self.vocabulary_size
        for token, number in ids.items():
            self._tokens[number] = token
        self._tokens[vocabulary.end_of_text] = files.END_OF_TEXT.encode()
        self._known: dict[str, list[int]] = {}

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """Read a tokenizer from a folder with OpenAI's or Hugging Face's file names."""
        return cls(files.read(Path(folder)))

    def save(self, folder: str | Path) -> None:
        """Write encoder.json and vocab.bpe into a folder, which is made if need be."""
        files.write(Path(folder), self.vocabulary)

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, <|endoftext|> included."""
        return len(self.vocabulary.ids) + 1

    @property
    def end_of_text(self) -> int:
        """The id of <|endoftext|>."""
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

    def encode(self, text: str) -> list[int]:
        """Ids of a text. Lone surrogates count as U+FFFD."""
        known, ids = self._known, []
        for piece in pieces.pieces(pieces.well_formed(text)):
            found = known.get(piece)
            ids += self._learned(piece) if found is None else found
        return ids

    def _learned(self, piece: str) -> list[int]:
        ids = merging.merged([self._byte_ids[byte] for byte in piece.encode()], self._pairs)
        if len(piece) <= _LONGEST_REMEMBERED:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[piece] = ids
        return ids

    def encode_array(self, text: str) -> np.ndarray[Any, Any]:
        """Ids of a text as uint16 (uint32 if the vocabulary needs it)."""
        import numpy as np

        return np.array(self.encode(text), dtype=self.dtype)

    @property
    def dtype(self) -> type[np.uint16 | np.uint32]:
        """The smallest numpy type that holds every id."""
        import numpy as np

        return np.uint16 if self.vocabulary_size <= 1 << 16 else np.uint32

    def encode_batch(self, texts: Iterable[str]) -> list[np.ndarray[Any, Any]]:
        """Ids of each text."""
        return [self.encode_array(text) for text in texts]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that ids stand for. Raises UsageError for an id outside the vocabulary."""
        wanted = [int(number) for number in ids]
        wrong = next((number for number in wanted if not 0 <= number < self.vocabulary_size), None)
        if wrong is not None:
            raise UsageError(f"id {wrong} is not in the vocabulary", expected=f"0 to {self.vocabulary_size - 1}")
        return b"".join([self._tokens[number] for number in wanted])

    def decode(self, ids: Iterable[int]) -> str:
        """The text that ids stand for; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def merge_steps(self, word: str) -> list[list[bytes]]:
        """How merges build the tokens of a word, one step after another; the first entry is its bytes."""
        ids = [self._byte_ids[byte] for byte in pieces.well_formed(word).encode()]
        steps = [[self._tokens[number] for number in ids]]
        while True:
            after = _one_merge(ids, self._pairs)
            if after == ids:
                return steps
            ids = after
            steps.append([self._tokens[number] for number in ids])


def _one_merge(ids: Sequence[int], pairs: merging.Pairs) -> list[int]:
    found = [(pairs[pair][0], place) for place, pair in enumerate(pairwise(ids)) if pair in pairs]
    if not found:
        return list(ids)
    _, place = min(found)
    return [*ids[:place], pairs[ids[place], ids[place + 1]][1], *ids[place + 2 :]]
