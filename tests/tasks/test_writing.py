"""Sentences, summaries and translations, and what marks them."""

from __future__ import annotations

import random
import sys
from collections import Counter
from importlib.metadata import version
from math import exp, log
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught import storage
from selftaught.errors import InputError, MissingExtraError
from selftaught.tasks import summaries, translation
from selftaught.tasks.sentences import split_sentences
from selftaught.tasks.summaries import Article, Rouge, RougeScorer
from selftaught.tasks.translation import BleuScorer
from tests.reference.multi_bleu import multi_bleu

SPLIT = [
    ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
    ("Mr. Smith met J. Doe Jr. in St. Paul. He left.", ["Mr. Smith met J. Doe Jr. in St. Paul.", "He left."]),
    ("The U.S. Congress met. He left the U.S. He came.", ["The U.S. Congress met.", "He left the U.S.", "He came."]),
    ("At 5 p.m. ET it began. It cost $3.5 million.", ["At 5 p.m. ET it began.", "It cost $3.5 million."]),
    ('"Go on." "No," he said. (He did.) Then', ['"Go on."', '"No," he said.', "(He did.)", "Then"]),
    ("So did I. We left... and came.", ["So did I.", "We left... and came."]),
    ("No. 5 won. No. He lost.", ["No. 5 won.", "No.", "He lost."]),
    ("first line\nsecond line. end", ["first line", "second line. end"]),
    ("Il dort. Et M. Dupont part.", ["Il dort.", "Et M. Dupont part."]),
    (" \n ", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "expected"), SPLIT)
def test_sentences(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


@given(st.text(st.sampled_from("aB. !?\"'\nMr")))
def test_no_word_is_lost_between_sentences(text: str) -> None:
    assert " ".join(split_sentences(text)).split() == text.split()


ARTICLE = Article(
    id="1",
    article="One cat sat. Two dogs ran. Three birds flew. Four men slept.",
    highlights="A cat sat .\nMen slept .",
)


def test_baselines_are_sentences_of_the_article() -> None:
    assert summaries.summary_of(ARTICLE.article) == ["One cat sat.", "Two dogs ran.", "Three birds flew."]
    drawn = summaries.random_three(ARTICLE, seed=1)
    sentences = split_sentences(ARTICLE.article)
    assert len(drawn) == 3
    assert [sentences.index(one) for one in drawn] == sorted(sentences.index(one) for one in drawn)
    assert drawn == summaries.random_three(ARTICLE, seed=1)
    assert len({tuple(summaries.random_three(ARTICLE, seed=seed)) for seed in range(20)}) > 1
    short = Article(id="2", article="One cat sat.", highlights="x")
    assert summaries.random_three(short, seed=1) == ["One cat sat."]


def laid(room: int, hint: str = summaries.HINT, *, last: bool = False) -> tuple[str, bool]:
    return summaries.prompt(
        ARTICLE,
        hint=hint,
        room=room,
        length=lambda text: len(text.split()),
        part=lambda text, tokens: " ".join(text.split()[-tokens:] if last else text.split()[:tokens]),
    )


def test_the_hint_follows_what_fits_of_the_article() -> None:
    assert laid(99) == (f"{ARTICLE.article}\nTL;DR:", False)
    assert laid(99, "") == (ARTICLE.article, False)
    assert laid(5) == ("One cat sat. Two\nTL;DR:", True)
    assert laid(5, last=True) == ("flew. Four men slept.\nTL;DR:", True)
    assert laid(0)[0] == summaries.HINT


def f1_of_ngrams(ours: str, theirs: str, n: int) -> float:
    one, other = (Counter(zip(*(text.split()[first:] for first in range(n)), strict=False)) for text in (ours, theirs))
    return 2 * (one & other).total() / (one.total() + other.total())


def test_rouge_worked_by_hand() -> None:
    """Union of longest common subsequences, sentence by sentence: `cat sat` of one highlight, `men slept` of the other."""
    found = RougeScorer().score(["one cat sat", "four men slept"], "a cat sat\nmen slept")
    assert found.rouge_1 == pytest.approx(f1_of_ngrams("one cat sat four men slept", "a cat sat men slept", 1))
    assert found.rouge_2 == pytest.approx(f1_of_ngrams("one cat sat four men slept", "a cat sat men slept", 2))
    assert found.rouge_l == pytest.approx(2 * (4 / 6) * (4 / 5) / (4 / 6 + 4 / 5))
    crossed = RougeScorer().score(["four men slept", "one cat sat"], "a cat sat\nmen slept")
    assert crossed.rouge_l == pytest.approx(found.rouge_l)
    assert RougeScorer().score(["he runs"], "he was running") == RougeScorer().score(["he run"], "he was runs")
    assert RougeScorer().score([], "a cat") == Rouge(rouge_1=0, rouge_2=0, rouge_l=0)


@pytest.mark.parametrize(
    ("one", "two", "long", "mean"),
    [
        (29.34, 8.27, 26.58, 21.40),
        (40.38, 17.66, 36.62, 31.55),
        (28.78, 8.63, 25.52, 20.98),
        (21.58, 4.03, 19.47, 15.03),
    ],
)
def test_the_papers_mean_of_three(one: float, two: float, long: float, mean: float) -> None:
    assert Rouge(rouge_1=one, rouge_2=two, rouge_l=long).rouge_average == pytest.approx(mean, abs=0.006)


def test_the_first_sentences_of_real_articles(shared_data: Path) -> None:
    """The 500 articles are CNN's, for which the published score is 29.1, 11.1, 25.9 (Narayan et al. 2018)."""
    articles, scorer = summaries.read_articles(shared_data / "zeroshot"), RougeScorer()
    assert len(articles) == 500
    found = [scorer.score(summaries.summary_of(one.article), one.highlights) for one in articles[::5]]
    means = [100 * sum(getattr(one, f"rouge_{name}") for one in found) / len(found) for name in "12l"]
    assert means == pytest.approx([29.1, 11.1, 25.9], abs=4)


@pytest.mark.parametrize("change", [{"article": ""}, {"highlights": " "}, {"id": "1"}, {"highlights": 3}])
def test_malformed_articles_are_named(tmp_path: Path, change: dict[str, object]) -> None:
    good = {"id": "1", "article": "a", "highlights": "b"}
    storage.write_jsonl(tmp_path / summaries.CNN_DM_FILES[1], [good, {**good, "id": "2", **change}])
    with pytest.raises(InputError, match="line 2"):
        summaries.read_articles(tmp_path)


def test_the_whole_test_set_goes_before_a_part(tmp_path: Path) -> None:
    for file, count in zip(summaries.CNN_DM_FILES, (3, 1), strict=True):
        rows = [{"id": str(number), "article": "a", "highlights": "b"} for number in range(count)]
        storage.write_jsonl(tmp_path / file, rows)
    assert len(summaries.read_articles(tmp_path)) == 3


def pairs(tmp_path: Path, english: str, french: str, file: str = translation.TEST_FILE) -> Path:
    storage.write_text(tmp_path / f"{file}.en", english)
    storage.write_text(tmp_path / f"{file}.fr", french)
    return tmp_path


def test_example_pairs_are_not_asked(tmp_path: Path) -> None:
    data = pairs(tmp_path, "a\nb\nc\nd\n", "A\nB\nC\nD\n")
    read = translation.read_sentences(data, "en", examples=2, seed=1)
    assert len(read.asked) == len(read.examples) == 2
    assert {one.source for one in read.asked + read.examples} == set("abcd")
    assert all(one.target == one.source.upper() for one in read.asked)
    back = translation.read_sentences(data, "fr", examples=2, seed=1)
    assert [one.target for one in back.asked] == [one.source for one in read.asked]
    one, two = read.examples
    shown = translation.prompt(read.examples, "x")
    assert shown == f"{one.source} = {one.target}\n{two.source} = {two.target}\nx ="
    pairs(tmp_path, "e\nf\ng\n", "E\nF\nG\n", translation.EXAMPLES_FILE)
    read = translation.read_sentences(data, "en", examples=2, seed=1)
    assert len(read.asked) == 4
    assert {one.source for one in read.examples} < set("efg")
    with pytest.raises(InputError, match="too few"):
        translation.read_sentences(data, "en", examples=3, seed=1)


@pytest.mark.parametrize(
    ("english", "french", "message"),
    [("a\nb\n", "A\n", "2 and 1 lines"), ("a\n\nc\n", "A\nB\nC\n", "line 2"), ("\n", "A\n", "no text")],
)
def test_sentences_that_do_not_fit_together(tmp_path: Path, english: str, french: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        translation.read_sentences(pairs(tmp_path, english, french), "en", examples=0, seed=1)


def test_files_that_are_missing_or_no_text(tmp_path: Path) -> None:
    pairs(tmp_path, "a\n", "A\n")
    storage.write_bytes(tmp_path / f"{translation.TEST_FILE}.fr", "caf\xe9\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        translation.read_sentences(tmp_path, "en", examples=0, seed=1)
    (tmp_path / f"{translation.TEST_FILE}.fr").unlink()
    with pytest.raises(InputError, match="cannot read"):
        translation.read_sentences(tmp_path, "en", examples=0, seed=1)


def test_a_translation_is_the_first_sentence() -> None:
    assert translation.translation_of(" Le chat dort. Il mange.") == "Le chat dort."
    assert translation.translation_of("  ") == ""


def test_bleu_worked_by_hand() -> None:
    """One sentence of six words, five of them right: 5/6, 3/5, 2/4 and 1/3 of the n-grams; another one is all right."""
    ours = ["the cat sat on a mat", "a dog barked at the moon"]
    theirs = ["the cat sat on the mat", "a dog barked at the moon"]
    found = BleuScorer().score(ours, theirs)
    precisions = [11 / 12, (3 + 5) / 10, (2 + 4) / 8, (1 + 3) / 6]
    assert found.value == pytest.approx(100 * exp(sum(map(log, precisions)) / 4))
    assert "tok:13a" in found.signature
    assert found.error > 0
    assert BleuScorer().score(theirs, theirs).value == pytest.approx(100)
    short = BleuScorer().score(["the cat sat on the"], ["the cat sat on the mat now"])
    assert short.value == pytest.approx(100 * exp(1 - 7 / 5))
    assert BleuScorer().score(["", ""], theirs).value == 0


@pytest.mark.parametrize("language", ["en", "fr"])
def test_bleu_of_tokenised_text_is_that_of_counting(language: translation.Language) -> None:
    draw = random.Random(1)
    words = ["the", "cat", "sat", "on", "a", "mat", ",", "and", "dogs", "bark", "."]
    for spread in (3, 6, 11):
        ours, theirs = (
            [" ".join(draw.choices(words[:spread], k=draw.randrange(1, 12))) for _ in range(9)] for _ in range(2)
        )
        found = BleuScorer(language).score(ours, theirs)
        assert found.value == pytest.approx(multi_bleu(ours, theirs))
    assert "tok:none|smooth:none" in found.signature
    assert f"sacremoses {version('sacremoses')}, {language}" in found.signature


def test_tokens_are_those_of_moses() -> None:
    assert BleuScorer("fr").parted('L\'homme dit "oui".') == 'L\' homme dit " oui " .'
    assert BleuScorer("en").parted("I don't, M. Smith.") == "I don 't , M. Smith ."
    assert BleuScorer().parted("I don't.") == "I don't."
    assert BleuScorer("en").score(["I don't, he said."], ["i don't, he said."]).value < 99  # case counts
    assert BleuScorer("en").score(["a b"], ["a b"]).value == 0  # no four words, and no smoothing


@pytest.mark.parametrize(
    ("module", "scorer"),
    [("rouge_score", RougeScorer), ("sacrebleu.metrics.bleu", BleuScorer), ("sacremoses", BleuScorer)],
)
def test_without_the_extra_the_install_line_is_told(module: str, scorer: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'selftaught\[evaluate\]'"):
        scorer()


def test_translation_as_published(tmp_path: Path) -> None:
    folder = tmp_path / "wmt14_en_fr"
    for part, language, last in (("src", "en", "caf&amp;e"), ("ref", "fr", "B\u00c9")):
        text = f'<doc docid="1">\n<seg id="1"> one </seg>\n<seg id="2">{last}</seg>\n</doc>\n'
        storage.write_text(folder / f"newstest2014-fren-{part}.{language}.sgm", text)
    read = translation.read_sentences(tmp_path, "en", examples=0, seed=1)
    assert [(one.source, one.target) for one in read.asked] == [("one", "one"), ("caf&e", "B\u00c9")]
    back = translation.read_sentences(tmp_path, "fr", examples=0, seed=1)
    assert [one.source for one in back.asked] == ["one", "B\u00c9"]
    storage.write_text(folder / "newstest2014-fren-src.en.sgm", "<doc></doc>")
    with pytest.raises(InputError, match="no sentences"):
        translation.read_sentences(tmp_path, "en", examples=0, seed=1)
