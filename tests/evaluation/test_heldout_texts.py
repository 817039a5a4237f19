"""Questions made from held-out documents are cut out again as they were asked, and split by what the training side holds."""

from __future__ import annotations

import json

import pytest

from selftaught import storage
from selftaught.cli.main import main
from selftaught.corpus.documents import Document, split_file
from selftaught.evaluation import heldout_texts
from selftaught.tasks import cloze, passages

SEEN = "The old keeper lit the lamp on the tower and counted ships until morning came for the keeper of the lamp."
"""A sentence of the training side."""


def sentences(theme: str, number: int) -> str:
    """As many sentences about a keeper; each differs from the others within any eight words."""
    words = (
        "lamp",
        "tower",
        "keeper",
        "morning",
        "harbour",
        "letter",
        "window",
        "garden",
        "winter",
        "bridge",
        "silver",
    )
    parts = []
    for at in range(number):
        chosen = [words[(at * 3 + step * (1 + at % 4)) % len(words)] for step in range(5)]
        parts.append(f"{theme.title()}{at} saw {theme}{at} the {' and the '.join(chosen)} near {chosen[0]}.")
    return " ".join(parts)


def lines_of(path):
    with storage.reading(path) as stream:
        return stream.readlines()


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    seen = " ".join(f"Day {at}. {SEEN}" for at in range(60))
    held = {"http://a.test/new@home": sentences("fresh", 70), "http://a.test/old": seen}
    storage.write_jsonl(split_file(folder, "train"), [Document(id="t", text=seen)])
    storage.write_jsonl(split_file(folder, "heldout"), [Document(id=name, text=text) for name, text in held.items()])
    return folder


def test_texts_are_those_that_were_asked(corpus):
    texts = [(row["id"], row["text"]) for row in map(json.loads, lines_of(split_file(corpus, "heldout")))]
    questions = list(cloze.make_questions(texts, seed=3, step=5))
    last = list(passages.make_passages(texts))
    assert min(len(questions), len(last)) >= 10
    wanted = {one.id: one for one in questions[::2]}
    found = dict(heldout_texts.asked("cloze", wanted.keys(), corpus))
    assert found.keys() == wanted.keys()
    for name, text in found.items():
        one = wanted[name]
        assert text == one.contexts[one.answer] + one.continuations[one.answer]
    chosen = {one.id: one.context + one.word for one in last[1::3]}
    assert dict(heldout_texts.asked("lastword", chosen.keys(), corpus)) == chosen
    assert dict(heldout_texts.asked("heldout", {texts[0][0]}, corpus)) == dict(texts[:1])


def test_the_verb_splits_them_by_an_index_of_the_training_side(corpus, tmp_path, lm, monkeypatch, capsys):
    monkeypatch.setattr("selftaught.inference.language_model.LanguageModel.load", lambda *_given, **_more: lm)
    (tmp_path / "model").mkdir()
    assert main(["overlap", "index", str(corpus), "--out", str(tmp_path / "index")]) == 0
    capsys.readouterr()
    words = ["evaluate", str(tmp_path / "model"), "heldout", "cloze", "lastword", "--corpus", str(corpus)]
    assert main([*words, "--out", str(tmp_path / "out"), "--overlap", str(tmp_path / "index"), "--json"]) == 0
    found = {(row["task"], row["metric"]): row for row in json.loads(capsys.readouterr().out)["by_overlap"]}
    assert found.keys() == {
        *(("heldout", "bits_per_byte"), ("cloze", "accuracy")),
        *(("lastword", "accuracy"), ("lastword", "perplexity")),
    }
    documents = found["heldout", "bits_per_byte"]
    assert (documents["without_n"], documents["within_n"]) == (1, 1)
    for task in ("cloze", "lastword"):
        rows = [json.loads(line) for line in lines_of(tmp_path / "out" / f"examples-{task}.jsonl")]
        assert {row["in_corpus"] > 0 for row in rows if row["example"].startswith("http://a.test/old")} <= {True}
        assert {row["in_corpus"] for row in rows if row["example"].startswith("http://a.test/new")} == {0}
        split = found[task, "accuracy"]
        assert split["without_n"] == sum(row["in_corpus"] == 0 for row in rows)
        assert split["without_n"] + split["within_n"] == len(rows)
