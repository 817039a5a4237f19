"""What a language model does untaught, by the heuristics of the GPT-1 paper (section 5, figure 2 right), all by token means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from selftaught.errors import InputError
from selftaught.evaluation import asking, measuring
from selftaught.evaluation.answers import ChoiceAnswer, SentenceAnswer
from selftaught.evaluation.experiments import Question, Result, Task
from selftaught.evaluation.measuring import Baseline, Measured
from selftaught.tasks import glue, marking, reading, referents, winograd
from selftaught.tasks.confusion import confusion
from selftaught.tasks.examples import Choice, Text
from selftaught.tasks.labelled import ExampleReader, Labelled

SENTIMENT_WORD = " very"
SENTIMENTS = (" negative", " positive")
"""Labels 0 and 1 of SST-2 as words after it."""


def sst2(asked: Question) -> Result:
    """SST-2: after `very`, the more probable of `positive` and `negative`."""
    examples = asked.limited(glue.read_split("sst2", asked.source, "dev"))
    chosen = [
        Choice(
            id=one.id,
            contexts=(one.first + SENTIMENT_WORD,) * len(SENTIMENTS),
            continuations=SENTIMENTS,
            candidates=tuple(word.strip() for word in SENTIMENTS),
            answer=_class(one),
        )
        for one in examples
    ]
    answers = _choices(asked, "SST-2", chosen, mean=False)
    most = _majority([one.answer for one in chosen])
    words = "dev; `very` after the sentence, then the more probable of negative and positive"
    return answers, [_accuracy(answers, f"{words}{asked.rules.first_only}", most)]


def race(asked: Question) -> Result:
    """RACE: the answer with the highest mean log-probability of a token, given document and question."""
    about = glue.task("race")
    folder = next((asked.source / name for name in about.folders if (asked.source / name).is_dir()), asked.source)
    answers: list[ChoiceAnswer] = []
    levels: dict[str, list[ChoiceAnswer]] = {}
    for level, examples in reading.race_levels(folder, "dev", ExampleReader(about.columns, about.labels)).items():
        chosen = [_passage(f"{level}-{number}", one) for number, one in enumerate(asked.limited(examples), start=1)]
        levels[level] = _choices(asked, f"RACE {level}", chosen, mean=True)
        answers += levels[level]
    if not answers:
        raise InputError(f"no dev questions of RACE in {folder}", expected=" or ".join(RACE_FILES))
    words = "dev; article, line end, question; the answer with the highest mean log-probability of a token"
    protocol = f"{words}; longer than the context: the end of it{asked.rules.first_only}"
    chance = Baseline(what="chance", value=0.25)
    return answers, [
        _accuracy(answers, protocol, chance),
        *(
            Measured(
                metric=f"accuracy_{level}",
                mark=marking.accuracy([one.right for one in found]),
                protocol=protocol,
                baseline=chance,
            )
            for level, found in levels.items()
        ),
    ]


def _passage(name: str, example: Labelled) -> Choice:
    context = f"{example.first}\n{example.second}"
    return Choice(
        id=name,
        contexts=(context,) * len(example.options),
        continuations=tuple(f" {option}" for option in example.options),
        candidates=example.options,
        answer=_class(example),
    )


def dprd(asked: Question) -> Result:
    """DPRD: the candidate that, in the pronoun's place, makes the rest most probable, by the mean of its tokens."""
    chosen = asked.limited(referents.read_referents(asked.source / referents.DPRD_FILE))
    return _substituted(asked, "DPRD", chosen)


def winograd_by_mean(asked: Question) -> Result:
    """The same on the Winograd Schema Challenge."""
    chosen = asked.limited(winograd.read_schemas(asked.source / winograd.WSC273_FILE, "partial"))
    return _substituted(asked, "Winograd by mean", chosen)


def _substituted(asked: Question, title: str, chosen: Sequence[Choice]) -> Result:
    answers = _choices(asked, title, chosen, mean=True)
    words = "candidate in the pronoun's place; mean log-probability of a token of the rest"
    return answers, [_accuracy(answers, f"{words}{asked.rules.first_only}", Baseline(what="chance", value=0.5))]


def cola(asked: Question) -> Result:
    """CoLA: acceptable is what has a mean log-probability of a token above the threshold that is best on the training set."""
    found: dict[str, list[SentenceAnswer]] = {}
    for split in ("train", "dev"):
        examples = asked.limited(glue.read_split("cola", asked.source, split))
        if len({one.label for one in examples}) < 2:
            raise InputError(f"the {split} sentences of CoLA have one label", expected="acceptable ones and others")
        found[split] = _accepted(asked, split, examples)
    limit = best_threshold(found["train"])
    names = ("False", "True")
    pairs = [(str(one.acceptable), str(one.mean_log_prob > limit)) for one in found["dev"]]
    words = f"dev; mean log-probability of a token above {limit:.4f} nats, which is best on the {len(found['train']):,} of train"
    return [*found["train"], *found["dev"]], [
        Measured(
            metric="matthews",
            mark=confusion(names, pairs).matthews(),
            protocol=f"{words}{asked.rules.first_only}",
            baseline=Baseline(what="one answer for all", value=0.0),
        )
    ]


def _accepted(asked: Question, split: str, examples: Sequence[Labelled]) -> list[SentenceAnswer]:
    """Each sentence's mean log-probability of a token."""
    sentences = [Text(id=f"{split}-{number}", text=one.first, units=1) for number, one in enumerate(examples, start=1)]
    scored = asking.texts(asked, f"CoLA {split}", sentences, stride=0, unit="sentences")
    means = [-one.nats / max(1, one.tokens) for one in scored]
    measuring.require_numbers([one for one in means if not math.isfinite(one)][:1], f"a sentence of {split}")
    return [
        SentenceAnswer(id=one.id, sentence=one.text, mean_log_prob=mean, acceptable=bool(example.label))
        for one, example, mean in zip(sentences, examples, means, strict=True)
    ]


def best_threshold(answers: Sequence[SentenceAnswer]) -> float:
    """The threshold with the highest Matthews correlation, the lowest of equals, half-way between two values."""
    order = sorted(answers, key=lambda one: one.mean_log_prob)
    values = np.array([one.mean_log_prob for one in order])
    good = np.array([one.acceptable for one in order], dtype=np.float64)
    n, all_good = len(order), float(good.sum())
    below = np.arange(1, n, dtype=np.float64)
    good_below = good.cumsum()[:-1]
    cut: npt.NDArray[np.bool_] = values[:-1] < values[1:]
    if not cut.any():
        raise InputError("all sentences of CoLA's training set have one log-probability", got=f"{values[0]}")
    # Covariance of "acceptable" and "above the threshold", times n squared; its variances' product is never 0 here.
    together = n * (all_good - good_below) - all_good * (n - below)
    scale = np.sqrt(all_good * (n - all_good) * below * (n - below))
    place = int(np.argmax(np.where(cut, together / scale, -np.inf)))
    return float(values[place] + values[place + 1]) / 2


def _choices(asked: Question, title: str, chosen: Sequence[Choice], *, mean: bool) -> list[ChoiceAnswer]:
    answers = asking.choices(asked, title, chosen, mean=mean)
    for one in answers:
        measuring.require_numbers(one.log_probs, f"question {one.id}")
    return answers


def _accuracy(answers: Sequence[ChoiceAnswer], protocol: str, baseline: Baseline) -> Measured:
    mark = marking.accuracy([one.right for one in answers])
    return Measured(metric="accuracy", mark=mark, protocol=protocol, baseline=baseline)


def _majority(answers: Sequence[int]) -> Baseline:
    share = max(answers.count(one) for one in set(answers)) / len(answers)
    return Baseline(what="the most frequent label", value=share)


def _class(example: Labelled) -> int:
    if not isinstance(example.label, int):
        raise InputError(f"example {example.id} has no class", got=str(example.label))
    return example.label


RACE_FILES = ("RACE/dev/middle/*.txt", "RACE/dev/high/*.txt", "RACE/dev-middle*.jsonl*", "RACE/dev-high*.jsonl*")
HEURISTICS: dict[str, Task] = {
    "sst2": Task(
        summary="SST-2 by `very` and positive or negative", ask=sst2, files=("SST-2/dev.tsv", "SST-2/dev*.jsonl*")
    ),
    "cola": Task(
        summary="CoLA by a threshold on mean log-probabilities",
        ask=cola,
        files=("CoLA/dev.tsv", "CoLA/in_domain_dev.tsv", "CoLA/dev*.jsonl*"),
    ),
    "dprd": Task(summary="Definite pronouns by substitution", ask=dprd, files=(referents.DPRD_FILE,)),
    "winograd-mean": Task(
        summary="Winograd by substitution and token means (GPT-1)",
        ask=winograd_by_mean,
        files=(winograd.WSC273_FILE,),
        long=True,
    ),
    "race": Task(summary="RACE by mean log-probabilities of answers", ask=race, files=RACE_FILES, long=True),
}
"""Tasks that `evaluate` runs."""
