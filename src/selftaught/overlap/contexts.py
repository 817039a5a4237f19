"""Held-out documents cut into a context, which a model is given, and what follows it in truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from selftaught import compute
from selftaught.corpus.documents import Document
from selftaught.errors import InputError
from selftaught.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Context:
    """The beginning of a document and as many tokens of what follows as are to be drawn."""

    document: Document
    text: str
    following: str


def choose(
    documents: Iterable[Document], tokenizer: Tokenizer, *, tokens: int, following: int, most: int, seed: int
) -> list[Context]:
    """Contexts of `tokens` tokens or a few less, cut before a word, from documents drawn by the seed.

    Documents that do not go on for `following` tokens are passed over. Raises InputError if that leaves none.
    """
    order = sorted(documents, key=lambda one: compute.seed_of("contexts", seed, one.id))
    chosen: list[Context] = []
    for document in order:
        if len(chosen) == most:
            break
        if cut := _cut(document, tokenizer, tokens, following):
            chosen.append(cut)
    if not chosen:
        raise InputError(
            "no held-out document is long enough",
            expected=f"{tokens + following:,} tokens",
            got=f"{len(order):,} documents",
            hint="Ask for less with --context-tokens and --tokens, or hold out more text.",
        )
    return chosen


def _cut(document: Document, tokenizer: Tokenizer, tokens: int, following: int) -> Context | None:
    text = document.text.strip()
    ids = tokenizer.encode(text)
    if len(ids) < tokens + following:
        return None
    place = len(_whole(tokenizer, ids[:tokens], text))
    while place and not text[place].isspace():
        place -= 1
    if not place:
        return None
    rest = tokenizer.encode(text[place:])[:following]
    return Context(document=document, text=text[:place], following=_whole(tokenizer, rest, text[place:]))


def _whole(tokenizer: Tokenizer, ids: list[int], text: str) -> str:
    """Tokens that a text begins with as text, without a character of which they hold only a part."""
    decoded = tokenizer.decode(ids)
    while not text.startswith(decoded):
        decoded = decoded[:-1]
    return decoded
