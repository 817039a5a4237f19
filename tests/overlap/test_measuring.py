"""Overlap and copied spans of texts in which both are planted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.corpus import documents
from selftaught.corpus.documents import Document, FunnelRow
from selftaught.errors import InputError
from selftaught.overlap.measuring import measure_overlap
from selftaught.overlap.plan import OverlapSettings
from selftaught.overlap.spans import longest_copies
from selftaught.report.records import CopiedSpan, Sample
from tests.reference.ngrams import ngrams


def prose(seed: int, words: int = 200) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(words))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    rows = {"train": [prose(seed) for seed in range(20)], "heldout": [prose(100) + " " + prose(3)[:700], prose(101)]}
    for split, texts in rows.items():
        storage.write_jsonl(
            documents.split_file(folder, split),
            [Document(id=f"{split}-{number}", text=text, url=f"u{number}") for number, text in enumerate(texts)],
        )
    counts = [FunnelRow(stage="split", reason=split, count=len(texts)) for split, texts in rows.items()]
    storage.write_json(folder / documents.FUNNEL_FILE, counts)
    return folder


@pytest.mark.parametrize("exact", [False, True])
def test_shares_are_those_of_counting_strings(corpus: Path, tmp_path: Path, exact: bool) -> None:
    rows = measure_overlap(corpus, out=tmp_path / "o", settings=OverlapSettings(exact=exact))
    known = {gram for row in documents.read(corpus) for gram in ngrams(row.text, 8)}
    asked = [ngrams(row.text, 8) for row in documents.read(corpus, "heldout")]
    expected = [sum(gram in known for gram in grams) / len(grams) for grams in asked]
    assert rows[0].by_document == expected
    assert rows[0].hits == sum(gram in known for grams in asked for gram in grams) > 50
    assert rows[0].ngrams == sum(map(len, asked))
    assert (rows[0].name, rows[0].against) == ("heldout", "train")


def test_samples_are_compared_with_both_sides_and_copies_are_located(corpus: Path, tmp_path: Path) -> None:
    copied = " ".join(prose(7).split()[40:60])
    samples = [
        Sample(model="m", parameters=1, prompt="", text=text, pieces=[], settings="")
        for text in (f"before that {copied.upper()}! and after", "nothing is copied in this one", prose(101))
    ]
    storage.write_jsonl(tmp_path / "m" / "samples.jsonl", samples)
    rows = measure_overlap(corpus, [tmp_path / "m"], out=tmp_path / "o")
    found = {(row.name, row.against): row for row in rows}
    assert set(found) == {("heldout", "train"), ("samples m", "train"), ("samples m", "heldout")}
    assert found["samples m", "train"].hits == 13
    assert found["samples m", "heldout"].by_document[-1] == 1.0
    spans = storage.read_lines(tmp_path / "o" / "copied.jsonl", CopiedSpan)
    assert [(span.sample, span.words, span.text, span.document) for span in spans] == [(0, 20, copied, "train-7")]


def test_the_longest_of_several_copies_is_told() -> None:
    first, second = prose(1, 30), prose(2, 30)
    rows = [Document(id="a", text=first), Document(id="b", text=second)]
    text = " ".join([*first.split()[:10], "x", *second.split()[5:25], "y", *first.split()[10:20]])
    (span,) = longest_copies([("t", text)], rows, 8)
    assert (span.words, span.document, span.text) == (20, "b", " ".join(second.split()[5:25]))


def test_a_repetitive_text_does_not_make_a_copy_longer() -> None:
    rows = [Document(id="a", text="la " * 12)]
    (span,) = longest_copies([("t", "la " * 40)], rows, 8)
    assert span.words == 12


def test_text_files_are_tests_too_and_short_texts_have_no_share(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("only five words are here", encoding="utf-8")
    rows = measure_overlap(corpus, [tmp_path / "short.txt"], out=tmp_path / "o")
    assert [(row.name, row.documents, row.ngrams, row.share, row.by_document) for row in rows[1:2]] == [
        ("short.txt", 1, 0, 0.0, [])
    ]


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a corpus folder"):
        measure_overlap(tmp_path, out=tmp_path / "o")
