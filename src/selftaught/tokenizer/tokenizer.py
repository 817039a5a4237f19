"""The tokenizer: text to ids and back, equal to OpenAI's encoder for equal merges."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
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
_WORTH_COMPILING = 8_000_000
"""Characters after which compiled code, a second or a few to load, has won its time back."""
_LONG_ARRAY = 32
"""From this many ids on, numpy decodes an array faster than a loop."""


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
        self._known = _Remembered(self._merged)
        self._seen = 0

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
        """Ids of a text. Lone surrogates, for which UTF-8 has no form, count as U+FFFD."""
        if self._is_much(text):
            ids: list[int] = self._compiled.encode(pieces.utf8(text)).tolist()
            return ids
        return list(self._by_pieces(text))

    def encode_array(self, text: str) -> np.ndarray[Any, Any]:
        """Ids of a text as uint16 (uint32 if the vocabulary needs it)."""
        if self._is_much(text):
            return self._compiled.encode(pieces.utf8(text))
        return np.fromiter(self._by_pieces(text), dtype=self.dtype)

    def _by_pieces(self, text: str) -> Iterator[int]:
        return chain.from_iterable(map(self._known.__getitem__, pieces.pieces(pieces.well_formed(text))))

    def _is_much(self, text: str) -> bool:
        self._seen += len(text)
        return self._seen >= _WORTH_COMPILING

    @cached_property
    def _compiled(self) -> Encoder:
        from selftaught.tokenizer.encoding import Encoder

        return Encoder(self._byte_ids, self._pairs, self.dtype)

    def _merged(self, piece: str) -> list[int]:
        return merging.merged([self._byte_ids[byte] for byte in piece.encode()], self._pairs)

    @property
    def dtype(self) -> type[np.uint16 | np.uint32]:
        """The smallest numpy type that holds every id."""
        return np.uint16 if self.vocabulary_size <= 1 << 16 else np.uint32

    def encode_batch(self, texts: Iterable[str]) -> list[np.ndarray[Any, Any]]:
        """Ids of each text."""
        return [self.encode_array(text) for text in texts]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that ids stand for. Raises UsageError for an id outside the vocabulary."""
        if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and ids.size >= _LONG_ARRAY:
            return self._gathered(ids.ravel())
        wanted = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        tokens = self._tokens
        try:
            if wanted and min(wanted) >= 0:
                return b"".join([tokens[number] for number in wanted])
        except (IndexError, TypeError):
            pass
        return b"" if not wanted else self._refuse(wanted)

    def _gathered(self, ids: np.ndarray[Any, Any]) -> bytes:
        """The same for an array: every token's bytes are copied from one array of all tokens' bytes."""
        if ids.min() < 0 or ids.max() >= self.vocabulary_size:
            self._refuse(ids.tolist())
        data, starts, lengths = self._token_bytes
        sizes = lengths[ids]
        ends = np.cumsum(sizes)
        copied: bytes = data[np.repeat(starts[ids] - ends + sizes, sizes) + np.arange(ends[-1])].tobytes()
        return copied

    @cached_property
    def _token_bytes(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        lengths = np.array([len(token) for token in self._tokens], dtype=np.int64)
        return np.frombuffer(b"".join(self._tokens), dtype=np.uint8), np.cumsum(lengths) - lengths, lengths

    def _refuse(self, ids: Sequence[Any]) -> NoReturn:
        size = self.vocabulary_size
        wrong = next((number for number in ids if not isinstance(number, int) or not 0 <= number < size), "")
        raise UsageError(f"id {wrong} is not in the vocabulary", expected=f"0 to {size - 1}")

    def decode(self, ids: Iterable[int]) -> str:
        """The text that ids stand for; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def merge_steps(self, text: str) -> list[list[list[bytes]]]:
        """How merges build the tokens of each piece of a text, one step after another; the first step is the piece's bytes."""
        return [self._steps(piece) for piece in pieces.pieces(pieces.well_formed(text))]

    def _steps(self, piece: str) -> list[list[bytes]]:
        ids = [self._byte_ids[byte] for byte in piece.encode()]
        steps = [ids]
        while (after := merging.merged_once(ids, self._pairs)) != ids:
            steps.append(after)
            ids = after
        return [[self._tokens[number] for number in step] for step in steps]
