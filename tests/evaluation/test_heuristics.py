"""The heuristics of the GPT-1 paper against loops written down from its words."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selftaught import storage
from selftaught.errors import InputError
from selftaught.evaluation.answers import SentenceAnswer
from selftaught.evaluation.heuristics import best_threshold
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.evaluation.running import evaluate
from selftaught.inference.language_model import LanguageModel
from selftaught.tasks.confusion import confusion
from selftaught.tasks.referents import read_referents
from tests.evaluation.test_classification import model
from tests.reference.asking import log_prob

SENTENCES = ["Anna painted", "the heavy basket", "money across the garden", "Peter", "wooden basket of money", "sports"]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return model()


def tokens(lm: LanguageModel, context: str, continuation: str) -> int:
    return len(lm.encode_pair(context, continuation)[1])


def answers_of(folder: Path, task: str) -> list[dict]:  # type: ignore[type-arg]
    return storage.read_lines(folder / f"answers-{task}.jsonl", dict)


def test_sst2_asks_for_the_word_after_very(lm: LanguageModel, tmp_path: Path) -> None:
    storage.write_jsonl(
        tmp_path / "SST-2/dev.jsonl",
        [{"sentence": text, "label": n % 3 > 0} | {"label": int(n % 3 > 0)} for n, text in enumerate(SENTENCES)],
    )
    (score,) = evaluate(lm, "sst2", data=tmp_path, out=tmp_path / "out")
    right = 0
    for n, (text, kept) in enumerate(zip(SENTENCES, answers_of(tmp_path / "out", "sst2"), strict=True)):
        slow = [log_prob(lm, f"{text} very", word) for word in (" negative", " positive")]
        assert kept["log_probs"] == pytest.approx(slow, abs=1e-4)
        right += (slow[1] > slow[0]) == (n % 3 > 0)
    assert (score.value, score.n, score.metric) == (right / 6, 6, "accuracy")
    assert score.baseline == pytest.approx(4 / 6)


def test_race_takes_the_best_mean_of_an_answers_tokens(lm: LanguageModel, tmp_path: Path) -> None:
    for level, rows in {"middle": SENTENCES[:1], "high": SENTENCES[1:3]}.items():
        (tmp_path / f"RACE/dev/{level}").mkdir(parents=True)
        for n, text in enumerate(rows):
            options = [[text, "Anna", "money and sports", "Peter painted another basket"]] * 2
            row = {"article": text * 2, "questions": ["who?", "what is _ ?"], "options": options, "answers": ["A", "C"]}
            (tmp_path / f"RACE/dev/{level}/{n}.txt").write_text(json.dumps(row))
    both, middle, high = evaluate(lm, "race", data=tmp_path, out=tmp_path / "out")
    kept = answers_of(tmp_path / "out", "race")
    assert [one["id"] for one in kept] == ["middle-1", "middle-2", "high-1", "high-2", "high-3", "high-4"]
    right = []
    for n, one in enumerate(kept):
        text = SENTENCES[n // 2]
        context = f"{text * 2}\n{('who?', 'what is _ ?')[n % 2]}"
        options = [f" {option}" for option in (text, "Anna", "money and sports", "Peter painted another basket")]
        slow = [log_prob(lm, context, option) / tokens(lm, context, option) for option in options]
        assert one["log_probs"] == pytest.approx(slow, abs=1e-4)
        right.append(slow.index(max(slow)) == (0, 2)[n % 2])
    assert (both.value, both.n) == (sum(right) / 6, 6)
    assert (middle.metric, middle.value, high.metric, high.n) == (
        "accuracy_middle", sum(right[:2]) / 2, "accuracy_high", 4
    )  # fmt: skip


DPRD = """The bee landed on the flower because it had pollen.\t
it
The bee,the flower
the flower

Anna thanked Peter because she was glad, and she laughed.
she
Peter,Anna
anna
"""


def test_pronouns_are_substituted(lm: LanguageModel, tmp_path: Path) -> None:
    storage.write_text(tmp_path / "dprd/test.c.txt", DPRD)
    bee, anna = read_referents(tmp_path / "dprd/test.c.txt")
    start = "The bee landed on the flower because "
    assert bee.contexts == (f"{start}the bee", f"{start}the flower")
    assert bee.continuations == (" had pollen.",) * 2
    assert (bee.candidates, bee.answer, anna.answer) == (("The bee", "the flower"), 1, 1)
    assert anna.continuations == (" was glad, and she laughed.",) * 2
    (score,) = evaluate(lm, "dprd", data=tmp_path, out=tmp_path / "out")
    for question, kept in zip((bee, anna), answers_of(tmp_path / "out", "dprd"), strict=True):
        pairs = list(zip(question.contexts, question.continuations, strict=True))
        slow = [log_prob(lm, *pair) / tokens(lm, *pair) for pair in pairs]
        assert kept["log_probs"] == pytest.approx(slow, abs=1e-4)
    assert (score.n, score.baseline) == (2, 0.5)


@pytest.mark.parametrize(
    ("lines", "context", "rest"),
    [
        ("Timmy giggled, so father gave him a look.|him|Timmy,Tommy|Timmy", "Timmy giggled, so father gave Timmy", " a look."),
        ("The boss fired her because he was mad.|her|the maid,The boss|the maid", "The boss fired the maid", None),
        ("Anna lost her keys.|her|Anna,Mrs Jones|Anna", "Anna lost Anna's", " keys."),
        ("Boys lost their keys.|their|boys,The girls|boys", "Boys lost boys'", " keys."),
        ("Cats like mice. They hunt.|They|the cats,the mice|the cats", "Cats like mice. The cats", " hunt."),
        ("Anna saw it.|it|the cat,the dog|the cat", "", "Anna saw the cat."),
    ],
)  # fmt: skip
def test_candidates_take_the_pronouns_form(tmp_path: Path, lines: str, context: str, rest: str | None) -> None:
    storage.write_text(tmp_path / "x.txt", lines.replace("|", "\n"))
    (found,) = read_referents(tmp_path / "x.txt")
    assert found.contexts[0] == context
    assert rest is None or found.continuations[0] == rest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nit\n", "ends within a question"),
        ("It is.\nit\na\na\n", "two candidates"),
        ("It is.\nit\na,b\nc\n", "line 1 .*one of them the answer"),
        ("Anna is.\nit\na,b\nb\n", "the pronoun it"),
        ("", "no text"),
    ],
)
def test_questions_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    storage.write_text(tmp_path / "x.txt", text)
    with pytest.raises(InputError, match=said):
        read_referents(tmp_path / "x.txt")


ROWS = st.lists(st.tuples(st.integers(-6, 0), st.booleans()), min_size=2, max_size=25)


@given(ROWS)
def test_the_threshold_is_the_best_of_all(rows: list[tuple[int, bool]]) -> None:
    values = sorted({value for value, _ in rows})
    found = [SentenceAnswer(id="", sentence="", mean_log_prob=value / 2, acceptable=good) for value, good in rows]
    if len(values) < 2:
        with pytest.raises(InputError, match="one log-probability"):
            best_threshold(found)
        return
    if len({good for _, good in rows}) < 2:
        return

    def quality(limit: float) -> float:
        return (
            confusion(("False", "True"), [(str(good), str(value / 2 > limit)) for value, good in rows]).matthews().value
        )

    limits = [(low + high) / 4 for low, high in pairwise(values)]
    chosen = best_threshold(found)
    assert chosen in limits
    assert quality(chosen) == pytest.approx(max(map(quality, limits)))


def cola(folder: Path, train: list[str], dev: list[str]) -> None:
    for split, labels in (("train", train), ("dev", dev)):
        rows = [f"s\t{label}\t*\t{text}" for label, text in zip(labels, SENTENCES, strict=True)]
        storage.write_text(folder / f"CoLA/{split}.tsv", "\n".join(rows) + "\n")


def test_cola_by_a_threshold_from_train(lm: LanguageModel, tmp_path: Path) -> None:
    cola(tmp_path, list("010110"), list("110010"))
    (score,) = evaluate(lm, "cola", data=tmp_path, out=tmp_path / "out")
    means = [log_prob(lm, "", text) / tokens(lm, "", text) for text in SENTENCES]
    kept = answers_of(tmp_path / "out", "cola")
    assert [one["mean_log_prob"] for one in kept] == pytest.approx(means * 2, abs=1e-4)
    train = [
        SentenceAnswer(id="", sentence="", mean_log_prob=m, acceptable=x == "1")
        for m, x in zip(means, "010110", strict=True)
    ]
    limit = best_threshold(train)
    pairs = [(x, "1" if m > limit else "0") for m, x in zip(means, "110010", strict=True)]
    assert (score.metric, score.n) == ("matthews", 6)
    assert score.value == pytest.approx(confusion(("0", "1"), pairs).matthews().value)
    told = re.search(r"above (-[\d.]+) nats", score.protocol)
    assert told is not None
    assert float(told[1]) == pytest.approx(limit, abs=1e-3)


def test_cola_of_one_label_and_no_files(lm: LanguageModel, tmp_path: Path) -> None:
    cola(tmp_path, list("111111"), list("110010"))
    with pytest.raises(InputError, match="train sentences of CoLA have one label"):
        evaluate(lm, "cola", data=tmp_path, out=tmp_path / "out")
    (tmp_path / "CoLA/train.tsv").unlink()
    with pytest.raises(InputError, match="no labelled train examples"):
        evaluate(lm, "cola", data=tmp_path, out=tmp_path / "out")
    for task in ("sst2", "race", "dprd", "winograd-mean"):
        with pytest.raises(InputError, match=task):
            evaluate(lm, task, data=tmp_path, out=tmp_path / "out")


def test_a_model_that_gives_no_numbers(tmp_path: Path) -> None:
    broken = model(seed=2)
    with torch.no_grad():
        broken.model.tokens.weight.fill_(math.nan)
    cola(tmp_path, list("110110"), list("110010"))
    storage.write_jsonl(tmp_path / "SST-2/dev.jsonl", [{"sentence": "Anna", "label": 1}])
    for task in ("sst2", "cola"):
        with pytest.raises(InputError, match="no numbers"):
            evaluate(broken, task, data=tmp_path, out=tmp_path / "out")


def test_the_real_files_are_read(lm: LanguageModel, shared_data: Path, tmp_path: Path) -> None:
    settings = EvaluateSettings(limit=2)
    scores = evaluate(lm, ["sst2", "race"], data=shared_data / "finetune", out=tmp_path / "out", settings=settings)
    assert [(score.task, score.metric, score.n) for score in scores] == [
        ("sst2", "accuracy", 2), ("race", "accuracy", 4), ("race", "accuracy_middle", 2), ("race", "accuracy_high", 2)
    ]  # fmt: skip
    assert "only the first 2" in scores[0].protocol
    (wsc,) = evaluate(
        lm, "winograd-mean", data=shared_data / "zeroshot", out=tmp_path / "wsc", settings=EvaluateSettings(limit=2)
    )
    assert wsc.n == 2
