"""The tasks by name: where their questions come from, how they are asked and marked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from selftaught import console
from selftaught.corpus import documents
from selftaught.errors import InputError
from selftaught.evaluation import measuring
from selftaught.evaluation.measuring import Answer, Measured
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.inference.language_model import LanguageModel
from selftaught.tasks import cloze, marking, modelling, passages, winograd

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a task is given."""

    model: LanguageModel
    source: Path
    """The corpus, or the folder of data sets."""
    rules: EvaluateSettings


Result = tuple[Sequence[Answer], list[Measured]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One experiment."""

    summary: str
    ask: Callable[[Question], Result]
    file: str = ""
    """Pattern of its file in the folder of data sets; "" for a task made from the corpus."""


def _texts_of(corpus: Path, split: str) -> Iterable[tuple[str, str]]:
    return ((row.id, row.text) for row in documents.read(corpus, split))


def _limited(items: Sequence[T], limit: int) -> Sequence[T]:
    return items[:limit] if limit else items


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
    with console.progress(f"{split}: bits per byte", unit="windows") as bar:
        answers = measuring.texts(asked.model, chosen, stride=0, advance=bar.advance)
    nats = marking.ratio([one.nats for one in answers], [one.units for one in answers])
    per_token = marking.ratio([one.nats for one in answers], [one.tokens for one in answers])
    protocol = f"{split} documents up to {asked.rules.most_bytes:,} bytes, seed {asked.rules.seed}; windows that do not overlap"
    return answers, [
        Measured(metric="bits_per_byte", mark=marking.bits(nats), protocol=protocol),
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
    return answers, measuring.mark_last_words(
        answers,
        f"passages of {passages.CONTEXT_WORDS + 1} words from held-out documents; every token of the word first choice",
    )


def _cloze(asked: Question) -> Result:
    """CBT's form on held-out text."""
    made = cloze.make_questions(_texts_of(asked.source, "heldout"), seed=asked.rules.seed)
    chosen = _drawn(list(made), "cloze questions", asked)
    with console.progress("cloze", sum(len(one.candidates) for one in chosen), unit="candidates") as bar:
        answers = measuring.choices(asked.model, chosen, advance=bar.advance)
    protocol = f"{cloze.CONTEXT_SENTENCES} sentences and one with a gap, {cloze.CANDIDATES} candidates; chance 10 %"
    return answers, measuring.mark_choices(answers, protocol)


def _lambada(asked: Question) -> Result:
    """GPT-2 paper, section 3.3."""
    chosen = _limited(passages.read_lambada(asked.source, clean=asked.rules.clean_lambada), asked.rules.limit)
    with console.progress("LAMBADA", len(chosen), unit="passages") as bar:
        answers = measuring.last_words(asked.model, chosen, advance=bar.advance)
    text = "straight quotes, newline before" if asked.rules.clean_lambada else "text as it is"
    return answers, measuring.mark_last_words(
        answers, f"test, {text}; every token of the word first choice, no stop-word filter"
    )


def _wikitext2(asked: Question) -> Result:
    """GPT-2 paper, section 3.1."""
    text = modelling.read_wikitext2(asked.source, detokenise=asked.rules.detokenise)
    stride = asked.rules.stride
    with console.progress("WikiText-2", unit="windows") as bar:
        answers = measuring.texts(asked.model, [text], stride=stride, advance=bar.advance)
    nats = marking.ratio([one.nats for one in answers], [one.units for one in answers])
    form = "de-tokenised" if asked.rules.detokenise else "not de-tokenised"
    protocol = f"test, {form}, <unk> kept, per original word and line end ({text.units:,}); {asked.rules.windows}"
    return answers, [Measured(metric="perplexity", mark=marking.perplexity(nats), protocol=protocol)]


def _schemas(asked: Question, file: str, name: str) -> Result:
    path = asked.source / file
    answers: list[measuring.ChoiceAnswer] = []
    measured: list[Measured] = []
    for scoring, metric, words in (
        ("partial", "accuracy", "partial scoring: what follows the name"),
        ("full", "accuracy_full", "full scoring: the whole sentence"),
    ):
        chosen = _limited(winograd.read_schemas(path, "partial" if scoring == "partial" else "full"), asked.rules.limit)
        with console.progress(f"{name} {scoring}", sum(len(one.candidates) for one in chosen), unit="sentences") as bar:
            found = measuring.choices(asked.model, chosen, advance=bar.advance)
        answers += found
        measured += measuring.mark_choices(found, words, metric)
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
    for category, questions in cloze.read_cbt(asked.source).items():
        chosen = _limited(questions, asked.rules.limit)
        with console.progress(f"CBT {category}", sum(len(one.candidates) for one in chosen), unit="candidates") as bar:
            found = measuring.choices(asked.model, chosen, advance=bar.advance)
        answers += found
        measured += measuring.mark_choices(
            found, "candidate and rest of the sentence given all before; chance 10 %", f"accuracy_{category}"
        )
    return answers, measured


TASKS: dict[str, Task] = {
    "heldout": Task(summary="bits per byte of held-out text", ask=_heldout),
    "train": Task(summary="bits per byte of training text", ask=_train),
    "lastword": Task(summary="last words of held-out passages (LAMBADA's form)", ask=_lastword),
    "cloze": Task(summary="ten-candidate cloze from held-out text (CBT's form)", ask=_cloze),
    "lambada": Task(summary="LAMBADA", ask=_lambada, file=passages.LAMBADA_FILE),
    "wikitext2": Task(summary="WikiText-2", ask=_wikitext2, file=modelling.WIKITEXT2_FILE),
    "winograd": Task(summary="Winograd Schema Challenge, 273 schemas", ask=_winograd, file=winograd.WSC273_FILE),
    "pdp60": Task(summary="Pronoun Disambiguation Problems, 60", ask=_pdp60, file=winograd.PDP60_FILE),
    "cbt": Task(summary="Children's Book Test", ask=_cbt, file=cloze.CBT_FILES),
}
