"""Words and sentences of running text, by simple stated rules."""

from __future__ import annotations

import re

_FUNCTION_WORDS = """
about above after again against all also and any are because been before being below between both but can
cannot could did does doing down during each few for from further had has have having her here hers herself
him himself his how into its itself just more most myself nor not now off once only other our ours ourselves
out over own same she should some such than that the their theirs them themselves then there these they this
those through too under until very was were what when where which while who whom why will with would you your
yours yourself yourselves
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English function words of three letters and more: frequent enough to be guessed from grammar alone."""
_SHORT_WORDS = """
a am an as at be by do don he hi i if in is it me my no of oh on or so s t to up us we yes
"""
PREDICTABLE_WORDS = STOP_WORDS | frozenset(_SHORT_WORDS.split())
"""All English function words, as lists of stop words have them: what LAMBADA's filter bars (GPT-2 paper, section 3.3)."""
_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)")


def sentences(text: str) -> list[str]:
    """Sentences: stretches that end in . ! or ? before a blank, white space squeezed; the unfinished rest is left out."""
    found, start = [], 0
    for end in _END.finditer(text):
        sentence = " ".join(text[start : end.end()].split())
        start = end.end()
        if any(map(str.isalnum, sentence)):
            found.append(sentence)
    return found
