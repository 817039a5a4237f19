"""`measure_memorization`: whether a model copies its training text (GPT-2 paper, section 4, figures 4 and 5, section 8.2)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from selftaught import console, storage
from selftaught.corpus import documents
from selftaught.corpus.ngrams import words
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.rules import SamplingSettings
from selftaught.overlap import bootstrap, contexts, diversity, gap, occurrences
from selftaught.overlap.bloom import Bloom
from selftaught.overlap.chunks import workers
from selftaught.overlap.contexts import Context
from selftaught.overlap.drawing import Answers
from selftaught.overlap.indexing import filter_from, filter_of
from selftaught.overlap.lookup import look_up
from selftaught.overlap.plan import MemorizeSettings, OverlapSettings
from selftaught.overlap.spans import longest_copies
from selftaught.report.overlap_records import (
    COPIED_FILE,
    MEMORIZATION_FILE,
    OVERLAP_FILE,
    Continued,
    CopiedSpan,
    Difference,
    Diversity,
    Memorization,
    Overlap,
)

REAL = "real continuations"
_GIVEN = 0.75
"""Share of the model's context that is given (tables 7 to 11: 768 of 1,024 tokens)."""


def measure_memorization(
    model: LanguageModel | str | Path,
    corpus: str | Path,
    *,
    out: str | Path,
    index: str | Path | None = None,
    settings: MemorizeSettings | None = None,
) -> Memorization:
    """What a model remembers of the training side of a corpus; memorization.json, overlap.json and copied.jsonl go to `out`.

    `index`: a folder with the filter of that text, which is else made in `out`. Every answer of the model is kept in `out` when
    it is given, so that a run that was killed goes on where it was. Raises InputError where the corpus has no training or no
    held-out text that is long enough, MismatchError where the index is of another text.
    """
    rules, corpus, out = settings or MemorizeSettings(), Path(corpus), Path(out)
    documents.require_corpus(corpus)
    if not isinstance(model, LanguageModel):
        model = LanguageModel.load(model, device=rules.device, precision=rules.precision)
    started = time.monotonic()
    rules = replace(rules, context_tokens=rules.context_tokens or max(1, int(_GIVEN * model.context)))
    answers = Answers(model, out, seed=rules.seed)
    chosen = contexts.choose(
        documents.read(corpus, "heldout"),
        model.tokenizer,
        tokens=rules.context_tokens,
        following=rules.tokens,
        most=rules.contexts,
        seed=rules.seed,
    )
    asked = OverlapSettings(words=rules.words)
    known = filter_from(Path(index), corpus, asked) if index else filter_of(corpus, out, asked)
    drawn = _draw(answers, chosen, rules)
    first = [texts[0] for texts in drawn]
    named = [(REAL, [one.following for one in chosen]), (f"samples {model.name}", first)]
    shares = _shares(named, known, asked)
    found = Memorization(
        model=model.name,
        parameters=model.parameters,
        protocol=_protocol(rules, len(chosen)),
        shares=tuple(shares),
        more_copied=_difference(shares, rules.seed),
        continued=_continued(chosen, first, shares),
        copies=_copies(named, corpus, rules.words),
        diversity=_diversity(chosen, drawn, rules.diverse),
        passages=occurrences.passages(answers, corpus, rules),
        gap=gap.measure(answers, corpus, most_bytes=rules.text_bytes, seed=rules.seed),
        seconds=time.monotonic() - started,
    )
    storage.write_jsonl(out / COPIED_FILE, found.copies)
    storage.write_json(out / OVERLAP_FILE, found.shares)
    storage.write_json(out / MEMORIZATION_FILE, found)
    return found


def _protocol(rules: MemorizeSettings, count: int) -> str:
    return (
        f"{count} held-out documents, {rules.context_tokens} tokens given, {rules.tokens} drawn, "
        f"{SamplingSettings(top_k=rules.top_k).words()}; prompts of {rules.prompt_words} words, "
        f"{rules.recall_tokens} tokens drawn; seed {rules.seed}"
    )


def _draw(answers: Answers, chosen: Sequence[Context], rules: MemorizeSettings) -> list[list[str]]:
    """For each context its continuations: one, or several of the first contexts."""
    sampling = SamplingSettings(top_k=rules.top_k)
    counts = [rules.completions if number < rules.diverse else 1 for number in range(len(chosen))]
    drawn: list[list[str]] = []
    with console.progress("continuing held-out text", sum(counts), unit="samples") as bar:
        for context, count in zip(chosen, counts, strict=True):
            drawn.append([])
            for number in range(count):
                sample = answers.continuation(f"draw {number}", context.text, rules.tokens, sampling)
                drawn[-1].append(sample.text)
                bar.advance()
    return drawn


def _shares(named: Sequence[tuple[str, list[str]]], known: Bloom, rules: OverlapSettings) -> list[Overlap]:
    """Figure 5. A text of fewer words than an n-gram counts as one without overlap, so that pairs stay pairs."""
    rows = []
    with workers(rules.jobs) as threads:
        for name, texts in named:
            (found,), _ = look_up(texts, [known.contains], rules, threads)
            shares = [hits / max(1, total) for hits, total in zip(found.hits, found.totals, strict=True)]
            rows.append(replace(found.row(name, "train", known.measured_rate()), by_document=shares))
    return rows


def _difference(shares: Sequence[Overlap], seed: int) -> Difference:
    real, drawn = (share.by_document for share in shares)
    more = [after - before for before, after in zip(real, drawn, strict=True)]
    low, high = bootstrap.mean(more, seed=seed)
    return Difference(value=sum(more) / len(more), low=low, high=high)


def _continued(chosen: Sequence[Context], drawn: Sequence[str], shares: Sequence[Overlap]) -> tuple[Continued, ...]:
    pairs = zip(chosen, drawn, *(share.by_document for share in shares), strict=True)
    return tuple(
        Continued(
            document=context.document.id,
            url=context.document.url,
            context=context.text,
            real=context.following,
            drawn=text,
            real_share=real,
            drawn_share=share,
        )
        for context, text, real, share in pairs
    )


def _copies(named: Sequence[tuple[str, list[str]]], corpus: Path, n: int) -> tuple[CopiedSpan, ...]:
    """`sample` counts the contexts, from 0, of real and of drawn texts alike."""
    texts = [(name, text) for name, own in named for text in own]
    found = longest_copies(texts, documents.read(corpus, "train"), n)
    return tuple(replace(span, sample=span.sample % len(named[0][1])) for span in found)


def _diversity(chosen: Sequence[Context], drawn: Sequence[Sequence[str]], most: int) -> tuple[Diversity, ...]:
    rows = []
    for context, texts in list(zip(chosen, drawn, strict=True))[:most]:
        normal = [words(text) for text in texts]
        rows.append(
            Diversity(
                document=context.document.id,
                context=context.text,
                completions=tuple(texts),
                distinct=diversity.distinct(normal),
                self_bleu=diversity.self_bleu(normal),
            )
        )
    return tuple(rows)
