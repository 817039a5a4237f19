"""Answers in words: the official rules of SQuAD and CoQA, conversations laid out, confidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from selftaught import storage
from selftaught.errors import InputError
from selftaught.tasks import answers, conversations, questions
from selftaught.tasks.conversations import Conversation, Turn

NORMAL = [
    ("The White  House!", "white house"),
    ("an apple, a pear and the theme", "apple pear and theme"),
    ("U.S.A.", "usa"),
    ("don't", "dont"),
    ("a", ""),
    ("\u2019tis \u2014 so", "\u2019tis \u2014 so"),  # only ASCII punctuation goes
]
F1 = [
    ("white", "white", 1.0),
    ("a white cat", "the white kitten", 0.5),
    ("to the barn near a farm house", "in a barn near a farm house", 0.8),
    ("the the the", "cat", 0.0),
    ("yes yes yes", "yes", 0.5),
    ("", "", 1.0),
    ("the", "", 1.0),
    ("", "cat", 0.0),
    ("Mr. Smith's dog", "mr smiths dog", 1.0),
]


@pytest.mark.parametrize(("text", "expected"), NORMAL)
def test_normal_form(text: str, expected: str) -> None:
    assert answers.normal(text) == expected


@pytest.mark.parametrize(("answer", "reference", "expected"), F1)
def test_f1_of_words(answer: str, reference: str, expected: float) -> None:
    assert answers.f1(answer, reference) == pytest.approx(expected)
    assert answers.f1(reference, answer) == pytest.approx(expected)


def test_coqas_score_leaves_each_reference_out_in_turn() -> None:
    """Worked by hand: against white cat / cat / the dog / dog the F1 values of `cat` are 2/3, 1, 0 and 0."""
    references = ["white cat", "cat", "the dog", "dog"]
    assert answers.left_out_f1("cat", references) == pytest.approx((1 + 2 / 3 + 1 + 1) / 4)
    assert answers.left_out_exact("cat", references) == pytest.approx(3 / 4)
    assert answers.left_out_f1("cat", ["cat"]) == 1.0
    assert answers.best_f1("cat", references) == 1.0
    assert answers.best_exact("a Dog.", references)


STORY = Conversation(
    id="1",
    source="mctest",
    story=" One two three four.\nFive six. ",
    turns=[Turn(question=f"q{number}?", answers=[f"a{number}", "b"]) for number in range(3)],
)


def laid(number: int, room: int, history: tuple[str, ...] = ("a0", "a1")) -> conversations.Laid:
    return conversations.lay(
        STORY,
        number,
        history,
        room=room,
        length=lambda text: len(text.split()),
        beginning=lambda text, tokens: " ".join(text.split()[:tokens]),
    )


def test_a_conversation_is_laid_out_as_the_paper_prints_it() -> None:
    text = "One two three four.\nFive six.\n\nQ: q0?\nA: a0\nQ: q1?\nA: a1\nQ: q2?\nA:"
    assert laid(2, 99) == conversations.Laid(prompt=text, turns_left_out=0, story_cut=False)
    assert laid(0, 99).prompt == "One two three four.\nFive six.\n\nQ: q0?\nA:"
    assert laid(1, 99).prompt.startswith(laid(0, 99).prompt)
    assert laid(1, 99, ("mine",)).prompt.endswith("Q: q0?\nA: mine\nQ: q1?\nA:")


def test_what_has_no_room_is_left_out_oldest_turns_first() -> None:
    """The whole has 6 + 4 + 4 + 3 = 17 words."""
    one = laid(2, 14)
    assert (one.turns_left_out, one.story_cut) == (1, False)
    assert one.prompt == "One two three four.\nFive six.\n\nQ: q1?\nA: a1\nQ: q2?\nA:"
    one = laid(2, 7)
    assert (one.turns_left_out, one.story_cut) == (2, True)
    assert one.prompt == "One two three four.\n\nQ: q2?\nA:"
    assert laid(2, 1).prompt.endswith("Q: q2?\nA:")


@pytest.mark.parametrize(
    "change", [{"story": "  "}, {"turns": []}, {"turns": [{"question": "q", "answers": []}]}, {"id": 3}]
)
def test_malformed_conversations_are_named(tmp_path: Path, change: dict[str, object]) -> None:
    good = {"id": "1", "source": "s", "story": "t", "turns": [{"question": "q", "answers": ["a"]}]}
    storage.write_jsonl(tmp_path / conversations.COQA_FILE, [good, {**good, "id": "2", **change}])
    with pytest.raises(InputError, match="line 2"):
        conversations.read_coqa(tmp_path)
    storage.write_jsonl(tmp_path / conversations.COQA_FILE, [good, good])
    with pytest.raises(InputError, match="an id of its own"):
        conversations.read_coqa(tmp_path)


def test_coqa_as_published(tmp_path: Path) -> None:
    def said(*texts: str) -> list[dict[str, object]]:
        return [{"input_text": text, "turn_id": number, "span_text": ""} for number, text in enumerate(texts, start=1)]

    story = {
        "id": "1",
        "source": "s",
        "story": "t",
        "name": "f",
        "questions": said("q", "p"),
        "answers": said("a", "b"),
    }
    others = {"0": said("c", "d"), "1": said("e", "f")}
    path = tmp_path / conversations.COQA_FILES[1]
    storage.write_json(path, {"version": "1.0", "data": [{**story, "additional_answers": others}]})
    (found,) = conversations.read_coqa(tmp_path)
    assert [(turn.question, turn.answers) for turn in found.turns] == [("q", ["a", "c", "e"]), ("p", ["b", "d", "f"])]
    storage.write_json(path, {"data": [story, {**story, "id": "2", "answers": said("a")}]})
    with pytest.raises(InputError, match="story 2"):
        conversations.read_coqa(tmp_path)
    storage.write_json(path, [story])
    with pytest.raises(InputError, match="CoQA as published"):
        conversations.read_coqa(tmp_path)


def test_real_coqa(shared_data: Path) -> None:
    found = conversations.read_coqa(shared_data / "zeroshot")
    assert (len(found), sum(len(one.turns) for one in found)) == (500, 7983)
    # People among themselves: the published agreement is 88.8 F1; each person against the other three is what is computed.
    human = [answers.left_out_f1(turn.answers[0], turn.answers) for one in found for turn in one.turns]
    assert 0.85 < sum(human) / len(human) < 1.0


def quiz_folder(tmp_path: Path, *, train: bool) -> Path:
    rows = [{"question": f"who is number {number}", "answer": [f"n{number % 3}", "x"]} for number in range(12)]
    storage.write_jsonl(tmp_path / questions.NQ_FILE, rows)
    if train:
        storage.write_jsonl(tmp_path / questions.NQ_EXAMPLES_FILE, rows[:8])
    return tmp_path


def test_examples_are_not_asked(tmp_path: Path) -> None:
    quiz = questions.read_questions(quiz_folder(tmp_path, train=False), examples=4, seed=1)
    assert (len(quiz.asked), len(quiz.examples), quiz.trained) == (8, 4, False)
    assert not {one.id for one in quiz.asked} & {one.id for one in quiz.examples}
    assert quiz == questions.read_questions(tmp_path, examples=4, seed=1)
    assert quiz.examples != questions.read_questions(tmp_path, examples=4, seed=2).examples
    quiz = questions.read_questions(quiz_folder(tmp_path, train=True), examples=4, seed=1)
    assert (len(quiz.asked), len(quiz.examples), quiz.trained) == (12, 4, True)
    with pytest.raises(InputError, match="too few"):
        questions.read_questions(tmp_path, examples=8, seed=1)


def test_a_quiz_is_laid_out_in_lines(tmp_path: Path) -> None:
    quiz = questions.read_questions(quiz_folder(tmp_path, train=False), examples=1, seed=1)
    (one,) = quiz.examples
    assert questions.prompt(quiz.examples, "why") == f"Q: {one.question}\nA: {one.answers[0]}\nQ: why\nA:"


@pytest.mark.parametrize(
    "row", [{"question": " ", "answer": ["a"]}, {"question": "q", "answer": []}, {"question": "q"}]
)
def test_malformed_questions_are_named(tmp_path: Path, row: dict[str, object]) -> None:
    storage.write_jsonl(tmp_path / questions.NQ_FILE, [{"question": "q", "answer": ["a"]}, row])
    with pytest.raises(InputError, match="line 2"):
        questions.read_questions(tmp_path, examples=0, seed=1)


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("who wrote it", "who"),
        ("How many states are there?", "how many"),
        ("in which year did it end", "which"),
        ("how do they do what they do", "how"),
        ("name the capital", ""),
        ("the whole story", ""),
    ],
)
def test_question_words(question: str, word: str) -> None:
    assert questions.question_word(question) == word


def test_frequent_answers(tmp_path: Path) -> None:
    known = questions.read_questions(quiz_folder(tmp_path, train=False), examples=0, seed=1).known
    known += [questions.Trivia(id="y", question="when is it", answers=("The Day.",))]
    assert questions.frequent_answers(known) == {"who": "n0", "when": "day"}


def test_confidence_worked_by_hand() -> None:
    sure = [0.05, 0.1, 0.95, 1.0, 0.15]
    right = [False, True, True, False, False]
    curve = questions.reliability(sure, right)
    assert [(one.low, one.answers, one.accuracy) for one in curve] == [(0.0, 2, 0.5), (0.1, 1, 0.0), (0.9, 2, 0.5)]
    assert curve[0].confidence == pytest.approx(0.075)
    expected = (2 * 0.425 + 0.15 + 2 * 0.475) / 5
    assert questions.calibration_error(curve) == pytest.approx(expected)
    assert questions.most_confident(sure) == [3]
    assert questions.most_confident([0.5] * 250) == [0, 1]


def test_real_questions(shared_data: Path) -> None:
    quiz = questions.read_questions(shared_data / "zeroshot", examples=5, seed=1)
    assert len(quiz.asked) == 3605
