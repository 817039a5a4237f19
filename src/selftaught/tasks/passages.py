"""Last words of passages: LAMBADA, and passages of the same form made from any text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selftaught.tasks.examples import Passage
from selftaught.tasks.rows import malformed, read_rows
from selftaught.tasks.words import PREDICTABLE_WORDS, STOP_WORDS

CONTEXT_WORDS = 60
"""Words before the last one; LAMBADA's passages have 59 on average."""
_WORD = re.compile(r"\S+")
_LAST = re.compile(r"([A-Za-z]{4,})[.!?]+[\"')\]]*")
LAMBADA_FILE = "lambada/lambada_test.jsonl"


def make_passages(texts: Iterable[tuple[str, str]]) -> Iterator[Passage]:
    """Passages of 61 words of (id, text) that end in the last word of a sentence.

    The word has at least four letters, is no stop word, and stands among the 60 words before it, as four of five of
    LAMBADA's do; passages of one text do not overlap.
    """
    for name, text in texts:
        found = list(_WORD.finditer(text))
        next_start = 0
        for place in range(CONTEXT_WORDS, len(found)):
            first = place - CONTEXT_WORDS
            last = _LAST.fullmatch(found[place].group())
            if last is None or first < next_start or last[1].lower() in STOP_WORDS:
                continue
            start, middle = found[first].start(), found[place - 1].end()
            if last[1].lower() not in {word.lower() for word in re.findall(r"[A-Za-z]+", text[start:middle])}:
                continue
            gap = text[middle : found[place].start()]
            yield Passage(id=f"{name}@{start}", context=text[start:middle], word=gap + last[1])
            next_start = place + 1


def frequent_word(context: str) -> str:
    """The most frequent word that is no stop word: an answer that needs no model. The first of equals; "" if there is none."""
    words = [word for word in re.findall(r"[^\W\d_]+", context) if word.lower() not in PREDICTABLE_WORDS]
    return Counter(words).most_common(1)[0][0] if words else ""


@dataclass(frozen=True, kw_only=True)
class _Row:
    text: str


def read_lambada(data: Path, *, clean: bool = True) -> list[Passage]:
    """OpenAI's version of the LAMBADA test set.

    With `clean`, curly quotes become straight ones and a newline goes before, as the author says was done.
    Raises InputError for a row without at least two words.
    """
    path = data / LAMBADA_FILE
    passages = []
    for number, row in read_rows(path, _Row):
        context, _, word = row.text.strip().rpartition(" ")
        if not context or not word:
            raise malformed(path, number, expected='{"text": a passage of at least two words}', got=repr(row.text)[:80])
        passages.append(_lambada_passage(row.text, number, clean=clean))
    return passages


def _lambada_passage(text: str, number: int, *, clean: bool) -> Passage:
    if clean:
        text = "\n" + text.replace("“", '"').replace("”", '"').replace("''", '"').replace("``", '"').strip()
    context, _, word = text.rstrip().rpartition(" ")
    return Passage(id=f"lambada-{number}", context=context, word=f" {word}")
