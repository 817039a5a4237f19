"""Undoing the tokenisation of data sets (GPT-2 paper, section 3.1; protocol, part 1.2).

`invertible` glues tokens together where its own tokeniser would part them again, and nowhere else, so that the original can
always be had back: what the paper asks for. `megatron` is the ordered list of rules that most others use, which is not
invertible where quotes or brackets are unbalanced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

ESCAPE = "\\"
"""Stands before a token that the tokeniser would part."""
UNKNOWN = "<unk>"


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """How a data set parts words."""

    pattern: re.Pattern[str]
    """Its tokeniser; signs in the group `inside` are written ` @-@ ` when parted."""
    inside: dict[str, str]
    """Such a token -> its sign."""
    clitic: re.Pattern[str] = re.compile(r"'[^\W\d_]+")
    """What is written against the word before it."""


_ABBREVIATIONS = (
    r"(?:Mr|Mrs|Ms|Dr|St|Nos?|Col|Gen|Lt|Sgt|Capt|Maj|Jr|Sr|Rev|Prof|Sen|Rep|Gov"
    r"|Inc|Co|Corp|Ltd|Bros|vs|v|pp|al|e\.g|i\.e)\."
)
_WORDS = rf"""
      {UNKNOWN}
    | \.{{2,}} | -{{2,}}
    | (?<![^\W\d_])(?:{_ABBREVIATIONS} | (?:[^\W\d_]\.)+)
    | (?<=[\w>.])'[^\W\d_]+                                             # a clitic: 's, 't, 're
"""
_WIKITEXT = Spelling(
    pattern=re.compile(
        rf"""{_WORDS}
    | (?P<inside> (?<=[\w>])-(?=[\w<]) | (?<=[\d>])[,.](?=[\d<]) )             # @-@ @,@ @.@
    | (?:[^\W\d_]+\.)+(?=[^\W\d_]) [^\W\d_]+ | \w+ | \S
    """,
        re.VERBOSE,
    ),
    inside={"@-@": "-", "@,@": ",", "@.@": "."},
)
_NEWS = Spelling(
    pattern=re.compile(rf"""{_WORDS} | \w+ (?: [-,.&] \w+ )* | \S """, re.VERBOSE),
    inside={},
)
_PENN_WORDS = Spelling(
    pattern=re.compile(rf"{UNKNOWN}|n't(?!\w)|'[^\W\d_]+|(?:(?!n't(?!\w))[^\s$#<'])+|\S"),
    inside={},
    clitic=re.compile(r"n't|'[^\W\d_]+"),
)
_CLOSING = frozenset((*",.:;!?)]}%", "...", "...."))
_OPENING = frozenset("([{$£€#")
_WIKITEXT_JOINED = frozenset("/=")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line without its tokenisation."""

    text: str
    escaped: int
    """Tokens that had to be marked."""


def wikitext(tokens: Sequence[str]) -> Line:
    """A line of WikiText as it was written."""
    return _join(tokens, _WIKITEXT, together=_WIKITEXT_JOINED)


def news(tokens: Sequence[str]) -> Line:
    """A sentence of the One Billion Word benchmark as it was written."""
    return _join(tokens, _NEWS, together=frozenset())


def penn(tokens: Sequence[str]) -> Line:
    """A line of the Penn Treebank as it was written."""
    return _join(tokens, _PENN_WORDS, together=frozenset())


def _chunk_tokens(chunk: str, spelling: Spelling) -> list[str]:
    """The tokens of what stands between two blanks."""
    if chunk.startswith(ESCAPE):
        return [chunk.removeprefix(ESCAPE)]
    return [
        f"@{match.group()}@" if match.lastgroup == "inside" else match.group()
        for match in spelling.pattern.finditer(chunk)
    ]


def _join(tokens: Sequence[str], spelling: Spelling, *, together: frozenset[str]) -> Line:
    chunks: list[str] = []
    escaped = 0
    for glued in _glued(tokens, spelling, together):
        chunk = "".join(spelling.inside.get(token, token) for token in glued)
        parts = [chunk] if _chunk_tokens(chunk, spelling) == glued else glued
        for part in parts:
            safe = len(parts) == 1 < len(glued) or _chunk_tokens(part, spelling) == [part]
            chunks.append(part if safe else ESCAPE + part)
            escaped += not safe
    return Line(text=" ".join(chunks), escaped=escaped)


def _glued(tokens: Sequence[str], spelling: Spelling, together: frozenset[str]) -> list[list[str]]:
    """Tokens that were written without a blank between them."""
    chunks: list[list[str]] = []
    quoting = {'"': False, "'": False}
    join_next = False
    for number, token in enumerate(tokens):
        joined, join_after = _sides(tokens, number, spelling, together, quoting)
        if chunks and (join_next or joined):
            chunks[-1].append(token)
        else:
            chunks.append([token])
        join_next = join_after
    return chunks


def _sides(
    tokens: Sequence[str], number: int, spelling: Spelling, together: frozenset[str], quoting: dict[str, bool]
) -> tuple[bool, bool]:
    """Whether a token is written against the one before, and against the one after."""
    sign, before = tokens[number], tokens[number - 1] if number else ""
    if sign in spelling.inside or sign in together:
        beside = sign != "=" or before == "="
        return beside, sign != "="
    if sign in quoting:
        if sign == "'" and before.endswith("s") and not quoting[sign]:
            return True, False
        quoting[sign] = not quoting[sign]
        return not quoting[sign], quoting[sign]
    if spelling.clitic.fullmatch(sign):
        return before[-1:].isalnum() or before.endswith((".", ">")), False
    return sign in _CLOSING, sign in _OPENING


_MEGATRON = tuple(
    (re.compile(found), put)
    for found, put in (
        (r"s '", "s'"),
        (r" @-@ ", "-"),
        (r" @,@ ", ","),
        (r" @\.@ ", "."),
        (r" : ", ": "),
        (r" ; ", "; "),
        (r" \. ", ". "),
        (r" ! ", "! "),
        (r" \? ", "? "),
        (r" , ", ", "),
        (r"\(\s*([^)]*?)\s*\)", r"(\1)"),
        (r"\[\s*([^\]]*?)\s*\]", r"[\1]"),
        (r"\{\s*([^}]*?)\s*\}", r"{\1}"),
        (r"\"\s*([^\"]*?)\s*\"", r'"\1"'),
        (r"'\s*([^']*?)\s*'", r"'\1'"),
        (r"= = = =", "===="),
        (r"= = =", "==="),
        (r"= =", "=="),
        (r" ° ", "°"),
        (r" \n", "\n"),
        (r"\n ", "\n"),
        (r" N ", " 1 "),
        (r" 's", "'s"),
    )
)


_MEGATRON_PENN = tuple(
    (re.compile(found), put)
    for found, put in (
        (r" '", "'"),
        (r" \n", "\n"),
        (r"\n ", "\n"),
        (r" n't", "n't"),
        (r" N ", "1 "),
        (r"\$ 1", "$1"),
        (r"# 1", "#1"),
    )
)


def megatron(text: str) -> str:
    """WikiText as Megatron-LM's rules undo its tokenisation, in their order."""
    return _rewritten(text, _MEGATRON)


def megatron_penn(text: str) -> str:
    """The Penn Treebank as Megatron-LM's rules for it undo its tokenisation, in their order."""
    return _rewritten(text, _MEGATRON_PENN)


def _rewritten(text: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


_PENN = (("-LRB- ", "("), (" -RRB-", ")"), ("`` ", '"'), (" ''", '"'), ("``", '"'), ("''", '"'), ("` ", "'"))


def close_up(text: str) -> str:
    """Text with Penn Treebank's spacing undone: blanks before punctuation and clitics, its quotes and brackets."""
    for found, put in _PENN:
        text = text.replace(found, put)
    text = re.sub(r"\s+([.,!?;:)])", r"\1", text)
    text = re.sub(r"\(\s+", "(", text)
    return re.sub(r"\s+('s|n't|'ll|'re|'ve|'d|'m)\b", r"\1", text)
