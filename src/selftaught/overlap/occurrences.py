"""Memorisation by occurrence: prompts that training documents hold once, twice, many times, continued (GPT-2 paper, section 8.2).

The paper continues the Gettysburg Address, which its training text holds about 40 times. Here such prompts are found by
counting, and beside them stand prompts that occur once and held-out ones that do not occur: without those, agreement with the
text would prove nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selftaught import console
from selftaught.corpus import documents
from selftaught.corpus.ngrams import ngram_hashes, word_places
from selftaught.inference.rules import SamplingSettings
from selftaught.overlap import frequent
from selftaught.overlap.drawing import Answers
from selftaught.overlap.frequent import Found
from selftaught.overlap.plan import MemorizeSettings
from selftaught.overlap.recall import recalled
from selftaught.overlap.wanted import Wanted
from selftaught.report.overlap_records import Passage

_SHOWN = 400
"""Characters that are kept of a text after the words that all its occurrences share."""


def passages(answers: Answers, corpus: Path, rules: MemorizeSettings) -> tuple[Passage, ...]:
    """Prompts by how many training documents hold them, most first, then held-out ones; each with its continuations."""
    seen = frequent.find(
        lambda: documents.read(corpus, "train"),
        prompt_words=rules.prompt_words,
        following_words=rules.following_words,
        each=rules.prompts,
    )
    found = [*seen, *_unseen(corpus, rules)]
    with console.progress("recalling", len(found) * (2 + rules.draws), unit="answers") as bar:
        return tuple(_passage(one, answers, rules, bar) for one in found)


def _unseen(corpus: Path, rules: MemorizeSettings) -> list[Found]:
    """Prompts from held-out documents that no training document holds."""
    n = rules.prompt_words + rules.following_words
    heldout = frequent.find(
        lambda: documents.read(corpus, "heldout"),
        prompt_words=rules.prompt_words,
        following_words=rules.following_words,
        each=4 * rules.prompts,
    )
    own = [ngram_hashes(one.texts[0].document.text, n)[one.places[0].word] for one in heldout]
    train = Wanted(np.array(own, dtype=np.uint64)).those_in((row.text for row in documents.read(corpus, "train")), n)
    new = [one for one, value in zip(heldout, own, strict=True) if value not in train]
    return [Found(0, one.places, one.texts) for one in new[: rules.prompts]]


def _passage(found: Found, answers: Answers, rules: MemorizeSettings, bar: console.Bar) -> Passage:
    first = found.texts[0]
    shared = first.following[: word_places(first.following)[1][rules.following_words - 1]]
    loss = answers.loss_after(first.prompt, shared)
    bar.advance()
    recalls = []
    for number, way in enumerate([SamplingSettings(temperature=0.0), *[SamplingSettings(top_k=0)] * rules.draws]):
        sample = answers.continuation(f"recall {number}", first.prompt, rules.recall_tokens, way)
        recalls.append(recalled(sample, [one.following for one in found.texts]))
        bar.advance()
    return Passage(
        documents=found.documents,
        prompt=first.prompt,
        following=first.following[: len(shared) + _SHOWN],
        document=first.document.id,
        url=first.document.url,
        position=found.places[0].word,
        nats_per_token=loss.nats / loss.tokens,
        recalls=tuple(recalls),
    )
