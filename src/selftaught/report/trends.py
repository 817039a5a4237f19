"""How each number changes from the smallest model to the largest, and what that says in one glance."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from selftaught.report.records import Score

TITLES = {
    "heldout": "Held-out text",
    "train": "Training text",
    "lastword": "Last words of held-out passages",
    "cloze": "Cloze from held-out text",
    "lambada": "LAMBADA",
    "cbt": "Children's Book Test",
    "wikitext2": "WikiText-2",
    "wikitext103": "WikiText-103",
    "ptb": "Penn Treebank",
    "enwik8": "enwik8",
    "text8": "text8",
    "1bw": "One Billion Words",
    "winograd": "Winograd schemas",
    "pdp60": "Pronoun disambiguation",
    "sst2": "SST-2, zero-shot",
    "cola": "CoLA, zero-shot",
    "dprd": "Definite pronouns",
    "winograd-mean": "Winograd, token means",
    "race": "RACE, zero-shot",
    "coqa": "CoQA",
    "cnndm": "CNN and Daily Mail summaries",
    "wmt14-en-fr": "WMT-14 English to French",
    "wmt14-fr-en": "WMT-14 French to English",
    "nq": "Natural Questions",
}
"""Tasks in the order in which the page shows them."""
METRICS = {
    "bits_per_byte": "bits per byte",
    "bits_per_character": "bits per character",
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "accuracy_full": "accuracy, whole sentence",
    "accuracy_filtered": "accuracy, no stop words",
    "accuracy_masked": "accuracy, stop words barred token by token",
    "accuracy_last_token": "accuracy, last token",
    "accuracy_CN": "accuracy, common nouns",
    "accuracy_NE": "accuracy, named entities",
    "accuracy_V": "accuracy, verbs",
    "accuracy_P": "accuracy, prepositions",
    "accuracy_middle": "accuracy, middle school",
    "accuracy_high": "accuracy, high school",
    "matthews": "Matthews correlation",
    "f1": "F1",
    "f1_macro": "macro-F1",
    "exact_match": "exact match",
    "accuracy_most_confident": "accuracy, most confident 1 %",
    "calibration_error": "calibration error",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "rouge_average": "ROUGE, mean of three",
    "bleu": "BLEU",
    "bleu_tokenised": "BLEU of tokenised text",
}
CHANCE = {"cloze": 0.1, "winograd": 0.5, "pdp60": 0.5, "cbt": 0.1, "dprd": 0.5, "winograd-mean": 0.5, "race": 0.25}
"""Accuracy of guessing."""
_LOWER_IS_BETTER = ("bits_per_", "perplexity", "calibration")

Direction = Literal["better", "unclear", "worse", ""]


def metric_name(metric: str) -> str:
    """A metric in words."""
    return METRICS.get(metric, metric.replace("_", " "))


def is_share(metric: str) -> bool:
    """Whether a metric is shown in per cent."""
    return metric.startswith(("accuracy", "exact_match", "f1", "rouge", "calibration"))


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value is the better one."""
    return metric.startswith(_LOWER_IS_BETTER)


def formatted(value: float, metric: str) -> str:
    """A value as tables show it."""
    if is_share(metric):
        return f"{100 * value:.1f} %"
    if metric.startswith("bits_per_"):
        return f"{value:.3f}"
    return f"{value:,.2f}" if value < 100 else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One metric of one task over the sizes."""

    task: str
    metric: str
    scores: Sequence[Score]
    """Smallest model first."""

    @property
    def title(self) -> str:
        """The task in words."""
        return TITLES.get(self.task, self.task)

    @property
    def gains(self) -> list[float]:
        """Improvement from each size to the next; negative where it got worse."""
        sign = -1 if lower_is_better(self.metric) else 1
        return [sign * (after.value - before.value) for before, after in pairwise(self.scores)]

    @property
    def certain(self) -> bool:
        """Whether first and last differ by more than two standard errors of their difference.

        The sizes answer the same items, so their differences vary less than this assumes: it errs on the careful side.
        """
        first, last = self.scores[0], self.scores[-1]
        return abs(sum(self.gains)) > 2 * math.hypot(first.error, last.error)

    @property
    def direction(self) -> Direction:
        """Whether the largest model does better than the smallest; `` for a single model."""
        if len(self.scores) < 2:
            return ""
        gain = sum(self.gains)
        if gain and (all(step > 0 for step in self.gains) or self.certain):
            return "better" if gain > 0 else "worse"
        return "unclear"

    @property
    def verdict(self) -> str:
        """The same in words, with how sure it is."""
        every = bool(self.gains) and all(step > 0 for step in self.gains)
        if self.direction == "better":
            return "better at every step" if every else "better, not at every step"
        if self.direction == "worse":
            return "worse"
        return "no clear change" if self.direction else ""

    def of(self, model: str) -> Score | None:
        """The score of one model, if it was measured."""
        return next((score for score in self.scores if score.model == model), None)


def trends(scores: Sequence[Score]) -> list[Trend]:
    """Scores by task and metric, in the order of `TITLES`."""
    groups: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in scores:
        groups[score.task, score.metric].append(score)
    order = {task: number for number, task in enumerate(TITLES)}
    return [
        Trend(task=task, metric=metric, scores=sorted(group, key=lambda one: (one.parameters, one.model)))
        for (task, metric), group in sorted(groups.items(), key=lambda item: order.get(item[0][0], len(order)))
    ]


def answers(found: Sequence[Trend]) -> list[Trend]:
    """One trend for each task: its first metric, as evaluated on more than one size. Training text is no task."""
    first: dict[str, Trend] = {}
    for trend in found:
        if trend.direction and trend.task != "train":
            first.setdefault(trend.task, trend)
    return list(first.values())


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What the page says first."""

    title: str
    lead: str


_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")


def in_words(number: int) -> str:
    """A small number as a word that begins a sentence."""
    return _NUMBERS[number] if number < len(_NUMBERS) else f"{number:,}"


def headline(shown: Sequence[Trend], models: int) -> Headline:
    """The answer to the paper's question, as strong as what was measured allows."""
    if not shown:
        return Headline(
            title="What was learned from predicting text",
            lead="Nothing can be said of size yet: no task was measured on more than one model.",
        )
    better = sum(trend.direction == "better" for trend in shown)
    share = "everything measured" if better == len(shown) else "most of what was measured"
    if better * 2 <= len(shown):
        share = "some of what was measured" if better else ""
    title = (
        f"Trained only to predict text, larger models do better at {share}"
        if share
        else "Trained only to predict text, larger models do no better here"
    )
    lead = (
        f"{in_words(models)} models of different sizes learned to predict the next token of the same text, and nothing else. "
        "Then each was given tasks that nobody had taught it. "
        f"{in_words(better)} of {in_words(len(shown)).lower()} improve{'s' * (better == 1)} "
        "from the smallest model to the largest."
    )
    return Headline(title=title, lead=lead)
