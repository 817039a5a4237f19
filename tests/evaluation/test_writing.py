"""Summaries and translations, with a model whose answers are known and with a real one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.evaluation.running import evaluate
from selftaught.inference import prompting
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.prompting import Continuation, Prompt
from selftaught.tasks import summaries, translation
from tests.evaluation.test_answering import by_metric, says

GOLD = "The bird flew .\nIt slept ."
TASKS = ("cnndm", "wmt14-en-fr", "wmt14-fr-en")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    articles = [
        {"id": str(number), "article": "The cat sat. A dog ran. A bird flew. It slept.", "highlights": GOLD}
        for number in range(20)
    ]
    storage.write_jsonl(folder / summaries.CNN_DM_FILES[1], articles)
    for language, word in (("en", "white"), ("fr", "blanc")):
        lines = "".join(f"{word} cat number {number} is here .\n" for number in range(9))
        storage.write_text(folder / f"{translation.TEST_FILE}.{language}", lines)
    return folder


def test_summaries(lm: LanguageModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(prompt: str) -> tuple[str, float]:
        return (" The bird flew. It slept. And. More.", -1.0) if prompt.endswith("TL;DR:") else ("", -1.0)

    heard = says(monkeypatch, write)
    found = by_metric(evaluate(lm, "cnndm", data=data, out=tmp_path / "o"))
    assert len(heard) == 40
    one = summaries.RougeScorer().score(["The bird flew.", "It slept.", "And."], GOLD)
    assert found["rouge_1"].value == pytest.approx(one.rouge_1)
    assert found["rouge_average"].value == pytest.approx((one.rouge_1 + one.rouge_2 + one.rouge_l) / 3)
    assert found["rouge_no_hint_1"].value == 0
    assert "20 empty summaries" in found["rouge_no_hint_1"].protocol
    assert found["rouge_l"].baseline == found["rouge_random3_l"].value
    lede = summaries.RougeScorer().score(["The cat sat.", "A dog ran.", "A bird flew."], GOLD)
    assert found["rouge_lede3_2"].value == pytest.approx(lede.rouge_2)
    assert {score.n for score in found.values()} == {20}


@pytest.mark.parametrize("task", TASKS[1:])
def test_translations(
    lm: LanguageModel,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
) -> None:
    ours, theirs = ("white", "blanc") if task.endswith("en-fr") else ("blanc", "white")

    def write(prompt: str) -> tuple[str, float]:
        last = prompt.rsplit("\n", 1)[-1].removesuffix(" =")
        return f" {last.replace(ours, theirs)} Another sentence.", -1.0

    heard = says(monkeypatch, write)
    rules = EvaluateSettings(example_pairs=1)
    scores = evaluate(lm, task, data=data, out=tmp_path / "o", settings=rules)
    for score, metric, tokens in zip(scores, ("bleu", "bleu_tokenised"), ("tok:13a", "tok:none"), strict=True):
        assert (score.metric, score.n, len(heard)) == (metric, 8, 8)
        assert score.value == pytest.approx(100)
        assert 0 < (score.baseline or 0) < 100
        assert tokens in score.protocol
    assert f"sacremoses {version('sacremoses')}, {task[-2:]}, nrefs" in scores[1].protocol
    assert all(prompt.split("\n")[-1].startswith(ours) for prompt in heard)


def test_a_long_sentence_is_asked_whole(lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 96 tokens of context most are taken by the sentence: what is left is for the translation, none for examples."""
    long = "the white cat who is it " * 6
    for language in ("en", "fr"):
        storage.write_text(tmp_path / f"{translation.TEST_FILE}.{language}", f"a\n{long}\nb\n")
    limits: dict[str, int] = {}

    def complete(_: LanguageModel, prompts: Sequence[Prompt], **__: object) -> list[Continuation]:
        limits.update({prompt.text: prompt.limit for prompt in prompts})
        return [Continuation(text=" x", log_prob=0.0, log_prob_text=0.0, stopped=True) for _ in prompts]

    monkeypatch.setattr(prompting, "complete", complete)
    evaluate(lm, "wmt14-en-fr", data=tmp_path, out=tmp_path / "o", settings=EvaluateSettings(example_pairs=1, seed=3))
    prompt = f"{long.strip()} ="
    assert limits[prompt] == lm.context + 1 - prompting.length(lm, prompt)
    assert limits[prompt] < 2 * prompting.length(lm, long.strip())


def test_a_real_model_writes(lm: LanguageModel, data: Path, tmp_path: Path) -> None:
    rules = EvaluateSettings(summary_tokens=8, example_pairs=2, limit=3)
    scores = evaluate(lm, TASKS, data=data, out=tmp_path / "o", settings=rules)
    assert all(math.isfinite(score.value) and "only the first 3" in score.protocol for score in scores)
    again = evaluate(lm, TASKS, data=data, out=tmp_path / "again", settings=rules)
    assert [one.value for one in again] == [one.value for one in scores]
    other = evaluate(
        lm, "cnndm", data=data, out=tmp_path / "other", settings=EvaluateSettings(summary_tokens=8, seed=2)
    )
    assert "seed 2" in other[0].protocol
