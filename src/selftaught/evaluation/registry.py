"""The tasks by name: where their questions come from, how they are asked and marked."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from selftaught import console
from selftaught.corpus import documents
from selftaught.errors import InputError
from selftaught.evaluation import answering, measuring, summarizing, translating
from selftaught.evaluation.experiments import Question, Result, Task
from selftaught.evaluation.heuristics import HEURISTICS
from selftaught.evaluation.measuring import Answer, Measured
from selftaught.tasks import (
    cloze,
    conversations,
    marking,
    modelling,
    passages,
    questions,
    summaries,
    translation,
    winograd,
)
from selftaught.tasks.examples import Choice
from selftaught.tasks.words import PREDICTABLE_WORDS

T = TypeVar("T")
CLOZE_STEPS = (cloze.CONTEXT_SENTENCES + 1, 5)
"""Sentences from one cloze question to the next; contexts overlap only where there is too little text for as many as wanted."""


def _texts_of(corpus: Path, split: str) -> Iterable[tuple[str, str]]:
    return ((row.id, row.text) for row in documents.read(corpus, split))


def _drawn(items: Sequence[T], what: str, asked: Question) -> Sequence[T]:
    """As many questions as are wanted, drawn by the seed, in the order in which they were made."""
    if not items:
        raise InputError(
            f"the held-out text of {asked.source} is too short for {what}", hint="name other tasks, or hold out more"
        )
    draw = random.Random(asked.rules.seed)
    places = sorted(draw.sample(range(len(items)), min(asked.rules.most_questions, len(items))))
    return [items[place] for place in places]


def _bits_per_byte(asked: Question, split: str) -> Result:
    """Figure 4: how well text of the corpus is predicted; the same budget of bytes for both sides."""
    chosen = modelling.choose_texts(
        _texts_of(asked.source, split), most_bytes=asked.rules.most_bytes, seed=asked.rules.seed
    )
    if not any(text.units for text in chosen):
        raise InputError(f"{asked.source} has no {split} text", hint="name other tasks, or hold out more")
    with console.progress(f"{split}: bits per byte", len(chosen), unit="documents") as bar:
        answers = measuring.texts(asked.model, chosen, stride=0, advance=bar.advance)
    per_token = marking.ratio([one.nats for one in answers], [one.tokens for one in answers])
    protocol = f"{split} documents up to {asked.rules.most_bytes:,} bytes, seed {asked.rules.seed}; windows that do not overlap"
    return answers, [
        Measured(metric="bits_per_byte", mark=marking.bits(measuring.mark_texts(answers)), protocol=protocol),
        Measured(metric="perplexity", mark=marking.perplexity(per_token), protocol=f"per token; {protocol}"),
    ]


def _heldout(asked: Question) -> Result:
    return _bits_per_byte(asked, "heldout")


def _train(asked: Question) -> Result:
    return _bits_per_byte(asked, "train")


def _lastword(asked: Question) -> Result:
    """LAMBADA's form on held-out text."""
    made = passages.make_passages(_texts_of(asked.source, "heldout"))
    chosen = _drawn(list(made), "passages", asked)
    with console.progress("last words", len(chosen), unit="passages") as bar:
        answers = measuring.last_words(asked.model, chosen, advance=bar.advance)
    protocol = f"passages of {passages.CONTEXT_WORDS + 1} words from held-out documents"
    return answers, measuring.mark_last_words(answers, protocol)


def _cloze(asked: Question) -> Result:
    """CBT's form on held-out text."""
    texts = list(_texts_of(asked.source, "heldout"))
    made: list[Choice] = []
    for step in CLOZE_STEPS:
        made = list(cloze.make_questions(texts, seed=asked.rules.seed, step=step))
        if len(made) >= asked.rules.most_questions:
            break
    chosen = _drawn(made, "cloze questions", asked)
    with console.progress("cloze", sum(len(one.candidates) for one in chosen), unit="candidates") as bar:
        answers = measuring.choices(asked.model, chosen, advance=bar.advance)
    form = f"{cloze.CONTEXT_SENTENCES} sentences and one with a gap, {cloze.CANDIDATES} candidates"
    protocol = f"{form}, a question every {step} sentences; {_without_model(chosen)}"
    return answers, measuring.mark_choices(answers, protocol)


def _without_model(chosen: Sequence[Choice]) -> str:
    """What is reached without a model, in words."""
    simple = marking.accuracy([cloze.most_frequent(one) == one.answer for one in chosen])
    return f"chance 10 %, most frequent candidate of the context {100 * simple.value:.0f} %"


def _lambada(asked: Question) -> Result:
    """GPT-2 paper, section 3.3."""
    chosen = asked.limited(passages.read_lambada(asked.source, clean=asked.rules.clean_lambada))
    barred = [f" {form}" for word in sorted(PREDICTABLE_WORDS) for form in (word, word.capitalize())]
    with console.progress("LAMBADA", len(chosen), unit="passages") as bar:
        answers = measuring.last_words(asked.model, chosen, advance=bar.advance, barred=barred)
    text = "straight quotes, newline before" if asked.rules.clean_lambada else "text as it is"
    protocol = f"test, {text}{asked.rules.first_only}"
    return answers, [
        *measuring.mark_last_words(answers, protocol),
        *measuring.mark_other_readings(answers, protocol),
    ]


def _modelled(asked: Question, title: str, chosen: modelling.DataSet) -> tuple[Sequence[Answer], marking.Mark]:
    """Nats per unit of a language-modelling data set."""
    with console.progress(title, len(chosen.texts), unit="texts") as bar:
        if len(chosen.texts) == 1:
            text = chosen.texts[0]
            stretches = measuring.long_text(asked.model, text, stride=asked.rules.stride, advance=bar.advance)
            return stretches, measuring.mark_long_text(stretches, text.units)
        answers = measuring.texts(asked.model, chosen.texts, stride=asked.rules.stride, advance=bar.advance)
        return answers, measuring.mark_texts(answers)


def _perplexity(asked: Question, title: str, chosen: modelling.DataSet) -> Result:
    answers, nats = _modelled(asked, title, chosen)
    protocol = f"test, {chosen.words}; {asked.rules.windows}{asked.rules.first_only}"
    return answers, [Measured(metric="perplexity", mark=marking.perplexity(nats), protocol=protocol)]


def _wikitext2(asked: Question) -> Result:
    """GPT-2 paper, section 3.1."""
    chosen = modelling.read_wikitext(asked.source / modelling.WIKITEXT2_FILE, asked.rules.reading)
    return _perplexity(asked, "WikiText-2", chosen)


def _wikitext103(asked: Question) -> Result:
    """GPT-2 paper, section 3.1."""
    chosen = modelling.read_wikitext(asked.source / modelling.WIKITEXT103_FILE, asked.rules.reading)
    return _perplexity(asked, "WikiText-103", chosen)


def _news(asked: Question) -> Result:
    """One Billion Words: GPT-2 paper, section 3.1."""
    path = TASKS["1bw"].found(asked.source)[0]
    chosen = modelling.read_news(path, asked.rules.reading, alone=asked.rules.sentences_alone)
    return _perplexity(asked, f"One Billion Words ({path.name})", chosen)


def _enwik8(asked: Question) -> Result:
    """GPT-2 paper, section 3.1."""
    chosen = modelling.read_enwik8(TASKS["enwik8"].found(asked.source)[0], limit=asked.rules.limit)
    answers, nats = _modelled(asked, "enwik8", chosen)
    protocol = f"{chosen.words}; {asked.rules.windows}{asked.rules.first_only}"
    return answers, [Measured(metric="bits_per_byte", mark=marking.bits(nats), protocol=protocol)]


def _schemas(asked: Question, file: str, name: str) -> Result:
    answers: list[measuring.ChoiceAnswer] = []
    measured: list[Measured] = []
    scorings: tuple[tuple[winograd.Scoring, str, str], ...] = (
        ("partial", "accuracy", "partial scoring: what follows the name"),
        ("full", "accuracy_full", "full scoring: the whole sentence"),
    )
    for scoring, metric, words in scorings:
        chosen = asked.limited(winograd.read_schemas(asked.source / file, scoring))
        with console.progress(f"{name} {scoring}", sum(len(one.candidates) for one in chosen), unit="sentences") as bar:
            found = measuring.choices(asked.model, chosen, advance=bar.advance)
        answers += found
        measured += measuring.mark_choices(found, f"{words}{asked.rules.first_only}", metric)
    return answers, measured


def _winograd(asked: Question) -> Result:
    """GPT-2 paper, section 3.4."""
    return _schemas(asked, winograd.WSC273_FILE, "Winograd")


def _pdp60(asked: Question) -> Result:
    """Pronoun disambiguation, GPT-1 paper, section 5."""
    return _schemas(asked, winograd.PDP60_FILE, "PDP-60")


def _cbt(asked: Question) -> Result:
    """GPT-2 paper, section 3.2."""
    answers: list[measuring.ChoiceAnswer] = []
    measured: list[Measured] = []
    for category, asked_about in cloze.read_cbt(asked.source).items():
        chosen = asked.limited(asked_about)
        with console.progress(f"CBT {category}", sum(len(one.candidates) for one in chosen), unit="candidates") as bar:
            found = measuring.choices(asked.model, chosen, advance=bar.advance)
        answers += found
        protocol = (
            f"candidate and rest of the sentence given all before; {_without_model(chosen)}{asked.rules.first_only}"
        )
        measured += measuring.mark_choices(found, protocol, f"accuracy_{category}")
    return answers, measured


TASKS: dict[str, Task] = {
    "heldout": Task(summary="bits per byte of held-out text", ask=_heldout),
    "train": Task(summary="bits per byte of training text", ask=_train),
    "lastword": Task(summary="last words of held-out passages (LAMBADA's form)", ask=_lastword),
    "cloze": Task(summary="ten-candidate cloze from held-out text (CBT's form)", ask=_cloze),
    "lambada": Task(summary="LAMBADA", ask=_lambada, files=(passages.LAMBADA_FILE,)),
    "wikitext2": Task(summary="WikiText-2", ask=_wikitext2, files=(modelling.WIKITEXT2_FILE,)),
    "winograd": Task(summary="Winograd Schema Challenge, 273 schemas", ask=_winograd, files=(winograd.WSC273_FILE,)),
    "pdp60": Task(summary="Pronoun Disambiguation Problems, 60", ask=_pdp60, files=(winograd.PDP60_FILE,)),
    "cbt": Task(summary="Children's Book Test", ask=_cbt, files=cloze.CBT_FILES),
    **HEURISTICS,
    "coqa": Task(summary="CoQA, all turns", ask=answering.coqa, files=(conversations.COQA_FILE,), long=True),
    "cnndm": Task(
        summary="CNN and Daily Mail summaries", ask=summarizing.cnn_dm, files=summaries.CNN_DM_FILES, long=True
    ),
    "wmt14-en-fr": Task(
        summary="WMT-14, English to French",
        ask=translating.from_english,
        files=(f"{translation.TEST_FILE}.en",),
        long=True,
    ),
    "wmt14-fr-en": Task(
        summary="WMT-14, French to English",
        ask=translating.from_french,
        files=(f"{translation.TEST_FILE}.fr",),
        long=True,
    ),
    "nq": Task(summary="Natural Questions", ask=answering.natural_questions, files=(questions.NQ_FILE,), long=True),
    "wikitext103": Task(summary="WikiText-103", ask=_wikitext103, files=(modelling.WIKITEXT103_FILE,), long=True),
    "1bw": Task(
        summary="One Billion Words",
        ask=_news,
        files=(modelling.NEWS_FILE, modelling.NEWS_PART_FILE),
        long=True,
    ),
    "enwik8": Task(
        summary="enwik8", ask=_enwik8, files=(modelling.ENWIK8_FILE, modelling.ENWIK8_PREFIX_FILE), long=True
    ),
}
