"""The papers' printed numbers, in the units of our scores.

GPT-2 paper: table 3 (language modelling), table 4 (summaries), sections 3.4 to 3.8 (Winograd, CoQA, translation, questions),
table 6 (overlap).
Sizes as the paper names them. LAMBADA's accuracies in table 3 are those with the stop-word filter (`accuracy_filtered`); without
it the paper gives 52.66 % for the largest size (section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

SIZES = {"117M": 124_439_808, "345M": 354_823_168, "762M": 774_030_080, "1542M": 1_557_611_200}
"""The paper's names of the four sizes -> parameters of the released models."""


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One printed number."""

    task: str
    metric: str
    size: str
    value: float
    source: str


def _table3(task: str, metric: str, values: tuple[float, float, float, float]) -> list[Printed]:
    scale = 0.01 if metric.startswith("accuracy") else 1.0
    return [
        Printed(task=task, metric=metric, size=size, value=value * scale, source="GPT-2, table 3")
        for size, value in zip(SIZES, values, strict=True)
    ]


def _largest(task: str, metric: str, value: float, section: str) -> Printed:
    return Printed(task=task, metric=metric, size="1542M", value=value, source=f"GPT-2, section {section}")


def _table4(prefix: str, values: tuple[float, float, float, float]) -> list[Printed]:
    """ROUGE F1 on CNN/DailyMail; rows without a model stand beside every size."""
    return [
        Printed(task="cnndm", metric=f"{prefix}_{measure}", size="1542M", value=value, source="GPT-2, table 4")
        for measure, value in zip(("1", "2", "l", "average"), values, strict=True)
    ]


PRINTED: tuple[Printed, ...] = (
    *_table3("lambada", "perplexity", (35.13, 15.60, 10.87, 8.63)),
    *_table3("lambada", "accuracy_filtered", (45.99, 55.48, 60.12, 63.24)),
    *_table3("cbt", "accuracy_CN", (87.65, 92.35, 93.45, 93.30)),
    *_table3("cbt", "accuracy_NE", (83.4, 87.1, 88.0, 89.05)),
    *_table3("wikitext2", "perplexity", (29.41, 22.76, 19.93, 18.34)),
    *_table3("ptb", "perplexity", (65.85, 47.33, 40.31, 35.76)),
    *_table3("enwik8", "bits_per_byte", (1.16, 1.01, 0.97, 0.93)),
    *_table3("text8", "bits_per_character", (1.17, 1.06, 1.02, 0.98)),
    *_table3("wikitext103", "perplexity", (37.50, 26.37, 22.05, 17.48)),
    *_table3("1bw", "perplexity", (75.20, 55.72, 44.575, 42.16)),
    _largest("lambada", "accuracy", 0.5266, "3.3"),
    _largest("winograd", "accuracy", 0.7070, "3.4"),
    _largest("coqa", "f1", 0.55, "3.5"),
    _largest("nq", "exact_match", 0.041, "3.8"),
    _largest("nq", "accuracy_most_confident", 0.631, "3.8"),
    *_table4("rouge", (0.2934, 0.0827, 0.2658, 0.2140)),
    *_table4("rouge_no_hint", (0.2158, 0.0403, 0.1947, 0.1503)),
    *_table4("rouge_lede3", (0.4038, 0.1766, 0.3662, 0.3155)),
    *_table4("rouge_random3", (0.2878, 0.0863, 0.2552, 0.2098)),
    _largest("wmt14-en-fr", "bleu", 5.0, "3.7"),
    _largest("wmt14-fr-en", "bleu", 11.5, "3.7"),
)

OVERLAP_WITH_WEBTEXT = {
    "PTB": 0.0088,
    "WikiText-2": 0.0163,
    "enwik8": 0.0631,
    "text8": 0.0394,
    "WikiText-103": 0.0242,
    "1BW": 0.0375,
}
"""Share of each test set's 8-grams found in WebText (GPT-2, table 6)."""
OVERLAP_WITH_OWN_TEXT = {
    "PTB": 0.0267,
    "WikiText-2": 0.0066,
    "enwik8": 0.0750,
    "text8": 0.0234,
    "WikiText-103": 0.0909,
    "1BW": 0.1319,
}
"""The same found in its own training set (GPT-2, table 6)."""
TABLE_6_NAMES = {
    "ptb": "PTB",
    "wikitext2": "WikiText-2",
    "enwik8": "enwik8",
    "text8": "text8",
    "wikitext103": "WikiText-103",
    "1bw": "1BW",
}
"""Our tasks -> the columns of table 6."""
LAMBADA_WITHOUT_OVERLAP = {"perplexity": (8.6, 8.7), "accuracy": (0.632, 0.629)}
"""Of the largest model, on all passages and on those of which nothing stands in WebText (GPT-2, section 4)."""


def printed(task: str, metric: str) -> list[Printed]:
    """The printed numbers of a task, smallest model first."""
    return [one for one in PRINTED if (one.task, one.metric) == (task, metric)]


def nearest(task: str, metric: str, parameters: int) -> str:
    """The printed number of the nearest size, in words, or ""."""
    one = of_nearest_size(task, metric, parameters)
    return f"{one.value:.4g} ({one.size})" if one else ""


def of_nearest_size(task: str, metric: str, parameters: int) -> Printed | None:
    """The printed number of the nearest size."""
    return min(printed(task, metric), key=lambda each: abs(SIZES[each.size] - parameters), default=None)
