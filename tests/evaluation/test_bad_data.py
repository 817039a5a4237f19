"""Data that are not as they should be: a clear complaint, or a treatment that is counted and stated."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selftaught import storage
from selftaught.errors import InputError
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.evaluation.running import evaluate
from selftaught.inference.language_model import LanguageModel
from selftaught.report.records import Score
from selftaught.tasks import conversations, modelling, passages, questions, summaries, translation

RULES = EvaluateSettings(
    stride=0, word_beams=2, answer_tokens=3, question_tokens=3, summary_tokens=4, example_questions=1, example_pairs=1
)
LONG = "the white cat and " * 60
CLOZE = {"task": "CN", "context": ["The cat is white."], "question": "It is a XXXXX .", "answer": "cat"}
TURN = {"question": "who?", "answers": ["cat"]}
SCHEMA = {"id": "w", "candidates": ["Ann", "Bob"], "label": 0, "sentences": ["So Ann is it.", "So Bob is it."]}
TASKS: dict[str, tuple[str, Any]] = {
    "lambada": (passages.LAMBADA_FILE, [{"text": "so the cat is white"}] * 2),
    "wikitext2": (modelling.WIKITEXT2_FILE, "Anna sold kettles .\nPeter , too .\n"),
    "1bw": (modelling.NEWS_PART_FILE, "Anna sold kettles .\nPeter , too .\n"),
    "winograd": ("winograd/wsc273.jsonl", [SCHEMA]),
    "cbt": ("cbt/cbt_CN_examples.jsonl", [{**CLOZE, "candidates": ["cat", "dog"]}]),
    "coqa": (conversations.COQA_FILE, [{"id": "s", "source": "x", "story": "The cat.", "turns": [TURN, TURN]}]),
    "cnndm": (summaries.CNN_DM_FILES[0], [{"id": "a", "article": "The cat is white.", "highlights": "A cat."}]),
    "nq": (questions.NQ_FILE, [{"question": f"who is {number}", "answer": ["Ann"]} for number in range(3)]),
}


def written(content: Any) -> bytes:
    if isinstance(content, str):
        return content.encode()
    return b"".join(msgspec.json.encode(row) + b"\n" for row in content)


def scores(lm: LanguageModel, tmp_path: Path, task: str, data: bytes, name: str) -> list[Score]:
    file = TASKS[task][0]
    storage.write_bytes(tmp_path / name / file, data)
    return evaluate(lm, task, data=tmp_path / name, out=tmp_path / f"{name} scores", settings=RULES)


@pytest.mark.parametrize("task", TASKS)
def test_marks_of_an_encoding_change_nothing_and_another_is_named(lm: LanguageModel, tmp_path: Path, task: str) -> None:
    good = written(TASKS[task][1])
    expected = scores(lm, tmp_path, task, good, "good")
    marked = codecs.BOM_UTF8 + good.replace(b"\n", b"\r\n")
    found = scores(lm, tmp_path, task, marked, "marked")
    assert [(one.value, one.protocol) for one in found] == [(one.value, one.protocol) for one in expected]
    line = good.count(b"\n") + 1
    for name, bad, number in (("latin", good + b"caf\xe9\n", line), ("wide", good.decode().encode("utf-16"), 1)):
        with pytest.raises(InputError, match=f"line {number} cannot be used; expected text in UTF-8"):
            scores(lm, tmp_path, task, bad, name)
    with pytest.raises(InputError, match="holds"):
        scores(lm, tmp_path, task, b"\n\n", "empty")
    (tmp_path / "folder" / TASKS[task][0]).mkdir(parents=True)
    with pytest.raises(InputError, match="Is a directory"):
        evaluate(lm, task, data=tmp_path / "folder", out=tmp_path / "o", settings=RULES)


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("lambada", {"text": f"{LONG}cat"}),
        ("winograd", {**SCHEMA, "id": "long", "sentences": [f"Ann {LONG}.", f"Bob {LONG}."]}),
        ("cbt", {**CLOZE, "context": [LONG], "candidates": ["cat", "dog"]}),
        ("nq", {"question": LONG, "answer": ["Ann"]}),
    ],
)
def test_what_is_longer_than_the_context_is_counted(
    lm: LanguageModel, tmp_path: Path, task: str, row: dict[str, Any]
) -> None:
    words = "of 1 longer than the context the beginning left out"
    known = TASKS[task][1] * (3 if task == "nq" else 1)
    assert words not in scores(lm, tmp_path, task, written(known), "short")[0].protocol
    found = scores(lm, tmp_path, task, written([*known, row]), "long")
    assert all(words in one.protocol for one in found if one.metric != "accuracy_full")


def test_a_question_or_sentence_without_room_is_counted(lm: LanguageModel, tmp_path: Path) -> None:
    story = {"id": "s", "source": "x", "story": "The cat.", "turns": [TURN, {"question": LONG, "answers": ["x"]}]}
    (f1, _) = scores(lm, tmp_path, "coqa", written([story]), "coqa")
    assert "and, at 1 turns, the end of the story left out, at 1 of the question itself" in f1.protocol
    for language in translation.NAMES:
        path = tmp_path / "wmt" / f"{translation.TEST_FILE}.{language}"
        storage.write_text(path, f"the cat\na dog\n{LONG}\n")
    settings = EvaluateSettings(example_pairs=0)
    bleu, _ = evaluate(lm, "wmt14-en-fr", data=tmp_path / "wmt", out=tmp_path / "o", settings=settings)
    assert "of 1 longer than the context" in bleu.protocol


def test_candidates_given_twice_or_empty_are_counted(lm: LanguageModel, tmp_path: Path) -> None:
    rows = [{**CLOZE, "candidates": names} for names in (["cat", "dog"], ["cat", "dog", "cat"], ["", "dog", "cat"])]
    (score,) = scores(lm, tmp_path, "cbt", written(rows), "twice")
    assert "chance 50 %" in score.protocol
    assert "in 2 questions a candidate that is given twice, or empty, left out" in score.protocol
    for name, bad in {
        "one": {"candidates": ["cat", "cat", ""]},
        "alone": {"candidates": ["cat", "dog"], "context": []},
        "none": {"candidates": ["cow", "dog"]},
    }.items():
        with pytest.raises(InputError, match="line 1 cannot be used"):
            scores(lm, tmp_path, "cbt", written([{**CLOZE, **bad}]), name)


def test_bytes_of_enwik8_that_are_no_characters_are_counted(lm: LanguageModel, tmp_path: Path) -> None:
    for name, data, words in (
        ("good", b"<page> a </page>\n", ")"),
        ("bad", b"\x80<page>\xff\n", "2 bytes that are no"),
    ):
        storage.write_bytes(tmp_path / name / modelling.ENWIK8_PREFIX_FILE, data)
        (score,) = evaluate(lm, "enwik8", data=tmp_path / name, out=tmp_path / f"{name} o", settings=RULES)
        assert words in score.protocol
        assert ("no characters" in score.protocol) == (name == "bad")


def test_a_complaint_says_what_a_row_should_have(lm: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1 cannot be used; expected a JSON object with question, answer; got"):
        scores(lm, tmp_path, "nq", b'{"question": "who"}\n', "nq")
