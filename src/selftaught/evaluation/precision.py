"""What faster products change of each score: the same questions once more in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from selftaught.evaluation.experiments import Question, Task
from selftaught.evaluation.measuring import Measured
from selftaught.inference.language_model import LanguageModel

BYTES_OF_A_QUESTION = 1000
"""Of held-out text, for each question of a sample."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A score less what it is in float32, on the same questions."""

    value: float
    n: int
    """Questions (or units of a text) that were compared."""


def differences(task: Task, asked: Question, measured: Sequence[Measured]) -> dict[str, Difference]:
    """By metric; nothing where products are float32 anyway.

    The questions are the first `float32_questions` of the settings, or all of them. Their answers are kept in folders of their
    own, named as the format.
    """
    lm = asked.model
    if lm.precision == "float32":
        return {}
    rules = asked.rules
    if wanted := rules.float32_questions:
        rules = replace(
            rules,
            limit=min(wanted, rules.limit or wanted),
            most_questions=min(wanted, rules.most_questions),
            most_bytes=min(wanted * BYTES_OF_A_QUESTION, rules.most_bytes),
            grid=False,
        )
    if rules != replace(asked.rules, grid=False):
        measured = _again(task, asked, replace(asked, rules=rules), lm.precision)
    exact = LanguageModel(lm.model, lm.tokenizer, name=lm.name, precision="float32")
    known = {one.metric: one.mark for one in _again(task, asked, replace(asked, rules=rules, model=exact), "float32")}
    return {
        one.metric: Difference(value=one.mark.value - known[one.metric].value, n=one.mark.n)
        for one in measured
        if one.metric in known
    }


def _again(task: Task, asked: Question, sample: Question, folder: str) -> list[Measured]:
    keeping = replace(asked.keeping, folder=asked.keeping.folder / folder)
    answers, measured = task.ask(replace(sample, keeping=keeping))
    keeping.table("answers", answers)
    keeping.finish()
    return measured
