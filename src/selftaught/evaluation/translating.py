"""Translation after example pairs (GPT-2 paper, section 3.7)."""

from __future__ import annotations

from collections.abc import Sequence

from selftaught import console
from selftaught.evaluation import measuring
from selftaught.evaluation.answers import TranslationAnswer
from selftaught.evaluation.experiments import Question, Result
from selftaught.evaluation.measuring import Baseline, Measured
from selftaught.inference import prompting
from selftaught.inference.prompting import Prompt
from selftaught.tasks import marking, translation
from selftaught.tasks.translation import NAMES, Bilingual, BleuScorer, Language, Sentence

SENTENCES_TOGETHER = 64
TIMES_AS_LONG = 2
"""A translation has at most so many times the tokens of its source, and as many as there is room for."""


def from_english(asked: Question) -> Result:
    """English to French."""
    return _wmt14(asked, "en", "fr")


def from_french(asked: Question) -> Result:
    """French to English."""
    return _wmt14(asked, "fr", "en")


def _wmt14(asked: Question, source: Language, target: Language) -> Result:
    scorers, rules = {"bleu": BleuScorer(), "bleu_tokenised": BleuScorer(target)}, asked.rules
    read = translation.read_sentences(asked.source, source, examples=rules.example_pairs, seed=rules.seed)
    chosen = asked.limited(read.asked)

    def ask(block: Sequence[Sentence]) -> list[TranslationAnswer]:
        laid = [_laid(asked, read, one) for one in block]
        written = prompting.complete(asked.model, [prompt for prompt, _ in laid], advance=bar.advance)
        return [
            TranslationAnswer(
                id=one.id,
                source=one.source,
                said=translation.translation_of(each.text),
                reference=one.target,
                examples=shown,
                cut=each.cut,
            )
            for one, (_, shown), each in zip(block, laid, written, strict=True)
        ]

    title = f"{NAMES[source]} to {NAMES[target]}"
    with console.progress(title, len(chosen), unit="sentences") as bar:
        found = asked.keeping.answers(chosen, TranslationAnswer, ask, bar.advance, block=SENTENCES_TOGETHER)
    fewer = sum(one.examples < rules.example_pairs for one in found)
    protocol = (
        f"newstest2014, {read.words}, {fewer:,} sentences with fewer of them for want of room; greedy, first sentence; "
        f"{sum(not one.said for one in found):,} empty translations"
        f"{measuring.left_out(found)}{rules.first_only}"
    )
    return found, [_marked(metric, scorer, found, protocol) for metric, scorer in scorers.items()]


def _marked(metric: str, scorer: BleuScorer, found: Sequence[TranslationAnswer], protocol: str) -> Measured:
    references = [one.reference for one in found]
    bleu = scorer.score([one.said for one in found], references)
    copied = scorer.score([one.source for one in found], references)
    return Measured(
        metric=metric,
        mark=marking.Mark(value=bleu.value, error=bleu.error, n=len(found)),
        protocol=f"{protocol}; {bleu.signature}",
        baseline=Baseline(what="the source copied", value=copied.value),
    )


def _laid(asked: Question, read: Bilingual, one: Sentence) -> tuple[Prompt, int]:
    """The prompt with as many examples as leave room for a translation, and how many those are."""
    room = asked.model.context + 1
    limit = min(TIMES_AS_LONG * prompting.length(asked.model, one.source), room - _length(asked, (), one))
    limit = max(1, limit)
    shown = len(read.examples)
    # The first ones stay, so that the beginning is the same for many sentences and is read once.
    while shown and _length(asked, read.examples[:shown], one) > room - limit:
        shown -= 1
    return Prompt(text=translation.prompt(read.examples[:shown], one.source), limit=limit), shown


def _length(asked: Question, examples: Sequence[Sentence], one: Sentence) -> int:
    return prompting.length(asked.model, translation.prompt(examples, one.source))
