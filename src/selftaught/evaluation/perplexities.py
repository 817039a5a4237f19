"""Language modelling: the loss on whole data sets, by their own units (GPT-2 paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeAlias

from selftaught.evaluation import asking, measuring
from selftaught.evaluation.answers import Answer
from selftaught.evaluation.experiments import Question, Result
from selftaught.evaluation.measuring import Baseline, Measured
from selftaught.report import published
from selftaught.tasks import marking, modelling
from selftaught.tasks.modelling import DataSet, Form, Reading

Read: TypeAlias = Callable[[Reading], DataSet]
GRID_STRIDES = (32, 512, 0)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way to read and score a data set."""

    id: str
    detokeniser: Form
    unknown: str
    stride: int
    """0: windows do not overlap."""
    nats: float
    error: float
    """Of `nats`."""
    units: dict[str, int]


def wikitext(asked: Question, file: str, title: str) -> Result:
    """WikiText-2 or WikiText-103."""
    path = asked.source / file
    return _perplexity(asked, title, partial(modelling.read_wikitext, path), ("invertible", "megatron", "none"))


def penn(asked: Question) -> Result:
    """The Penn Treebank."""
    path = asked.source / modelling.PENN_FILE
    return _perplexity(asked, "Penn Treebank", partial(modelling.read_penn, path), ("invertible", "megatron", "none"))


def news(asked: Question, path: Path) -> Result:
    """One Billion Words."""
    read = partial(modelling.read_news, path, alone=asked.rules.sentences_alone)
    return _perplexity(asked, f"One Billion Words ({path.name})", read, ("invertible", "none"))


def enwik8(asked: Question, path: Path) -> Result:
    """The end of enwik8."""
    chosen = modelling.read_enwik8(path, limit=asked.rules.limit)
    return _bits(asked, "enwik8", chosen, "bits_per_byte")


def text8(asked: Question) -> Result:
    """The end of text8."""
    chosen = modelling.read_text8(asked.source / modelling.TEXT8_FILE, limit=asked.rules.limit)
    return _bits(asked, "text8", chosen, "bits_per_character")


def _bits(asked: Question, title: str, chosen: DataSet, metric: str) -> Result:
    answers, nats, _ = _scored(asked, title, chosen, asked.rules.stride)
    protocol = f"{chosen.words}; {asked.rules.windows}{asked.rules.first_only}"
    return answers, [
        Measured(
            metric=metric,
            mark=marking.bits(nats),
            protocol=protocol,
            baseline=_by_frequency(marking.bits(marking.Mark(value=chosen.unigram, error=0, n=0)).value),
        )
    ]


def _perplexity(asked: Question, title: str, read: Read, forms: Sequence[Form]) -> Result:
    """Of the data set as the settings say, and of the whole grid of settings if it is wanted."""
    rules = asked.rules
    chosen = read(rules.reading)
    answers, nats, units = _scored(asked, title, chosen, rules.stride)
    protocol = f"test, {chosen.words}; {rules.windows}{rules.first_only}"
    simple = marking.perplexity(marking.Mark(value=chosen.unigram, error=0, n=0)).value
    per_byte = units / chosen.size
    measured = [
        Measured(
            metric="perplexity",
            mark=marking.perplexity(nats),
            protocol=protocol,
            baseline=_by_frequency(simple) if chosen.unigram else None,
        ),
        Measured(
            metric="bits_per_byte",
            mark=marking.bits(replace(nats, value=nats.value * per_byte, error=nats.error * per_byte)),
            protocol=f"{protocol}; by the bytes of the file",
        ),
    ]
    return answers, [*measured, *(_grid(asked, title, read, forms) if rules.grid else ())]


def _by_frequency(value: float) -> Baseline:
    return Baseline(what="each unit by how often this very text has it", value=value)


def _scored(asked: Question, title: str, chosen: DataSet, stride: int) -> tuple[Sequence[Answer], marking.Mark, int]:
    """Nats per unit, and the number of units; where units are tokens, those of the model."""
    filled = asked.rules.full_windows
    if len(chosen.texts) == 1:
        text = chosen.texts[0]
        stretches = asking.long_text(asked, title, text, stride=stride, filled=filled)
        count = text.units or sum(one.tokens for one in stretches)
        return stretches, measuring.mark_long_text(stretches, count), count
    answers = asking.texts(asked, title, chosen.texts, stride=stride, filled=filled)
    units = [one.units or one.tokens for one in answers]
    return answers, marking.ratio([one.nats for one in answers], units), sum(units)


def _grid(asked: Question, title: str, read: Read, forms: Sequence[Form]) -> list[Measured]:
    """Every combination of de-tokeniser, <unk>, stride and units; the one nearest to the printed number is told."""
    strides = sorted({stride if stride < asked.model.context else 0 for stride in GRID_STRIDES}, key=lambda one: -one)
    wanted = [
        _Wanted(id=f"{form}, <unk> {unknown}, stride {stride or 'none'}", form=form, unknown=unknown, stride=stride)
        for form, unknown, stride in product(forms, ("keep", "replace"), strides)
    ]
    cells = [_cell(asked, title, read, one) for one in wanted]
    asked.keeping.table("grid", cells)
    found = [
        Measured(
            metric=f"perplexity ({cell.id}, {units})",
            mark=marking.perplexity(marking.Mark(value=cell.nats / count, error=cell.error / count, n=count)),
            protocol=f"test, de-tokenised: {cell.id}, per original {units}{asked.rules.first_only}",
        )
        for cell in cells
        for units, count in cell.units.items()
    ]
    printed = published.of_nearest_size(asked.keeping.task, "perplexity", asked.model.parameters)
    if printed is None:
        return found
    theirs = printed.value
    nearest = min(found, key=lambda one: abs(one.mark.value - theirs))
    return [
        replace(one, protocol=f"{one.protocol}; of all {len(found)} the nearest to the paper")
        if one is nearest
        else one
        for one in found
    ]


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    id: str
    form: Form
    unknown: str
    stride: int


def _cell(asked: Question, title: str, read: Read, wanted: _Wanted) -> Cell:
    reading = replace(
        asked.rules.reading,
        detokeniser=wanted.form,
        unknown="keep" if wanted.unknown == "keep" else "replace",
        units="words-and-ends",
    )
    chosen = read(reading)
    named = replace(chosen, texts=tuple(replace(one, id=f"{wanted.id}: {one.id}") for one in chosen.texts))
    _, nats, units = _scored(asked, f"{title}, {wanted.id}", named, wanted.stride)
    words = sum(one.units for one in read(replace(reading, units="words")).texts)
    return Cell(
        id=wanted.id,
        detokeniser=wanted.form,
        unknown=wanted.unknown,
        stride=wanted.stride,
        nats=nats.value * units,
        error=nats.error * units,
        units={"words-and-ends": units, "words": words},
    )
