"""Questions put to a model block by block, with a bar, each block's answers kept when they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from selftaught import console
from selftaught.evaluation import measuring
from selftaught.evaluation.answers import ChoiceAnswer, PassageAnswer, StretchAnswer, TextAnswer
from selftaught.evaluation.experiments import Question
from selftaught.tasks.examples import Choice, Passage, Text

PASSAGES_TOGETHER = 256
CHARACTERS_TOGETHER = 1 << 16
"""Of short texts: about as many tokens as an accelerator reads at a time."""
WINDOWS_TOGETHER = 64
STRETCH_TOKENS = 1024
"""A long text is kept, and its standard error estimated, by stretches of at least so many tokens."""


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """Some windows of a long text, by the number of the first token that they score."""

    id: str
    windows: range


def choices(asked: Question, title: str, chosen: Sequence[Choice], *, mean: bool = False) -> list[ChoiceAnswer]:
    """Choices among candidates: see `measuring.choices`."""
    with console.progress(title, len(chosen), unit="questions") as bar:

        def ask(block: Sequence[Choice]) -> list[ChoiceAnswer]:
            sizes = sum(len(one.candidates) for one in block)
            return measuring.choices(
                asked.model, block, advance=lambda pairs: bar.advance(len(block) * pairs / sizes), mean=mean
            )

        return asked.keeping.answers(chosen, ChoiceAnswer, ask, bar.advance)


def last_words(asked: Question, title: str, chosen: Sequence[Passage]) -> list[PassageAnswer]:
    """The last words of passages."""
    with console.progress(title, len(chosen), unit="passages") as bar:
        ask = partial(measuring.last_words, asked.model, advance=bar.advance)
        return asked.keeping.answers(chosen, PassageAnswer, ask, bar.advance, block=PASSAGES_TOGETHER)


def texts(
    asked: Question, title: str, chosen: Sequence[Text], *, stride: int, filled: bool = False, unit: str = "texts"
) -> list[TextAnswer]:
    """The loss on each of many texts."""
    with console.progress(title, len(chosen), unit=unit) as bar:
        ask = partial(measuring.texts, asked.model, stride=stride, filled=filled, advance=bar.advance)
        return asked.keeping.answers(
            chosen, TextAnswer, ask, bar.advance, block=CHARACTERS_TOGETHER, weight=lambda one: len(one.text)
        )


def long_text(asked: Question, title: str, chosen: Text, *, stride: int, filled: bool = False) -> list[StretchAnswer]:
    """The loss on one long text, stretch by stretch."""
    read = asked.model.windows(chosen.text, stride=stride or None, filled=filled)
    wanted = [
        _Stretch(id=f"{chosen.id}@{read.spans[part.start].place - 1}", windows=part)
        for part in read.stretches(STRETCH_TOKENS)
    ]
    with console.progress(title, len(wanted), unit=f"stretches of {STRETCH_TOKENS:,} tokens") as bar:

        def ask(block: Sequence[_Stretch]) -> list[StretchAnswer]:
            found = measuring.stretches(asked.model, read, [(one.id, one.windows) for one in block])
            bar.advance(len(block))
            return found

        return asked.keeping.answers(
            wanted, StretchAnswer, ask, bar.advance, block=WINDOWS_TOGETHER, weight=lambda one: len(one.windows)
        )
