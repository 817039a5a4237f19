"""Scores by overlap: the halves are marked as the whole was, and together they are the whole."""

from __future__ import annotations

import json
import math

import pytest

from selftaught import storage
from selftaught.cli.main import main
from selftaught.errors import InputError
from selftaught.evaluation import contamination
from selftaught.evaluation.answers import ChoiceAnswer, ConversationAnswer, PassageAnswer
from selftaught.report.overlap_records import ExampleOverlap
from selftaught.report.records import Score


def score(task, metric, value):
    return Score(
        model="m", parameters=1, task=task, protocol="p", metric=metric, value=value, error=0.0, n=4, seconds=1.0
    )


def passage(number, nats, right):
    return PassageAnswer(
        id=f"lambada-{number}",
        context_end="",
        word="w",
        nats=nats,
        right=right,
        right_filtered=not right,
        right_last_token=right,
        said="w" if number == 1 else "v",
    )


def examples(folder, task, hits):
    rows = [ExampleOverlap(example=name, ngrams=9, in_corpus=count) for name, count in hits.items()]
    storage.write_jsonl(folder / f"examples-{task}.jsonl", rows)


@pytest.fixture
def lambada(tmp_path):
    answers = [passage(1, 1.0, True), passage(2, 2.0, False), passage(3, 3.0, True), passage(4, 4.0, True)]
    storage.write_jsonl(tmp_path / "answers-lambada.jsonl", answers)
    examples(tmp_path, "lambada", {"lambada-1": 0, "lambada-2": 0, "lambada-3": 1, "lambada-4": 8})
    return tmp_path


def test_each_half_is_marked_as_the_whole_was(lambada):
    scores = [score("lambada", "accuracy", 0.75), score("lambada", "perplexity", math.exp(2.5))]
    accuracy, perplexity = contamination.by_overlap(lambada, lambada, scores)
    assert (accuracy.without, accuracy.without_n, accuracy.within, accuracy.within_n) == (0.5, 2, 1.0, 2)
    assert accuracy.without_error == pytest.approx(math.sqrt(0.25 / 2))
    assert (perplexity.without, perplexity.within) == (pytest.approx(math.exp(1.5)), pytest.approx(math.exp(3.5)))


def test_the_way_that_gives_the_kept_score_is_taken(lambada):
    filtered, said = contamination.by_overlap(
        lambada, lambada, [score("lambada", "accuracy_filtered", 0.25), score("lambada", "accuracy_beam", 0.25)]
    )
    assert (filtered.without, filtered.within) == (0.5, 0.0)
    assert (said.without, said.within) == (0.5, 0.0)
    with pytest.raises(InputError, match="no score"):
        contamination.by_overlap(lambada, lambada, [score("lambada", "accuracy", 0.6)])


def test_kinds_of_answers_that_are_right_as_often_are_kept_apart(tmp_path):
    """Half of the partial answers, of the full ones and of both are right; the halves by overlap are not those of both."""

    def choice(name, right):
        return ChoiceAnswer(
            id=name, context_end="", candidates=("a", "b"), log_probs=(0.0, -1.0), answer=0, chosen=0, right=right
        )

    rows = [choice(f"wsc-{n}/{how}", (n == 0) == (how == "full")) for how in ("partial", "full") for n in range(2)]
    storage.write_jsonl(tmp_path / "answers-winograd.jsonl", rows)
    examples(tmp_path, "winograd", {"wsc-0": 3, "wsc-1": 0})
    scores = [score("winograd", "accuracy", 0.5), score("winograd", "accuracy_full", 0.5)]
    partial, full = contamination.by_overlap(tmp_path, tmp_path, scores)
    assert (partial.without, partial.without_n, partial.within, partial.within_n) == (1.0, 1, 0.0, 1)
    assert (full.without, full.without_n, full.within, full.within_n) == (0.0, 1, 1.0, 1)
    words = [
        passage(1, 1.0, False),
        passage(2, 2.0, True),
    ]  # each way half: the first by the masked one and by the beams
    storage.write_jsonl(tmp_path / "answers-lambada.jsonl", words)
    examples(tmp_path, "lambada", {"lambada-1": 0, "lambada-2": 4})
    metrics = ("accuracy", "accuracy_filtered", "accuracy_masked", "accuracy_last_token")
    found = contamination.by_overlap(tmp_path, tmp_path, [score("lambada", metric, 0.5) for metric in metrics])
    assert [one.without for one in found] == [0.0, 1.0, 1.0, 0.0]


def test_choices_of_each_kind_and_turns_of_conversations(tmp_path):
    def choice(name, right):
        return ChoiceAnswer(
            id=name, context_end="", candidates=("a", "b"), log_probs=(0.0, -1.0), answer=0, chosen=0, right=right
        )

    rows = [choice(f"wsc-{n}/{how}", n == 0 or how == "full") for how in ("partial", "full") for n in range(2)]
    storage.write_jsonl(tmp_path / "answers-winograd.jsonl", rows)
    examples(tmp_path, "winograd", {"wsc-0": 3, "wsc-1": 0})
    cbt = [choice("cbt_CN_1", True), choice("cbt_CN_2", False), choice("cbt_V_1", False)]
    storage.write_jsonl(tmp_path / "answers-cbt.jsonl", cbt)
    examples(tmp_path, "cbt", {"cbt_CN_1": 3, "cbt_CN_2": 0, "cbt_V_1": 0})
    turns = {"source": "s", "said": ("x",), "turns_left_out": 0, "stories_cut": 0}
    talk = [
        ConversationAnswer(id="a", f1=(1.0, 0.5, 0.0), exact=(1.0, 0.0, 0.0), **turns),
        ConversationAnswer(id="b", f1=(0.5,), exact=(0.0,), **turns),
    ]
    storage.write_jsonl(tmp_path / "answers-coqa.jsonl", talk)
    examples(tmp_path, "coqa", {"a": 1, "b": 0})
    scores = [
        score("winograd", "accuracy", 0.5),
        score("winograd", "accuracy_full", 1.0),
        score("cbt", "accuracy_CN", 0.5),
        score("coqa", "f1", 0.5),
    ]
    partial, full, common, f1 = contamination.by_overlap(tmp_path, tmp_path, scores)
    assert (partial.without, partial.within) == (0.0, 1.0)
    assert (full.without, full.within, full.within_n) == (1.0, 1.0, 1)
    assert (common.without, common.within) == (0.0, 1.0)
    assert (f1.without, f1.within) == (0.5, 0.5)


def test_nothing_to_compare_is_said(tmp_path):
    with pytest.raises(InputError, match="selftaught overlap CORPUS --data DATA"):
        contamination.by_overlap(tmp_path / "scores", tmp_path / "none", [score("lambada", "accuracy", 0.75)])


def test_the_verb_shows_both_halves(tmp_path, lm, monkeypatch, capsys):
    monkeypatch.setattr("selftaught.inference.language_model.LanguageModel.load", lambda *_given, **_more: lm)
    (tmp_path / "model").mkdir()
    (tmp_path / "data" / "lambada").mkdir(parents=True)
    texts = [f"who is it? it is the white cat {word}" for word in ("who", "is", "the", "cat")]
    storage.write_jsonl(tmp_path / "data" / "lambada" / "lambada_test.jsonl", [{"text": text} for text in texts])
    examples(tmp_path / "overlap", "lambada", {f"lambada-{n}": n % 2 for n in range(1, 5)})
    words = [
        "evaluate",
        str(tmp_path / "model"),
        "lambada",
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--overlap", str(tmp_path / "overlap"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    perplexity = next(row for row in found["by_overlap"] if row["metric"] == "perplexity")
    halves = math.log(perplexity["without"]) + math.log(perplexity["within"])
    assert halves / 2 == pytest.approx(math.log(perplexity["value"]))
    assert (tmp_path / "out" / "by-overlap.json").is_file()
    assert main([*words, "--overlap", str(tmp_path / "overlap")]) == 0
    assert "without overlap" in capsys.readouterr().out
