"""Fast encoding: the same ids as `Tokenizer`'s own Python, at ten to twenty times its speed.

The work is done by fastokens, a library that knows Hugging Face's tokenizer.json. It is told no special token, so that
`<|endoftext|>` in a text stays text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from selftaught.tokenizer import formats
from selftaught.tokenizer.files import Vocabulary


class Encoder:
    """Encodes with one vocabulary; texts must be well-formed (UnicodeEncodeError for a lone surrogate)."""

    def __init__(self, vocabulary: Vocabulary, dtype: type[np.uint16 | np.uint32]) -> None:
        import fastokens

        self._theirs = fastokens.Tokenizer.from_json_str(
            msgspec.json.encode(formats.plain_document(vocabulary)).decode()
        )
        self._dtype = dtype

    def ids(self, text: str) -> list[int]:
        """Ids of a text."""
        found: list[int] = self._theirs.encode_ordinary(text).ids
        return found

    def arrays(self, texts: Sequence[str]) -> list[np.ndarray[Any, Any]]:
        """Ids of each text; several texts are encoded by all processors together."""
        flat, ends = self._theirs.encode_batch_flat(list(texts))
        ids = np.frombuffer(flat, dtype="<u4").astype(self._dtype)
        cuts = np.frombuffer(ends, dtype="<u8").tolist()
        return [ids[start:end] for start, end in pairwise(cuts)]
