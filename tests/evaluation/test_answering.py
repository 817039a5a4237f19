"""CoQA and Natural Questions with a model whose answers are known, and one that is killed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from selftaught import storage
from selftaught.errors import InputError, MismatchError
from selftaught.evaluation import keeping
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.evaluation.running import evaluate
from selftaught.inference import prompting
from selftaught.inference.dialogue import Dialogues
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.prompting import Continuation, Prompt
from selftaught.report.records import Score
from selftaught.tasks import conversations, questions


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    stories = [
        {
            "id": f"s{number}",
            "source": "mctest",
            "story": "The cat is white.",
            "turns": [
                {"question": "who is it?", "answers": ["the cat", "cat", "a cat", "white cat"]},
                {"question": "is it white?", "answers": ["yes", "yes", "Yes.", "it is"]},
            ],
        }
        for number in range(12)
    ]
    storage.write_jsonl(folder / conversations.COQA_FILE, stories)
    rows = [{"question": f"who is number {number}", "answer": ["Ann" if number % 2 else "Bob"]} for number in range(10)]
    storage.write_jsonl(folder / questions.NQ_FILE, rows)
    return folder


def says(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], tuple[str, float]]) -> list[str]:
    """Let the model give `answer(prompt)`: a text and its log-probability. Returns the prompts as they come."""
    heard: list[str] = []

    def answered(prompts: Iterable[Prompt]) -> list[Continuation]:
        asked = [prompt.text for prompt in prompts]
        heard.extend(asked)
        found = [answer(text) for text in asked]
        return [Continuation(text=text, log_prob=nats, log_prob_text=nats / 2, stopped=True) for text, nats in found]

    def complete(_: LanguageModel, prompts: Sequence[Prompt], **__: Any) -> list[Continuation]:
        return answered(prompts)

    def in_turn(_: Dialogues, prompts: Mapping[int, Prompt]) -> dict[int, Continuation]:
        return dict(zip(prompts, answered(prompts.values()), strict=True))

    monkeypatch.setattr(prompting, "complete", complete)
    monkeypatch.setattr(Dialogues, "complete", in_turn)
    return heard


def by_metric(scores: Sequence[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


@pytest.mark.parametrize("history", ["gold", "own"])
def test_coqa(lm: LanguageModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history: Any) -> None:
    heard = says(monkeypatch, lambda prompt: (" the cat Q: more", -1.0) if "white?" not in prompt else ("", -1.0))
    rules = EvaluateSettings(history=history, answer_tokens=10)
    found = by_metric(evaluate(lm, "coqa", data=data, out=tmp_path / "o", settings=rules))
    assert found["f1"].n == 24
    assert found["f1"].value == pytest.approx(1 / 2)  # every first turn is right, every second empty
    assert found["exact_match"].value == pytest.approx(1 / 2)
    assert found["f1"].error == pytest.approx(0, abs=1e-9)
    assert found["f1"].baseline == pytest.approx(0.5 * 1.0)
    assert "12 empty answers" in found["f1"].protocol
    assert f"{history} answers before" in found["f1"].protocol
    assert sum(prompt.endswith("A: the cat\nQ: is it white?\nA:") for prompt in heard) == 12
    answers = [json.loads(line) for line in (tmp_path / "o" / "answers-coqa.jsonl").read_text().splitlines()]
    assert [one["id"] for one in answers] == [f"s{number}" for number in range(12)]
    assert answers[0]["said"] == ["the cat", ""]


def test_natural_questions(lm: LanguageModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = says(monkeypatch, lambda prompt: (" Ann", math.log(0.9 if prompt[-4] in "13579" else 0.3)))
    rules = EvaluateSettings(example_questions=2, question_tokens=5)
    found = by_metric(evaluate(lm, "nq", data=data, out=tmp_path / "o", settings=rules))
    assert len(heard) == found["exact_match"].n == 8
    kept = [json.loads(line) for line in (tmp_path / "o" / "answers-nq.jsonl").read_text().splitlines()]
    right = sum(one["answers"] == ["Ann"] for one in kept)
    assert found["exact_match"].value == found["f1"].value == right / 8
    assert found["accuracy_most_confident"].value == 1.0
    assert found["exact_match"].baseline in {right / 8, 1 - right / 8}
    curve = [json.loads(line) for line in (tmp_path / "o" / "reliability-nq.jsonl").read_text().splitlines()]
    assert sum(one["answers"] for one in curve) == 8
    assert found["calibration_error"].value == pytest.approx(
        sum(one["answers"] * abs(one["accuracy"] - one["confidence"]) for one in curve) / 8
    )
    rules = EvaluateSettings(example_questions=2, question_tokens=5, confidence="answer")
    evaluate(lm, "nq", data=data, out=tmp_path / "half", settings=rules)
    first = json.loads((tmp_path / "half" / "answers-nq.jsonl").read_text().splitlines()[0])
    assert first["probability"] == pytest.approx(math.sqrt(kept[0]["probability"]))


def test_examples_that_do_not_fit_are_left_out(
    lm: LanguageModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = says(monkeypatch, lambda _: ("", -1.0))
    rules = EvaluateSettings(example_questions=7, question_tokens=40)
    found = by_metric(evaluate(lm, "nq", data=data, out=tmp_path / "o", settings=rules))
    shown = heard[0].count("Q:") - 1
    assert 0 <= shown < 7
    assert f"{shown} of which fit" in found["exact_match"].protocol


def test_answers_survive_a_kill(lm: LanguageModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def dies(prompt: str) -> tuple[str, float]:
        if "number 8\nA:" in prompt:
            raise Killed
        return " Ann", -1.0

    monkeypatch.setattr("selftaught.evaluation.answering.QUESTIONS_TOGETHER", 3)
    rules = EvaluateSettings(example_questions=1, question_tokens=5)
    says(monkeypatch, dies)
    with pytest.raises(Killed):
        evaluate(lm, "nq", data=data, out=tmp_path, settings=rules)
    unfinished = tmp_path / "answers-nq.unfinished.jsonl"
    kept = unfinished.read_bytes().count(b'"said"')
    assert kept >= 3
    unfinished.write_bytes(re.sub(rb'"seconds":[^}]+', b'"seconds":100.0', unfinished.read_bytes()))
    with unfinished.open("ab") as stream:
        stream.write(b'{"id":"nq-8","quest')  # a line cut short
    with pytest.raises(MismatchError, match="example_questions: 1 -> 2"):
        evaluate(lm, "nq", data=data, out=tmp_path, settings=EvaluateSettings(example_questions=2, question_tokens=5))
    heard = says(monkeypatch, lambda _: (" Ann", -1.0))
    scores = evaluate(lm, "nq", data=data, out=tmp_path, settings=rules)
    assert len(heard) == 9 - kept
    assert not unfinished.exists()
    assert scores[0].seconds > 100
    assert scores[0].n == 9
    whole = evaluate(lm, "nq", data=data, out=tmp_path / "at-once", settings=rules)
    assert [one.value for one in scores] == [one.value for one in whole]


def test_a_file_that_was_killed_before_its_first_line(tmp_path: Path) -> None:
    measure = keeping.Measure(source="s", settings={}, probe_nats=0.0)
    kept = keeping.Keeping(folder=tmp_path, task="t", measure=measure)
    kept.unfinished.write_bytes(b'{"sour')
    asked = [questions.Trivia(id=str(number), question="q", answers=("a",)) for number in range(3)]
    found = kept.answers(asked, questions.Trivia, list, lambda _: None, block=2)
    assert found == asked
    assert kept.answers(asked, questions.Trivia, lambda _: [], lambda _: None) == asked
    with pytest.raises(InputError, match="are called 2"):
        kept.answers([*asked, asked[2]], questions.Trivia, list, lambda _: None)


def test_a_real_model_answers(lm: LanguageModel, data: Path, tmp_path: Path) -> None:
    for history in ("gold", "own"):
        rules = EvaluateSettings(history=history, answer_tokens=6, question_tokens=6, example_questions=2)  # type: ignore[arg-type]
        scores = evaluate(lm, ["coqa", "nq"], data=data, out=tmp_path / history, settings=rules)
        assert all(math.isfinite(score.value) and score.n for score in scores)
