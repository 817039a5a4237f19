"""Summaries of news: what a model writes after an article, with and without the hint (GPT-2 paper, section 3.6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from selftaught import compute, console
from selftaught.evaluation.answers import SummaryAnswer
from selftaught.evaluation.experiments import Question, Result
from selftaught.evaluation.measuring import Baseline, Measured
from selftaught.inference import prompting
from selftaught.inference.prompting import Prompt
from selftaught.inference.rules import SamplingSettings
from selftaught.tasks import marking, summaries
from selftaught.tasks.summaries import Article, RougeScorer

METRICS = ("rouge_1", "rouge_2", "rouge_l", "rouge_average")
ARTICLES_TOGETHER = 16


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """An article, with the hint or without it."""

    id: str
    article: Article
    hint: str


def cnn_dm(asked: Question) -> Result:
    """Summaries with the hint and without; the first three sentences and three random ones beside them."""
    scorer = RougeScorer()
    articles = asked.limited(summaries.read_articles(asked.source))
    wanted = [
        _Asked(id=f"{one.id}/{name}", article=one, hint=hint)
        for name, hint in (("hint", summaries.HINT), ("no hint", ""))
        for one in articles
    ]
    with console.progress("CNN and Daily Mail", len(wanted), unit="summaries") as bar:
        ask = partial(_summarise, asked, scorer, bar.advance)
        found = asked.keeping.answers(wanted, SummaryAnswer, ask, bar.advance, block=ARTICLES_TOGETHER)
    hinted, bare = found[: len(articles)], found[len(articles) :]
    lede = [_scored(scorer, one, summaries.summary_of(one.article), "lede") for one in articles]
    random = [_scored(scorer, one, summaries.random_three(one, asked.rules.seed), "random") for one in articles]
    rules = asked.rules
    drawn = f"top-k {rules.summary_k}, {rules.summary_tokens} tokens, seed {rules.seed}, first three sentences of them"
    without = "sentences of the article, no model"
    return [*found, *lede, *random], [
        *_mark(hinted, "rouge", f"TL;DR:, {drawn}; {_cut(hinted, rules.article_kept)}{rules.first_only}", random),
        *_mark(bare, "rouge_no_hint", f"no hint, {drawn}; {_cut(bare, rules.article_kept)}{rules.first_only}", random),
        *_mark(lede, "rouge_lede3", f"Lede-3: the first three {without}{rules.first_only}", ()),
        *_mark(random, "rouge_random3", f"three random {without}, seed {rules.seed}{rules.first_only}", ()),
    ]


def _summarise(
    asked: Question, scorer: RougeScorer, advance: Callable[[float], None], wanted: Sequence[_Asked]
) -> list[SummaryAnswer]:
    rules, model = asked.rules, asked.model
    room = max(1, model.context + 1 - rules.summary_tokens)
    length = partial(prompting.length, model)
    part = partial(prompting.beginning if rules.article_kept == "beginning" else prompting.ending, model)
    laid = [summaries.prompt(one.article, hint=one.hint, room=room, length=length, part=part) for one in wanted]
    prompts = [
        Prompt(text=text, limit=rules.summary_tokens, seed=compute.seed_of("summaries", rules.seed, one.id))
        for one, (text, _) in zip(wanted, laid, strict=True)
    ]
    sampling = SamplingSettings(top_k=rules.summary_k)
    written = prompting.complete(model, prompts, sampling=sampling, lines=False, advance=advance)
    return [
        _scored(
            scorer, one.article, summaries.summary_of(each.text), one.id.rpartition("/")[2], written=each.text, cut=cut
        )
        for one, (_, cut), each in zip(wanted, laid, written, strict=True)
    ]


def _scored(
    scorer: RougeScorer, article: Article, summary: Sequence[str], name: str, *, written: str = "", cut: bool = False
) -> SummaryAnswer:
    found = scorer.score(summary, article.highlights)
    return SummaryAnswer(
        id=f"{article.id}/{name}",
        written=written,
        summary=tuple(summary),
        rouge_1=found.rouge_1,
        rouge_2=found.rouge_2,
        rouge_l=found.rouge_l,
        rouge_average=found.rouge_average,
        cut=cut,
    )


def _cut(found: Sequence[SummaryAnswer], kept: str) -> str:
    cut, empty = sum(one.cut for one in found), sum(not one.summary for one in found)
    return f"of {cut:,} articles only the {kept}, for want of room; {empty:,} empty summaries"


def _mark(
    found: Sequence[SummaryAnswer], prefix: str, protocol: str, random: Sequence[SummaryAnswer]
) -> list[Measured]:
    """ROUGE of all four kinds."""
    return [
        Measured(
            metric=metric.replace("rouge", prefix, 1),
            mark=marking.mean([getattr(one, metric) for one in found]),
            protocol=f"test, {protocol}; F1 with stemming",
            baseline=Baseline(
                what="three random sentences of the article",
                value=marking.mean([getattr(one, metric) for one in random]).value,
            )
            if random
            else None,
        )
        for metric in METRICS
    ]
