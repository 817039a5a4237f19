"""Undoing the tokenisation of data sets, as ordered rules (protocol, part 1.2)."""

from __future__ import annotations

import re

_WIKITEXT = tuple(
    (re.compile(found), put)
    for found, put in (
        (r"s '", "s'"),
        (r" @-@ ", "-"),
        (r" @,@ ", ","),
        (r" @\.@ ", "."),
        (r" ([:;]) ", r"\1 "),
        (r" ([.!?,]) ", r"\1 "),
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


def wikitext(text: str) -> str:
    """WikiText before its tokenisation, as nearly as Megatron-LM's rules undo it: not invertible where quotes are unbalanced."""
    for pattern, replacement in _WIKITEXT:
        text = pattern.sub(replacement, text)
    return text


def close_up(text: str) -> str:
    """Text with Penn Treebank's spacing undone: blanks before punctuation and clitics, its quotes and brackets."""
    for found, put in (("-LRB-", "("), ("-RRB-", ")"), ("``", '"'), ("''", '"')):
        text = text.replace(found, put)
    text = re.sub(r"\s+([.,!?;:)])", r"\1", text)
    text = re.sub(r"\(\s+", "(", text)
    return re.sub(r"\s+('s|n't|'ll|'re|'ve|'d|'m)\b", r"\1", text)
