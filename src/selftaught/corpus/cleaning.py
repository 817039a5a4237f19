"""Filters with named reasons. What passes stays exactly as it is, for GPT-2 wants raw text; mojibake is repaired on demand only.

reason            dropped if                                              source
short             fewer characters than wanted                            -
language XX       another language than wanted, or none that is known     GPT-2 paper, section 3.7: pages that are not English
wikipedia copy    the text says that it comes from Wikipedia              GPT-2 paper, section 2.1
symbols           too few letters                                         Gopher (Rae et al. 2021, A.1.1), there by words
word length       words are shorter or longer than words on average       Gopher: 3 to 10 characters
bullets           nearly all lines are items of lists                     Gopher: 90 %
ellipses          too many lines break off                                Gopher: 30 %
no stop words     English that lacks what English cannot do without       Gopher: 2 of 8 words; only if English is wanted
repetition        too many lines, or groups of words, stand there again   Gopher, table A1: lines; 2, 3 and 4 words
placeholder       "lorem ipsum dolor"                                     C4 (Raffel et al. 2020, section 2.2)
boilerplate       a short text that is a message of the site              C4: lines that ask for JavaScript; here whole texts
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from selftaught.corpus.ranges import require_least, require_share
from selftaught.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

LETTERS_LOOKED_AT = 20_000
UNKNOWN = "unknown"
_LANGUAGE_LOOKED_AT = 10_000
_NGRAM_SHARES = {2: 0.20, 3: 0.18, 4: 0.16}
"""Gopher, table A1: highest share of the characters (here: words) of a text that its most frequent group of words makes up."""
_FEWEST_NGRAMS = 50
_WORDS = re.compile(r"[^\W_]+")
"""Letters and digits, as in the normal form of `corpus.ngrams`."""
_STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_BULLETS = tuple("\u2022\u2023\u25aa\u25cf\u25e6*-")
_ELLIPSES = ("...", "\u2026")
_WIKIPEDIA = ("from wikipedia, the free encyclopedia", "this article uses material from the wikipedia article")
_MESSAGES = (
    *(
        "enable javascript",
        "javascript is disabled",
        "enable cookies",
        "access denied",
        "403 forbidden",
        "404 not found",
    ),
    *("page not found", "page you requested", "are you a robot", "verify you are human", "domain is for sale"),
    *("account has been suspended", "unsupported browser"),
)
_LONGEST_MESSAGE = 1000


@dataclass(frozen=True, kw_only=True)
class CleaningSettings:
    """What a document must be like to be kept."""

    fewest_characters: int = 200
    """Shorter texts are dropped as `short`."""
    languages: tuple[str, ...] = ()
    """Languages to keep (`en`, `fr`...; ISO 639-1), all if none is given; WebText is `en` (GPT-2 paper, section 3.7). Others are
    dropped as `language XX`."""
    lowest_letter_share: float = 0.5
    """Share of letters among non-blank characters; below it a text is dropped as `symbols`."""
    shortest_mean_word: float = 2.5
    """Mean length of words below which a text is dropped as `word length` (Gopher: 3; texts without blanks are not looked at)."""
    longest_mean_word: float = 12.0
    """Mean length of words above which a text is dropped as `word length` (Gopher: 10)."""
    highest_bullet_share: float = 0.9
    """Share of lines that begin with a bullet; above it a text is dropped as `bullets` (Gopher)."""
    highest_ellipsis_share: float = 0.3
    """Share of lines that end in an ellipsis; above it a text is dropped as `ellipses` (Gopher)."""
    highest_repeated_share: float = 0.6
    """Share of non-empty lines that repeat an earlier one; above it a text is dropped as `repetition` (Gopher: 0.3)."""
    repeated_words: bool = True
    """Whether to drop a text as `repetition` if one group of 2, 3 or 4 words is 20, 18 or 16 % of it (Gopher, table A1)."""
    mojibake: bool = False
    """Whether to repair text that was decoded wrongly before it came here, with ftfy; nothing else of a text is ever changed."""

    def __post_init__(self) -> None:
        """Refuse what is no length, share or language."""
        require_least(self, 0, "fewest_characters", "shortest_mean_word", "longest_mean_word")
        names = ("lowest_letter_share", "highest_bullet_share", "highest_ellipsis_share", "highest_repeated_share")
        require_share(self, *names)
        for language in self.languages:
            if not (len(language) == 2 and language.islower()):
                raise UsageError(f"--languages cannot be {language}", expected="codes such as en or fr")


def language_of(text: str) -> str:
    """The language of a text by its code (ISO 639-1), or `unknown`; sure from a few sentences on."""
    from resiliparse.parse.lang import detect_fast

    return str(detect_fast(text[:_LANGUAGE_LOOKED_AT])[0])


def repaired(text: str) -> str:
    """The text without mojibake. Raises MissingExtraError if ftfy is not installed."""
    try:
        import ftfy
    except ImportError:
        raise MissingExtraError("ftfy", "corpus") from None
    return str(ftfy.fix_encoding(text))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with a text."""

    reason: str
    """Why it is dropped; "" if it is kept."""
    language: str
    repaired: str | None = None
    """The text without mojibake, where that was asked for."""


def judge(text: str, rules: CleaningSettings) -> Verdict:
    """Look at one text: all that cleaning does with it."""
    better = repaired(text) if rules.mojibake else None
    text = text if better is None else better
    language = language_of(text)
    return Verdict(reason_to_drop(text, rules, language), language, better)


def reason_to_drop(text: str, rules: CleaningSettings, language: str = "") -> str:
    """Why a text is dropped, or "" if it is kept; `language` is what `language_of` says if that was asked before."""
    if len(text) < rules.fewest_characters:
        return "short"
    if rules.languages and (language := language or language_of(text)) not in rules.languages:
        return f"language {language}"
    look = _Look(text)
    return next((reason for reason, applies in _FILTERS if applies(look, rules)), "")


@dataclass(frozen=True)
class _Signs:
    """How many signs that are not blank a text has, how many of them are letters, and how many words they make."""

    count: int
    letters: int
    words: int


def _counted(text: str) -> _Signs:
    import numpy as np

    from selftaught.corpus import codepoints

    codes = codepoints.codes_of(text)
    blank = codepoints.blank().take(codes)
    words = int(np.count_nonzero(blank[:-1] > blank[1:])) + bool(len(blank) and not blank[0])
    letters = int(np.count_nonzero(codepoints.alphabetic().take(codes)))
    return _Signs(len(text) - int(np.count_nonzero(blank)), letters, words)


class _Look:
    """A text and what several filters look at."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def lines(self) -> list[str]:
        """Its lines that are not empty."""
        return [line for line in map(str.strip, self.text.splitlines()) if line]

    @cached_property
    def signs(self) -> _Signs:
        """How its beginning is made up."""
        return _counted(self.text[:LETTERS_LOOKED_AT])

    @cached_property
    def lowered(self) -> str:
        """In lower case."""
        return self.text.lower()


def _symbols(look: _Look, rules: CleaningSettings) -> bool:
    return look.signs.letters < rules.lowest_letter_share * max(1, look.signs.count)


def _word_length(look: _Look, rules: CleaningSettings) -> bool:
    words = look.signs.words
    if words * 30 < len(look.text[:LETTERS_LOOKED_AT]):  # no blanks between words: Chinese, Japanese, Thai
        return False
    return not rules.shortest_mean_word <= look.signs.count / max(1, words) <= rules.longest_mean_word


def _bullets(look: _Look, rules: CleaningSettings) -> bool:
    lines = look.lines
    return sum(line.startswith(_BULLETS) for line in lines) > rules.highest_bullet_share * len(lines)


def _ellipses(look: _Look, rules: CleaningSettings) -> bool:
    lines = look.lines
    return sum(line.endswith(_ELLIPSES) for line in lines) > rules.highest_ellipsis_share * len(lines)


def _no_stop_words(look: _Look, rules: CleaningSettings) -> bool:
    return rules.languages == ("en",) and len(_STOP_WORDS & set(look.lowered.split())) < 2


def _repetition(look: _Look, rules: CleaningSettings) -> bool:
    lines = look.lines
    if sum(count - 1 for count in Counter(lines).values()) > rules.highest_repeated_share * len(lines):
        return True
    return rules.repeated_words and _says_the_same(look.lowered)


def _says_the_same(lowered: str) -> bool:
    """Whether the most frequent group of 2, 3 or 4 words is too much of the text. Few texts need their groups counted."""
    words, most = _at_most(lowered)
    if not any(_is_too_much(most, n, words - n + 1) for n in _NGRAM_SHARES):
        return False
    found = _WORDS.findall(lowered)
    for n in _NGRAM_SHARES:
        groups = Counter(zip(*(found[start:] for start in range(n)), strict=False))
        if groups and _is_too_much(max(groups.values()), n, groups.total()):
            return True
    return False


def _is_too_much(most: int, n: int, count: int) -> bool:
    """Whether one group of n words is too much of a text of so many groups if it is there so often."""
    return count >= _FEWEST_NGRAMS and most > 1 and most * n > _NGRAM_SHARES[n] * count


def _at_most(lowered: str) -> tuple[int, int]:
    """How many words a text has, and what no group of them is more frequent than.

    A group is no more frequent than its first two words, nor those than pairs that begin, end and last as they do.
    """
    import numpy as np

    from selftaught.corpus import codepoints

    codes = codepoints.codes_of(f" {lowered} ")
    inside = codepoints.alphanumeric().take(codes)
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    before, last = edges[::2], edges[1::2]
    shapes = (codes[before + 1].astype(np.uint64) << np.uint64(42)) + (codes[last].astype(np.uint64) << np.uint64(21))
    shapes = (shapes + (last - before).astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    shapes ^= shapes >> np.uint64(29)
    return len(shapes), _most_frequent(shapes[:-1] * np.uint64(0xD6E8FEB86659FD93) + shapes[1:])


def _most_frequent(hashes: Array) -> int:
    """How often the most frequent value is there."""
    import numpy as np

    if not len(hashes):
        return 0
    hashes.sort()
    ends = np.flatnonzero(hashes[1:] != hashes[:-1])
    return int(np.diff(np.concatenate([[-1], ends, [len(hashes) - 1]])).max())


def _says_wikipedia(look: _Look, _: CleaningSettings) -> bool:
    return any(phrase in look.lowered for phrase in _WIKIPEDIA)


def _placeholder(look: _Look, _: CleaningSettings) -> bool:
    return "lorem ipsum dolor" in look.lowered


def _boilerplate(look: _Look, _: CleaningSettings) -> bool:
    return len(look.text) <= _LONGEST_MESSAGE and any(phrase in look.lowered for phrase in _MESSAGES)


_FILTERS: tuple[tuple[str, Callable[[_Look, CleaningSettings], bool]], ...] = (
    ("symbols", _symbols),
    ("word length", _word_length),
    ("bullets", _bullets),
    ("ellipses", _ellipses),
    ("no stop words", _no_stop_words),
    ("repetition", _repetition),
    ("wikipedia copy", _says_wikipedia),
    ("placeholder", _placeholder),
    ("boilerplate", _boilerplate),
)
