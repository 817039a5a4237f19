"""Sentences of running text for people's prose: abbreviations and initials do not end one, and nothing is left out.

`tasks.words.sentences` is the plainer rule by which questions are made from held-out text.
"""

from __future__ import annotations

import re

_END = re.compile(r"""[.!?\u2026]+["'\u2019\u201d)\]]*(?=\s|$)""")
_OPENING = "\"'\u2018\u201c([\u00ab-\u2013\u2014 "
_NEVER_LAST = """
mr mrs ms dr prof st sen rep gov gen col lt sgt capt maj cmdr adm rev hon pres v vs jan feb mar apr jun jul aug sep
sept oct nov dec e.g i.e cf approx dept est mt ft mm mme mlle m
"""
_ABBREVIATIONS = frozenset(_NEVER_LAST.split())
"""In lower case and without their last dot: never the last word of a sentence that goes on with a capital."""
_BEFORE_NUMBERS = frozenset(("no", "nos", "fig", "vol", "pp", "p", "art"))
_SOMETIMES = frozenset(("inc", "ltd", "co", "corp", "bros", "jr", "sr", "al", "etc"))
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_FIRST = """
a after all also although an and as at because before both but by during each even for from he her here his how
however i if in instead it its last many meanwhile more most my no not now of on once one only or other our she since
so some still such that the their then there these they this those though to today under until we what when where
while who why with yet you
"""
_BEGINNINGS = frozenset(_FIRST.split())
"""Words that begin a sentence if they have a capital: it ends before them even after `U.S.` and `p.m.`."""


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, white space squeezed; a last one may be unfinished. Line ends end sentences too."""
    found = []
    for line in text.splitlines():
        start = 0
        for end in _END.finditer(line):
            if _ends(line[start : end.end()], line[end.end() :].lstrip()):
                found.append(" ".join(line[start : end.end()].split()))
                start = end.end()
        found.append(" ".join(line[start:].split()))
    return [sentence for sentence in found if sentence]


def _ends(sentence: str, rest: str) -> bool:
    """Whether a sentence ends where a dot (or another sign of an end) stands before a blank."""
    following = rest.lstrip(_OPENING)
    if not following:
        return True
    last = sentence.rsplit(maxsplit=1)[-1].lstrip(_OPENING)
    if following[0].islower() or not last.endswith(".") or last.endswith(".."):
        return not following[0].islower()
    word = last.removesuffix(".")
    if word.lower() in _ABBREVIATIONS:
        return False
    if word.lower() in _BEFORE_NUMBERS:
        return not following[0].isdigit()
    if word.lower() in _SOMETIMES or (_INITIALS.fullmatch(word) and word != "I"):
        return re.split(r"\W", following, maxsplit=1)[0].lower() in _BEGINNINGS
    return True
