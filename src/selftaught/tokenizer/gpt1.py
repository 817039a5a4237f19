"""GPT-1's tokenizer: repaired and standardised text, spaCy's English words in lower case, BPE on characters (GPT-1 paper, 4.1).

It loses case, kinds of blanks and rare characters: what `decode` gives back is close to the text, not the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from selftaught.errors import MissingExtraError, UsageError
from selftaught.tokenizer import files, merging
from selftaught.tokenizer.pieces import well_formed
from selftaught.tokenizer.tokenizer import Tokenizer

_PLAIN_SIGNS = str.maketrans({"—": "-", "–": "-", "―": "-", "…": "...", "´": "'"})  # noqa: RUF001 - signs that were replaced
_RUN_OF_SIGNS = re.compile(r'(([-~!";?+,)(/*\[\]}{|_])\2*)')
"""Runs that OpenAI sets apart. Its pattern seems to name the backslash, but outside a raw string that was one more plus."""
_LINE_END, _BLANKS = re.compile(r"\s*\n\s*"), re.compile(r"[^\S\n]+")
_UNTOUCHED = re.compile(r"[\t\n -%'-~]*")
"""ASCII in which ftfy finds nothing to repair: no control character, no carriage return, no `&` that may begin an entity."""
_REMEMBERED = 1 << 18
_UNKNOWN_CHARACTER = 1 << 31
"""An id that no merge knows."""


def standardise(text: str) -> str:
    """OpenAI's clean-up of a text that ftfy has repaired: plain dashes and quotes, blanks around signs, one blank or line end."""
    apart = _RUN_OF_SIGNS.sub(r" \1 ", text.translate(_PLAIN_SIGNS))
    return _BLANKS.sub(" ", _LINE_END.sub(" \n ", apart)).strip()


class GPT1Tokenizer(Tokenizer):
    """Text to GPT-1's ids, as its released code gives them with the installed ftfy and spaCy; refuses to guess without them."""

    def __init__(self, vocabulary: files.Vocabulary) -> None:
        super().__init__(vocabulary)
        self._symbols = {token.decode(): number for token, number in vocabulary.ids.items()}
        self._line_end = [self._symbols[f"\n{files.WORD_END}"]]
        self._of_chunk: dict[str, list[int]] = {}

    def _spelled(self, token: bytes) -> bytes:
        end = files.WORD_END.encode()
        return token.removesuffix(end) + b" " if token.endswith(end) else token

    @cached_property
    def _fast(self) -> None:
        """What is slow here is to find the words, which no other encoder does."""

    def _runs(self, data: bytes) -> Iterator[list[int]]:
        yield self._ids(data.decode("utf-8", "replace"))

    def _slowly(self, text: str) -> list[int]:
        known, ids = self._of_chunk, list[int]()
        for chunk in self._chunks(text):
            ids += known[chunk] if chunk in known else self._remember(chunk)
        return ids

    def _chunks(self, text: str) -> Iterator[str]:
        """What stands between blanks. spaCy cuts each by itself, so one that was met before needs no spaCy again."""
        standard = standardise(self._repaired(text))
        return (chunk for chunk in standard.split(" ") if chunk)

    def _remember(self, chunk: str) -> list[int]:
        ids = (
            self._line_end
            if chunk == "\n"
            else [one for word in self._spellings(chunk) for one in self._merged_word(word)]
        )
        if len(self._of_chunk) >= _REMEMBERED:
            self._of_chunk.clear()
        self._of_chunk[chunk] = ids
        return ids

    def _merged_word(self, characters: list[int]) -> list[int]:
        merged = merging.merged(characters, self._pairs)
        return [self.end_of_text if number == _UNKNOWN_CHARACTER else number for number in merged]

    def _characters(self, word: str) -> list[int]:
        spelled = [*word[:-1], word[-1] + files.WORD_END]
        return [self._symbols.get(symbol, _UNKNOWN_CHARACTER) for symbol in spelled]

    @cached_property
    def _words(self) -> Callable[[str], list[str]]:
        try:
            import spacy
        except ImportError as problem:
            raise MissingExtraError("spaCy, which cuts GPT-1's words,", extra="gpt1") from problem
        cut = spacy.blank("en").tokenizer
        return lambda chunk: [word.text for word in cut(chunk)]

    @cached_property
    def _fix(self) -> Callable[[str], str]:
        try:
            import ftfy
        except ImportError as problem:
            raise MissingExtraError("ftfy, which repairs text for GPT-1,", extra="gpt1") from problem
        fix: Callable[[str], str] = ftfy.fix_text
        return fix

    def _repaired(self, text: str) -> str:
        fix = self._fix
        return text if _UNTOUCHED.fullmatch(text) else fix(text)

    def decode(self, ids: Iterable[int]) -> str:
        """Words in lower case, a blank between them."""
        return super().decode(ids).replace(" \n ", "\n").rstrip(" ")

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Raises UsageError: words were repaired, set apart and made small, so that no place of the text is theirs."""
        raise UsageError(
            "GPT-1's tokens have no places in the text", expected="a byte-level tokenizer", got=repr(text[:40])
        )

    def merge_steps(self, text: str) -> list[list[list[bytes]]]:
        """How merges build the tokens of each word of a text; the first step is the word's characters."""
        names = {number: token for token, number in self.vocabulary.ids.items()}
        names[_UNKNOWN_CHARACTER] = files.UNKNOWN.encode()
        return [
            [[names[number] for number in step] for step in self._steps(first)]
            for chunk in self._chunks(well_formed(text))
            for first in ([self._line_end] if chunk == "\n" else self._spellings(chunk))
        ]

    def _spellings(self, chunk: str) -> list[list[int]]:
        return [self._characters(word.lower()) for word in self._words(chunk)]
