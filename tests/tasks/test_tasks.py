"""Questions made from text and read from data sets, and how they are marked."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught import storage
from selftaught.errors import InputError
from selftaught.tasks import cloze, detokenizers, marking, modelling, passages, winograd
from selftaught.tasks.rows import read_lines
from selftaught.tasks.words import STOP_WORDS, sentences
from tests.reference import detokenizers as inverse

TABLE_3_ACCURACIES = [
    *((percent, 5153) for percent in (45.99, 55.48, 60.12, 63.24)),
    *((percent, 2000) for percent in (87.65, 92.35, 93.45, 93.30, 83.4, 87.1, 88.0, 89.05)),
    (70.70, 273),
]


def story(seed: int, count: int = 90) -> str:
    draw = random.Random(seed)
    things = [
        "letter",
        "basket",
        "lantern",
        "ribbon",
        "kettle",
        "window",
        "garden",
        "market",
        "harbour",
        "library",
        "ladder",
    ]
    names = ["Anna", "Peter", "Maria", "Clara", "Oscar", "Bruno", "Heidi", "Irene", "Julia", "Laura", "Simon"]
    return " ".join(
        f"On that day {draw.choice(names)} carried the {draw.choice(things)} to {draw.choice(names)} "
        f"beside the {draw.choice(things)}."
        for _ in range(count)
    )


def test_last_words_follow_their_rule() -> None:
    found = list(passages.make_passages([("a", story(1)), ("b", story(2))]))
    assert len(found) >= 8
    for passage in found:
        text = {"a": story(1), "b": story(2)}[passage.id.partition("@")[0]]
        assert passage.context + passage.word + "." in text
        assert len(passage.context.split()) == passages.CONTEXT_WORDS
        word = passage.word.strip()
        assert word.lower() in passage.context.lower().replace(".", "").split()
        assert word.lower() not in STOP_WORDS
        assert len(word) >= 4


def test_cloze_candidates_are_ten_of_one_class_and_one_is_right() -> None:
    questions = list(cloze.make_questions([("a", story(1)), ("b", story(2))], seed=3))
    assert len(questions) == 8
    for question in questions:
        answer = question.candidates[question.answer]
        assert len(set(question.candidates)) == 10
        assert {word[0].isupper() for word in question.candidates} == {answer[0].isupper()}
        assert all(word in question.contexts[0] for word in question.candidates)
        whole = question.contexts[0] + question.continuations[question.answer]
        assert whole in story(1) + story(2)
        assert len(sentences(whole)) == cloze.CONTEXT_SENTENCES + 1
    assert questions == list(cloze.make_questions([("a", story(1)), ("b", story(2))], seed=3))
    assert questions != list(cloze.make_questions([("a", story(1)), ("b", story(2))], seed=4))


def test_overlapping_questions_ask_about_different_sentences() -> None:
    apart = list(cloze.make_questions([("a", story(1))], seed=3))
    dense = list(cloze.make_questions([("a", story(1))], seed=3, step=5))
    assert (len(apart), len(dense)) == (4, 14)
    assert len({question.continuations[question.answer] + question.contexts[0][-60:] for question in dense}) == 14
    assert apart[0] == dense[0]


def test_the_place_of_the_answer_says_nothing() -> None:
    texts = [(str(seed), story(seed)) for seed in range(40)]
    places = [question.answer for question in cloze.make_questions(texts, seed=1)]
    assert max(places.count(place) for place in range(10)) < 2.2 * len(places) / 10


@pytest.mark.parametrize(
    ("tokenised", "text"),
    [
        ("He paid 5 @,@ 000 dollars . \n", "He paid 5,000 dollars.\n"),
        ("a well @-@ known one , she said : yes ; no ! \n", "a well-known one, she said: yes; no!\n"),
        ("the ( quick ) fox [ 1 ]\n", "the (quick) fox [1]\n"),
        ('he said " go on " twice\n', 'he said "go on" twice\n'),
        (" = = History = = \n", "\x20== History ==\n"),
        ("the dog 's tail\n", "the dog's tail\n"),
        ("at 5 @.@ 5 ° north\n", "at 5.5°north\n"),
    ],
)
def test_megatrons_rules(tokenised: str, text: str) -> None:
    assert detokenizers.megatron(tokenised) == text


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("Smith 's well @-@ known dog , one of 5 @,@ 000 .", "Smith's well-known dog, one of 5,000."),
        ('he said " go on " ( 4 @.@ 5 % ) ; then : no !', 'he said "go on" (4.5%); then: no!'),
        ("= = Early life = =", "== Early life =="),
        ("the dogs ' tails , ' all of them ' , she said", "the dogs' tails, 'all of them', she said"),
        ("don 't ask Col. A. Smith of the U.S. .", "don't ask Col. A. Smith of the U.S.."),
        ("<unk> 's AC / DC @-@ like $ 5", "<unk>'s AC/DC-like $5"),
        ("he chose vitamin A .", "he chose vitamin A ."),
        ("an odd second- hand", "an odd \\second- hand"),
    ],
)
def test_wikitext_is_written_as_people_write(tokens: str, text: str) -> None:
    assert detokenizers.wikitext(tokens.split()).text == text
    assert inverse.tokens(text, detokenizers.wikitext) == tokens.split()


def test_news_keeps_what_its_tokeniser_kept_together() -> None:
    line = 'NEW YORK ( AP ) - " I don \'t , " said the 20-year-old , paid $ 5,000 by U.S. firms .'
    tokens = line.split()
    text = 'NEW YORK (AP) - "I don\'t," said the 20-year-old, paid $5,000 by U.S. firms.'
    assert detokenizers.news(tokens).text == text
    assert inverse.tokens(text, detokenizers.news) == tokens


TOKEN = st.text(st.sampled_from("ab1.,-'\"@\\/=<>$%(é°"), min_size=1, max_size=5) | st.sampled_from(
    ["@-@", "@,@", "@.@", "<unk>", "'s", "St.", "U.S.", "=", '"', "'", "5", "word", ".", ",", "\\"]
)


@given(st.lists(TOKEN, max_size=12))
def test_invertible_detokenisers_can_be_inverted(tokens: list[str]) -> None:
    for join in (detokenizers.wikitext, detokenizers.news):
        line = join(tokens)
        assert inverse.tokens(line.text, join) == tokens
        assert line.escaped <= len(tokens)


def test_real_text_is_inverted_with_few_marks(shared_data: Path) -> None:
    for file, join in (
        ("wikitext2/wiki.test.tokens", detokenizers.wikitext),
        ("lm1b/1b_benchmark.test.tokens", detokenizers.news),
    ):
        lines = [line.split() for line in read_lines(shared_data / "zeroshot" / file, limit=1500)]
        found = [join(line) for line in lines]
        assert [inverse.tokens(line.text, join) for line in found] == lines
        assert sum(line.escaped for line in found) < 0.003 * sum(map(len, lines))


def test_penn_treebanks_spacing_is_undone() -> None:
    assert (
        detokenizers.close_up("`` I do n't , '' said Tom -LRB- he 's ten -RRB- .")
        == "\"I don't,\" said Tom (he's ten)."
    )


def test_marks_and_their_errors() -> None:
    mark = marking.accuracy([True] * 30 + [False] * 70)
    assert (mark.value, mark.n) == (0.3, 100)
    assert mark.error == pytest.approx(math.sqrt(0.3 * 0.7 / 100))
    even = marking.ratio([2.0, 4.0], [1, 2])
    assert (even.value, even.error) == (2.0, 0.0)
    assert marking.perplexity(even).value == pytest.approx(math.exp(2))
    assert marking.bits(even).value == pytest.approx(2 / math.log(2))


def test_the_ratios_error_is_the_spread_of_repeated_draws() -> None:
    draw, values, errors = random.Random(1), [], []
    for _ in range(400):
        units = [draw.randint(50, 150) for _ in range(60)]
        mark = marking.ratio([unit * draw.gauss(1, 0.3) for unit in units], units)
        values.append(mark.value)
        errors.append(mark.error)
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    assert sum(errors) / len(errors) == pytest.approx(spread, rel=0.1)


def test_texts_are_chosen_by_seed_up_to_the_budget() -> None:
    texts = [(str(number), "é" * 50) for number in range(30)]
    chosen = modelling.choose_texts(texts, most_bytes=1000, seed=1)
    assert [text.units for text in chosen] == [100] * 10
    assert {text.id for text in chosen} != {text.id for text in modelling.choose_texts(texts, most_bytes=1000, seed=2)}


def test_real_lambada(shared_data: Path) -> None:
    """Facts stated in the protocol, part 2: 5,153 items; 19 to 21 % of the answers are not in the context."""
    found = passages.read_lambada(shared_data / "zeroshot")
    assert len(found) == 5153
    absent = sum(one.word.strip().lower() not in one.context.lower() for one in found) / len(found)
    assert 0.1 < absent < 0.22
    assert all(one.context.startswith("\n") and one.word.startswith(" ") for one in found)
    assert not any("“" in one.context for one in found)


def wiki(tmp_path: Path, text: str = " \n = Title = \n \n The <unk> cost 5 @,@ 000 . \n") -> Path:
    storage.write_text(tmp_path / "wikitext2" / "wiki.test.tokens", text)
    return tmp_path / "wikitext2" / "wiki.test.tokens"


@pytest.mark.parametrize(
    ("choices", "text", "units"),
    [
        ({}, "\n= Title =\n\nThe <unk> cost 5,000.\n", 14),
        ({"units": "words"}, "\n= Title =\n\nThe <unk> cost 5,000.\n", 10),
        ({"unknown": "replace"}, "\n= Title =\n\nThe ? cost 5,000.\n", 14),
        ({"detokeniser": "none"}, " \n = Title = \n \n The <unk> cost 5 @,@ 000 . \n", 14),
        ({"detokeniser": "megatron"}, "\n= Title =\n\nThe <unk> cost 5,000.\n", 14),
        ({"limit": 2}, "\n= Title =\n", 5),
    ],
)
def test_every_choice_about_wikitext(tmp_path: Path, choices: dict[str, Any], text: str, units: int) -> None:
    found = modelling.read_wikitext(wiki(tmp_path), modelling.Reading(**choices))
    assert [(one.text, one.units) for one in found.texts] == [(text, units)]
    assert f"({units})" in found.words


def test_sentences_of_news_joined_or_alone(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    storage.write_text(path, "One , two .\nThree !\n")
    joined = modelling.read_news(path, modelling.Reading())
    assert [(one.text, one.units) for one in joined.texts] == [("One, two.\nThree!\n", 8)]
    alone = modelling.read_news(path, modelling.Reading(), alone=True)
    assert [(one.text, one.units) for one in alone.texts] == [("One, two.", 5), ("Three!", 3)]
    with pytest.raises(InputError, match="no rules for this data set"):
        modelling.read_news(path, modelling.Reading(detokeniser="megatron"))


def test_enwik8_is_cut_between_characters(tmp_path: Path) -> None:
    storage.write_bytes(tmp_path / "part", "éa\nb".encode()[1:])
    (text,) = modelling.read_enwik8(tmp_path / "part").texts
    assert (text.text, text.units) == ("a\nb", 3)
    (text,) = modelling.read_enwik8(tmp_path / "part", limit=1).texts
    assert text.text == "a\n"


def test_real_data_sets_have_the_stated_number_of_units(shared_data: Path) -> None:
    for file in (modelling.WIKITEXT2_FILE, modelling.WIKITEXT103_FILE):
        found = modelling.read_wikitext(shared_data / "zeroshot" / file, modelling.Reading())
        assert [text.units for text in found.texts] == [245_569]


OFFICIAL = "".join(f"{number} Sentence {number} , he said .\n" for number in range(1, 21)) + (
    "21 `` Then XXXXX went on , '' she said .\tTom\t\tTom|Ann|Bob|Ann\n\n"
)


def test_official_cbt_files(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "cbt" / "cbtest_NE_valid_2000ex.txt", OFFICIAL * 2)
    storage.write_text(tmp_path / "cbt" / "cbtest_NE_train.txt", "not read")
    ((category, questions),) = cloze.read_cbt(tmp_path).items()
    assert (category, len(questions)) == ("NE", 2)
    assert questions[0].contexts[0].endswith('Sentence 20, he said. "Then')
    assert questions[0].continuations == (
        ' Tom went on," she said.',
        ' Ann went on," she said.',
        ' Bob went on," she said.',
    )
    assert questions[0].answer == 0


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("lambada/lambada_test.jsonl", '{"text": "two words"}\n\n{"text": "one"}\n', "line 3"),
        ("lambada/lambada_test.jsonl", '{"text": "two words"}\n{"text": \n', "line 2"),
        ("cbt/cbtest_V_valid_2000ex.txt", OFFICIAL.replace("\tTom\t", "\tEve\t"), "line 21"),
        ("cbt/cbtest_V_valid_2000ex.txt", OFFICIAL.replace("XXXXX", "Tom"), "line 21"),
        ("cbt/cbtest_V_valid_2000ex.txt", OFFICIAL.replace("7 Sentence 7", "9 Sentence 7"), "line 7"),
        ("cbt/cbtest_V_valid_2000ex.txt", OFFICIAL + "1 One .\n", "ends within"),
        ("wikitext2/wiki.test.tokens", " \n \n", "no text"),
        (
            "winograd/wsc273.jsonl",
            '{"id": "1", "candidates": ["a", "b"], "label": 2, "sentences": ["x", "y"]}\n',
            "line 1",
        ),
        ("winograd/wsc273.jsonl", "", "holds nothing"),
    ],
)
def test_malformed_data_sets_are_named_by_line(tmp_path: Path, file: str, text: str, line: str) -> None:
    storage.write_text(tmp_path / file, text)
    with pytest.raises(InputError, match=line) as raised:
        passages.read_lambada(tmp_path) if "lambada" in file else None
        cloze.read_cbt(tmp_path) if "cbt" in file else None
        winograd.read_schemas(tmp_path / file, "full") if "winograd" in file else None
        modelling.read_wikitext(tmp_path / file, modelling.Reading()) if "wikitext" in file else None
    assert str(tmp_path / file) in raised.value.line()


def test_text_that_is_not_utf8_is_named_by_line(tmp_path: Path) -> None:
    storage.write_bytes(tmp_path / "wiki.test.tokens", b"good\nb\xe9d\n")
    with pytest.raises(InputError, match="line 2"):
        modelling.read_wikitext(tmp_path / "wiki.test.tokens", modelling.Reading())


def test_partial_scoring_of_a_schema_that_ends_in_the_name(tmp_path: Path) -> None:
    row = {"id": "1", "candidates": ["Anna", "Peter"], "label": 0, "sentences": ["it was Anna", "it was Peter"]}
    storage.write_jsonl(tmp_path / "w", [row])
    (schema,) = winograd.read_schemas(tmp_path / "w", "partial")
    assert schema.continuations == ("it was Anna", "it was Peter")


def test_the_loss_of_a_long_text_by_its_own_units() -> None:
    mark = marking.per_unit([20.0, 10.0], [10, 10], units=15)
    assert (mark.value, mark.n) == (2.0, 15)
    assert mark.error == pytest.approx(marking.ratio([20.0, 10.0], [10, 10]).error * 20 / 15)
    assert math.isfinite(marking.perplexity(marking.ratio([1e6], [1])).value)


@pytest.mark.parametrize(("percent", "questions"), TABLE_3_ACCURACIES)
def test_printed_accuracies_are_of_whole_questions(percent: float, questions: int) -> None:
    """LAMBADA: k of 5,153; CBT: k of 2,000 (so the validation set); Winograd: 193 of 273."""
    right = round(percent / 100 * questions)
    assert round(100 * marking.accuracy([True] * right + [False] * (questions - right)).value, 2) == percent


def test_real_winograd(shared_data: Path) -> None:
    path = shared_data / "zeroshot" / winograd.WSC273_FILE
    partial, full = winograd.read_schemas(path, "partial"), winograd.read_schemas(path, "full")
    assert len(partial) == len(full) == 273
    for schema in partial:
        assert len(set(schema.continuations)) == 1
        assert len(set(schema.contexts)) == len(schema.candidates)
    assert partial[0].continuations[0] == " feared violence."
    assert full[0].contexts == ("", "")


def test_real_cbt(shared_data: Path) -> None:
    found = cloze.read_cbt(shared_data / "zeroshot")
    assert {name: len(questions) for name, questions in found.items()} == {"CN": 3, "NE": 8, "P": 3, "V": 3}
    assert all(len(question.candidates) == 10 for questions in found.values() for question in questions)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("the company 's <unk> did n't say it 'll pay $ N", "the company's <unk> didn't say it'll pay $N"),
        ("traders ' fees ca n't rise N N", "traders' fees can't rise N N"),
        ("an o'clock", "an \\o'clock"),
    ],
)
def test_the_penn_treebank_is_written_as_people_write(tokens: str, text: str) -> None:
    assert detokenizers.penn(tokens.split()).text == text
    assert inverse.tokens(text, detokenizers.penn) == tokens.split()


@given(st.lists(TOKEN | st.sampled_from(["n't", "can", "N", "#"]), max_size=12))
def test_the_penn_treebank_can_be_had_back(tokens: list[str]) -> None:
    assert inverse.tokens(detokenizers.penn(tokens).text, detokenizers.penn) == tokens


def test_penn_treebank_and_text8(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "ptb.txt", " the <unk> 's fee is $ N \n it does n't rise N N \n")
    found = modelling.read_penn(tmp_path / "ptb.txt", modelling.Reading())
    assert [(one.text, one.units) for one in found.texts] == [("the <unk>'s fee is $N\nit doesn't rise N N\n", 15)]
    found = modelling.read_penn(tmp_path / "ptb.txt", modelling.Reading(detokeniser="megatron", units="words"))
    assert [(one.text, one.units) for one in found.texts] == [(" the <unk>'s fee is $ N\nit doesn't rise1 N\n", 13)]
    storage.write_text(tmp_path / "text8", " anarchism originated as a term")
    found = modelling.read_text8(tmp_path / "text8")
    assert [(one.text, one.units) for one in found.texts] == [(" anarchism originated as a term", 31)]
    storage.write_bytes(tmp_path / "text8", b"caf\xe9")
    with pytest.raises(InputError, match="text8"):
        modelling.read_text8(tmp_path / "text8")


def test_what_units_cost_by_their_frequency() -> None:
    assert modelling.unigram("aabc") == pytest.approx(1.5 * math.log(2))
    assert modelling.unigram(b"aaaa") == modelling.unigram("") == 0


def test_the_most_frequent_word_of_a_passage() -> None:
    assert passages.frequent_word("The cat saw the dog, and the dog saw the Cat.") == "saw"
    assert passages.frequent_word("he and she") == ""


def test_megatrons_rules_are_applied_one_after_another() -> None:
    assert detokenizers.megatron("Saginaw , Mich. , and so on . , or") == "Saginaw, Mich., and so on., or"


def test_sentences_of_the_book_test_are_joined_by_blanks_or_newlines(tmp_path: Path) -> None:
    row = {
        "task": "CN", "context": [f"It 's {number} ." for number in range(20)],
        "question": "The XXXXX ran .", "answer": "cat", "candidates": ["cat", "dog", "cat"],
    }  # fmt: skip
    storage.write_jsonl(tmp_path / "cbt" / "cbt_CN_examples.jsonl", [row])
    for join, sign in (("blank", " "), ("newline", "\n")):
        (one,) = cloze.read_cbt(tmp_path, join)["CN"]  # type: ignore[arg-type]
        assert one.contexts[0] == sign.join(f"It's {number}." for number in range(20)) + f"{sign}The"
        assert one.continuations == (" cat ran.", " dog ran.")
