"""LAMBADA: the last word of a passage, read in every way that the paper may have meant (GPT-2 paper, section 3.3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from selftaught import console
from selftaught.evaluation import measuring
from selftaught.evaluation.answers import PassageAnswer
from selftaught.evaluation.experiments import Question, Result
from selftaught.evaluation.measuring import Baseline, Measured
from selftaught.inference import next_words
from selftaught.tasks import marking, passages
from selftaught.tasks.examples import Passage
from selftaught.tasks.words import PREDICTABLE_WORDS

PASSAGES_TOGETHER = 256
_BARRED = [f" {form}" for word in sorted(PREDICTABLE_WORDS) for form in (word, word.capitalize())]


def lambada(asked: Question) -> Result:
    """Accuracy of whole words and last tokens, with stop words barred by beam search and token by token; perplexity."""
    chosen = asked.limited(passages.read_lambada(asked.source, clean=asked.rules.clean_lambada))
    width = asked.rules.word_beams
    share = 0.5 if width else 1.0
    with console.progress("LAMBADA", len(chosen), unit="passages") as bar:

        def advance(count: float) -> None:
            bar.advance(count * share)

        def ask(block: Sequence[Passage]) -> list[PassageAnswer]:
            answers = measuring.last_words(asked.model, block, advance=advance, barred=_BARRED)
            return _searched(asked, block, answers, advance) if width else answers

        answers = asked.keeping.answers(chosen, PassageAnswer, ask, bar.advance, block=PASSAGES_TOGETHER)
    text = "straight quotes, newline before" if asked.rules.clean_lambada else "text as it is"
    protocol = f"test, {text}{asked.rules.first_only}"
    measured = measuring.mark_last_words(answers, protocol)
    protocol += measuring.left_out(answers)
    measured += mark_other_readings(answers, protocol)
    if width:
        filtered = Measured(
            metric="accuracy_filtered",
            mark=marking.accuracy([_bare(one) == answer.said for one, answer in zip(chosen, answers, strict=True)]),
            protocol=f"{protocol}; most probable word that is no stop word, by a search of {width} beams",
        )
        measured.insert(1, filtered)
    simple = marking.accuracy([passages.frequent_word(one.context) == _bare(one) for one in chosen]).value
    frequent = Baseline(what="most frequent word of the passage that is no stop word", value=simple)
    words = Baseline(what="all last words of the set equally probable", value=float(len(set(map(_bare, chosen)))))
    return answers, [
        dataclasses.replace(one, baseline=words if one.metric == "perplexity" else frequent) for one in measured
    ]


def _bare(one: Passage) -> str:
    return next_words.bare(one.word)


def _searched(
    asked: Question, chosen: Sequence[Passage], answers: Sequence[PassageAnswer], advance: measuring.Advance
) -> list[PassageAnswer]:
    """The same answers with the word that beam search finds if stop words are barred."""
    contexts = [one.context for one in chosen]
    width = asked.rules.word_beams
    found = next_words.next_words(asked.model, contexts, width=width, barred=PREDICTABLE_WORDS, advance=advance)
    return [
        dataclasses.replace(one, said="" if word is None else word.text)
        for one, word in zip(answers, found, strict=True)
    ]


def mark_other_readings(answers: Sequence[PassageAnswer], protocol: str) -> list[Measured]:
    """Accuracy as others read the paper: with stop words barred token by token, and by the last token alone."""
    return [
        Measured(
            metric="accuracy_masked",
            mark=marking.accuracy([one.right_filtered for one in answers]),
            protocol=f"{protocol}; every token first choice among what is no stop word (barred where it is one token)",
        ),
        Measured(
            metric="accuracy_last_token",
            mark=marking.accuracy([one.right_last_token for one in answers]),
            protocol=f"{protocol}; last token of the word first choice, given those before; no stop-word filter",
        ),
    ]
