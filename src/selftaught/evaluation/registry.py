"""The tasks by name: where their questions come from, how they are asked and marked."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from selftaught.corpus import documents
from selftaught.errors import InputError
from selftaught.evaluation import answering, asking, lambada, measuring, perplexities, summarizing, translating
from selftaught.evaluation.answers import ChoiceAnswer
from selftaught.evaluation.experiments import Question, Result, Task
from selftaught.evaluation.heuristics import HEURISTICS
from selftaught.evaluation.measuring import Baseline, Measured
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
from selftaught.tasks.examples import Choice, Text

T = TypeVar("T")
CLOZE_STEPS = (cloze.CONTEXT_SENTENCES + 1, 5)
"""Sentences from one cloze question to the next; contexts overlap only where there is too little text for as many as wanted."""


def _texts_of(corpus: Path, split: str) -> Iterable[tuple[str, str]]:
    return ((row.id, row.text) for row in documents.read(corpus, split))


def _drawn(items: Sequence[T], what: str, asked: Question) -> Sequence[T]:
    """As many questions as are wanted, drawn by the seed, in the order in which they were made."""
    if not items:
        raise InputError(
            f"the held-out text of {asked.source} is too short for {what}", hint="Name other tasks, or hold out more."
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
        raise InputError(f"{asked.source} has no {split} text", hint="Name other tasks, or hold out more.")
    answers = asking.texts(asked, f"{split}: bits per byte", chosen, stride=0, unit="documents")
    per_token = marking.ratio([one.nats for one in answers], [one.tokens for one in answers])
    protocol = f"{split} documents up to {asked.rules.most_bytes:,} bytes, seed {asked.rules.seed}; windows that do not overlap"
    return answers, [
        Measured(
            metric="bits_per_byte",
            mark=marking.bits(measuring.mark_texts(answers)),
            protocol=protocol,
            baseline=Baseline(what="each byte by how often these texts have it", value=_byte_entropy(chosen)),
        ),
        Measured(metric="perplexity", mark=marking.perplexity(per_token), protocol=f"per token; {protocol}"),
    ]


def _byte_entropy(chosen: Sequence[Text]) -> float:
    nats = modelling.unigram(byte for one in chosen for byte in one.text.encode("utf-8", "replace"))
    return marking.bits(marking.Mark(value=nats, error=0, n=0)).value


def _heldout(asked: Question) -> Result:
    return _bits_per_byte(asked, "heldout")


def _train(asked: Question) -> Result:
    return _bits_per_byte(asked, "train")


def _lastword(asked: Question) -> Result:
    """LAMBADA's form on held-out text."""
    made = passages.make_passages(_texts_of(asked.source, "heldout"))
    chosen = _drawn(list(made), "passages", asked)
    answers = asking.last_words(asked, "last words", chosen)
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
    answers = asking.choices(asked, "cloze", chosen)
    form = f"{cloze.CONTEXT_SENTENCES} sentences and one with a gap, {cloze.CANDIDATES} candidates"
    protocol = f"{form}, a question every {step} sentences; {_without_model(chosen)}"
    return answers, _beside(measuring.mark_choices(answers, protocol), _frequent(chosen))


def _without_model(chosen: Sequence[Choice]) -> str:
    """What is reached without a model, in words."""
    chance, frequent = (100 * one(chosen).value for one in (_chance, _frequent))
    return f"chance {chance:.3g} %, most frequent candidate of the context {frequent:.0f} %"


def _repeated(chosen: Sequence[Choice]) -> str:
    count = sum(bool(one.repeated) for one in chosen)
    return (
        f"; in {count:,} question{'s' * (count > 1)} a candidate that is given twice, or empty, left out"
        if count
        else ""
    )


def _frequent(chosen: Sequence[Choice]) -> Baseline:
    right = marking.accuracy([cloze.most_frequent(one) == one.answer for one in chosen])
    return Baseline(what="most frequent candidate of the context", value=right.value)


def _chance(chosen: Sequence[Choice]) -> Baseline:
    return Baseline(what="chance", value=marking.mean([1 / len(one.candidates) for one in chosen]).value)


def _beside(measured: Sequence[Measured], baseline: Baseline) -> list[Measured]:
    return [replace(one, baseline=baseline) for one in measured]


def _schemas(asked: Question, path: Path, name: str) -> Result:
    answers: list[ChoiceAnswer] = []
    measured: list[Measured] = []
    scorings: tuple[tuple[winograd.Scoring, str, str], ...] = (
        ("partial", "accuracy", "partial scoring: what follows the name"),
        ("full", "accuracy_full", "full scoring: the whole sentence"),
    )
    for scoring, metric, words in scorings:
        chosen = asked.limited(winograd.read_schemas(path, scoring, asked.rules.schemas))
        found = asking.choices(asked, f"{name} {scoring}", chosen)
        answers += found
        protocol = f"{words}{', as lm-evaluation-harness' * (asked.rules.schemas == 'harness')}{asked.rules.first_only}"
        measured += _beside(measuring.mark_choices(found, protocol, metric), _chance(chosen))
    return answers, measured


def _winograd(asked: Question) -> Result:
    """GPT-2 paper, section 3.4."""
    return _schemas(asked, TASKS["winograd"].found(asked.source)[0], "Winograd")


def _pdp60(asked: Question) -> Result:
    """Pronoun disambiguation, GPT-1 paper, section 5."""
    return _schemas(asked, TASKS["pdp60"].found(asked.source)[0], "PDP-60")


def _cbt(asked: Question) -> Result:
    """GPT-2 paper, section 3.2."""
    answers: list[ChoiceAnswer] = []
    measured: list[Measured] = []
    for category, asked_about in cloze.read_cbt(asked.source, asked.rules.cbt_join).items():
        chosen = asked.limited(asked_about)
        found = asking.choices(asked, f"CBT {category}", chosen)
        answers += found
        protocol = (
            f"candidate and rest of the sentence given all before, a {asked.rules.cbt_join} between sentences; "
            f"{_without_model(chosen)}{_repeated(chosen)}{asked.rules.first_only}"
        )
        measured += _beside(measuring.mark_choices(found, protocol, f"accuracy_{category}"), _frequent(chosen))
    return answers, measured


TASKS: dict[str, Task] = {
    "heldout": Task(summary="bits per byte of held-out text", ask=_heldout),
    "train": Task(summary="bits per byte of training text", ask=_train),
    "lastword": Task(summary="last words of held-out passages (LAMBADA's form)", ask=_lastword),
    "cloze": Task(summary="ten-candidate cloze from held-out text (CBT's form)", ask=_cloze),
    "lambada": Task(summary="LAMBADA", ask=lambada.lambada, files=(passages.LAMBADA_FILE,)),
    "wikitext2": Task(
        summary="WikiText-2",
        ask=partial(perplexities.wikitext, file=modelling.WIKITEXT2_FILE, title="WikiText-2"),
        files=(modelling.WIKITEXT2_FILE,),
    ),
    "winograd": Task(summary="Winograd Schema Challenge, 273 schemas", ask=_winograd, files=winograd.WSC273_FILES),
    "pdp60": Task(summary="Pronoun Disambiguation Problems, 60", ask=_pdp60, files=winograd.PDP60_FILES),
    "cbt": Task(summary="Children's Book Test", ask=_cbt, files=cloze.CBT_FILES),
    **HEURISTICS,
    "coqa": Task(summary="CoQA, all turns", ask=answering.coqa, files=conversations.COQA_FILES, long=True),
    "cnndm": Task(
        summary="CNN and Daily Mail summaries", ask=summarizing.cnn_dm, files=summaries.CNN_DM_FILES, long=True
    ),
    "wmt14-en-fr": Task(
        summary="WMT-14, English to French",
        ask=translating.from_english,
        files=translation.TEST_FILES["en"],
        long=True,
    ),
    "wmt14-fr-en": Task(
        summary="WMT-14, French to English",
        ask=translating.from_french,
        files=translation.TEST_FILES["fr"],
        long=True,
    ),
    "nq": Task(summary="Natural Questions", ask=answering.natural_questions, files=(questions.NQ_FILE,), long=True),
    "wikitext103": Task(
        summary="WikiText-103",
        ask=partial(perplexities.wikitext, file=modelling.WIKITEXT103_FILE, title="WikiText-103"),
        files=(modelling.WIKITEXT103_FILE,),
        long=True,
    ),
    "ptb": Task(summary="Penn Treebank", ask=perplexities.penn, files=(modelling.PENN_FILE,), long=True),
    "1bw": Task(
        summary="One Billion Words",
        ask=lambda asked: perplexities.news(asked, TASKS["1bw"].found(asked.source)[0]),
        files=(modelling.NEWS_FILE, modelling.NEWS_PART_FILE),
        long=True,
    ),
    "enwik8": Task(
        summary="enwik8",
        ask=lambda asked: perplexities.enwik8(asked, TASKS["enwik8"].found(asked.source)[0]),
        files=(modelling.ENWIK8_FILE, modelling.ENWIK8_PREFIX_FILE),
        long=True,
    ),
    "text8": Task(summary="text8", ask=perplexities.text8, files=(modelling.TEXT8_FILE,), long=True),
}
