"""WMT-14 French and English: sentences to translate after example pairs, and BLEU (GPT-2 paper, section 3.7)."""

from __future__ import annotations

import html
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from selftaught import compute
from selftaught.errors import InputError, MissingExtraError
from selftaught.tasks.rows import malformed, read_lines
from selftaught.tasks.sentences import split_sentences

Language: TypeAlias = Literal["en", "fr"]
NAMES = {"en": "English", "fr": "French"}
TEST_FILE, EXAMPLES_FILE = "wmt14_en_fr/newstest2014", "wmt14_en_fr/newstest2013"
"""With the language behind a dot, or -src or -ref, the language and .sgm as published; the examples are the year's
development set."""
TEST_FILES: dict[Language, tuple[str, str]] = {
    "en": (f"{TEST_FILE}.en", f"{TEST_FILE}*.en.sgm"),
    "fr": (f"{TEST_FILE}.fr", f"{TEST_FILE}*.fr.sgm"),
}
_SEGMENT = re.compile(r"<seg\b[^>]*>(.*?)</seg>", re.DOTALL | re.IGNORECASE)
RESAMPLES = 1000
"""Of sacreBLEU's bootstrap."""
_NORMAL_95 = 1.96
"""Half the width of a 95 % interval in standard errors."""


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence in both languages."""

    id: str
    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Bilingual:
    """The sentences that count, and those that are shown as examples."""

    asked: list[Sentence]
    examples: list[Sentence]
    words: str
    """Where the examples are from."""


@dataclass(frozen=True, kw_only=True)
class Bleu:
    """Corpus BLEU with its standard error, and what it was computed with."""

    value: float
    error: float
    signature: str


def read_sentences(data: Path, source: Language, *, examples: int, seed: int) -> Bilingual:
    """The test set from one language, and examples from the development set.

    Where there is no development set, they are from the test set and do not count there. Raises InputError where the two
    languages have not as many lines, a line is empty, or there are too few.
    """
    asked = _read(data, TEST_FILE, source)
    apart = all(_file(data, EXAMPLES_FILE, language).is_file() for language in NAMES)
    known = _read(data, EXAMPLES_FILE, source) if apart else asked
    if examples + 1 > len(known):
        raise InputError(f"{data} has too few sentences", expected=f"more than {examples}", got=str(len(known)))
    chosen = random.Random(compute.seed_of("sentences", seed)).sample(known, examples)
    taken = {one.id for one in chosen}
    where = "newstest2013" if apart else "the test set, where they do not count"
    return Bilingual(
        asked=[one for one in asked if one.id not in taken],
        examples=chosen,
        words=f"{examples} example pairs drawn from {where}, seed {seed}",
    )


def read_language(data: Path, language: Language) -> list[tuple[str, str]]:
    """Name and text of each sentence of the test set in one language."""
    path = _file(data, TEST_FILE, language)
    return [(_name(TEST_FILE, number), line) for number, line in enumerate(_lines(path), start=1)]


def _name(file: str, number: int) -> str:
    return f"{Path(file).name}-{number}"


def _read(data: Path, file: str, source: Language) -> list[Sentence]:
    lines = {language: _lines(_file(data, file, language)) for language in NAMES}
    english, french = (len(lines[language]) for language in ("en", "fr"))
    if english != french:
        raise InputError(f"{data / file}.en and .fr do not fit together", got=f"{english} and {french} lines")
    found = []
    for number, (one, other) in enumerate(zip(lines["en"], lines["fr"], strict=True), start=1):
        if not one.strip() or not other.strip():
            raise malformed(data / f"{file}.en", number, expected="a sentence in both languages")
        both = {"en": one.strip(), "fr": other.strip()}
        target = both["fr" if source == "en" else "en"]
        found.append(Sentence(id=_name(file, number), source=both[source], target=target))
    return found


def _file(data: Path, name: str, language: str) -> Path:
    """Lines of text, or else the first of the published files that there is."""
    plain = data / f"{name}.{language}"
    published = [path for part in ("src", "ref") for path in sorted(data.glob(f"{name}*-{part}.{language}.sgm"))]
    return plain if plain.exists() or not published else published[0]


def _lines(path: Path) -> list[str]:
    lines = read_lines(path)
    if path.suffix != ".sgm":
        return lines
    segments = [" ".join(html.unescape(one).split()) for one in _SEGMENT.findall("\n".join(lines))]
    if not segments:
        raise InputError(f"{path} holds no sentences", expected="<seg>...</seg>")
    return segments


def prompt(examples: Sequence[Sentence], source: str) -> str:
    """Lines `sentence = its translation` of the examples, then the sentence and a bare `=`."""
    return "".join(f"{one.source} = {one.target}\n" for one in examples) + f"{source} ="


def translation_of(text: str) -> str:
    """The first sentence of what was written."""
    return next(iter(split_sentences(text)), "")


class BleuScorer:
    """SacreBLEU with its defaults (13a); or, of text `tokenised` as Moses does a language, what multi-bleu.perl would say.

    The latter, without smoothing, is how the papers of the time reported BLEU. Raises MissingExtraError where sacrebleu or
    sacremoses is not installed.
    """

    def __init__(self, tokenised: Language | None = None) -> None:
        try:
            import sacremoses
            from sacrebleu.metrics.bleu import BLEU
        except ImportError as problem:
            raise MissingExtraError("sacrebleu or sacremoses", "evaluate") from problem
        self._moses: Any = sacremoses.MosesTokenizer(tokenised) if tokenised else None
        # `force` only keeps it from advising against text that looks tokenised.
        given: dict[str, Any] = {"tokenize": "none", "smooth_method": "none"} if tokenised else {}
        self._metric: Callable[[], Any] = partial(BLEU, force=True, **given)
        self._words = f"sacremoses {sacremoses.__version__}, {tokenised}, " if tokenised else ""

    def score(self, translations: Sequence[str], references: Sequence[str]) -> Bleu:
        """BLEU of all sentences together; the error is that of sentences drawn with replacement."""
        said, wanted = (list(map(self.parted, texts)) for texts in (translations, references))
        metric = self._metric()
        value = float(metric.corpus_score(said, [wanted]).score)
        if len(said) < 2:
            return Bleu(value=value, error=0.0, signature=f"{self._words}{metric.get_signature()}")
        metric = self._metric()
        found = metric.corpus_score(said, [wanted], n_bootstrap=RESAMPLES)
        signature = str(metric.get_signature())
        # Nothing right at all has no interval.
        spread = json.loads(found.format(width=6, is_json=True, signature=signature)).get("confidence_var", 0.0)
        return Bleu(value=value, error=spread / _NORMAL_95, signature=self._words + signature)

    def parted(self, text: str) -> str:
        """Words and signs with blanks between them, if that is asked for."""
        return text if self._moses is None else str(self._moses.tokenize(text, escape=False, return_str=True))
