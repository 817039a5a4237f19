"""Overlap and copied spans of texts in which both are planted."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught import storage
from selftaught.cli import overlap as verb
from selftaught.corpus import documents
from selftaught.corpus.documents import Document, FunnelRow
from selftaught.errors import DamagedFileError, InputError
from selftaught.overlap.bloom import Bloom
from selftaught.overlap.measuring import measure_overlap
from selftaught.overlap.parameters import BITS_FILE, Parameters
from selftaught.overlap.plan import OverlapSettings
from selftaught.overlap.spans import longest_copies
from selftaught.overlap.wanted import Wanted
from selftaught.report.overlap_records import CopiedSpan
from selftaught.report.records import Sample
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
    (span,) = spans
    assert (span.sample, span.words, span.text, span.document, span.position) == (0, 20, copied, "train-7", 40)


def test_the_longest_of_several_copies_is_told() -> None:
    first, second = prose(1, 30), prose(2, 30)
    rows = [Document(id="a", text=first), Document(id="b", text=second)]
    text = " ".join([*first.split()[:10], "x", *second.split()[5:25], "y", *first.split()[10:20]])
    (span,) = longest_copies([("t", text)], rows, 8)
    assert (span.words, span.document, span.position, span.text) == (20, "b", 5, " ".join(second.split()[5:25]))


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


SMALL = st.lists(st.sampled_from(["a", "b", "c", "É", "ß", "Σ"]), max_size=14).map(" ".join)


@given(st.lists(SMALL, min_size=1, max_size=4), SMALL, st.integers(1, 4))
def test_copies_agree_with_trying_every_stretch(corpus_texts: list[str], text: str, n: int) -> None:
    rows = [Document(id=str(number), text=row) for number, row in enumerate(corpus_texts)]
    spans = longest_copies([("t", text)], rows, n)
    runs = [gram for size in range(len(text.split()), n - 1, -1) for gram in ngrams(text, size)]
    held = [gram for gram in runs if any(gram in ngrams(row, len(gram.split())) for row in corpus_texts)]
    assert [span.words for span in spans] == [len(gram.split()) for gram in held[:1]]
    for span in spans:
        assert ngrams(corpus_texts[int(span.document)], span.words)[span.position] == span.text
        assert span.text in ngrams(text, span.words)


def test_exact_counting_corrects_a_filter_that_finds_everything(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = measure_overlap(corpus, out=tmp_path / "right")
    monkeypatch.setattr(Bloom, "contains", lambda self, hashes: np.ones(len(hashes), dtype=np.bool_))
    assert measure_overlap(corpus, out=tmp_path / "wrong")[0].share == 1.0
    (exact,) = measure_overlap(corpus, out=tmp_path / "exact", settings=OverlapSettings(exact=True))
    assert (exact.hits, exact.by_document) == (right[0].hits, right[0].by_document)
    assert exact.false_positive_rate == 0.0


def test_wanted_of_nothing_finds_nothing() -> None:
    places, numbers = Wanted(np.empty(0, np.uint64)).find(np.arange(5, dtype=np.uint64))
    assert len(places) == len(numbers) == 0


def test_a_filter_that_is_there_is_used_again_and_must_be_whole(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    measure_overlap(corpus, out=out)
    known = storage.read_json(out / "filter.json", Parameters)
    assert known.content.kind == "8-grams within documents"
    assert known.content.texts == (storage.sha256(documents.split_file(corpus, "train")),)
    Bloom(known.capacity).save(out, known.content)
    assert measure_overlap(corpus, out=out)[0].hits == 0, "the empty filter put there was not used"
    measure_overlap(corpus, out=out, settings=OverlapSettings(words=7))
    assert storage.read_json(out / "filter.json", Parameters).content.words == 7, "other n-grams, other filter"
    (out / BITS_FILE).write_bytes(b"cut")
    with pytest.raises(DamagedFileError, match="damaged"):
        measure_overlap(corpus, out=out, settings=OverlapSettings(words=7))


def test_sides_without_words_have_no_overlap(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    for split, texts in {"train": ["!?", "", "few words"], "heldout": [""]}.items():
        storage.write_jsonl(
            documents.split_file(folder, split), [Document(id=str(i), text=t) for i, t in enumerate(texts)]
        )
    (tmp_path / "t.txt").write_text("... --- ...")
    for exact in (False, True):
        rows = measure_overlap(
            folder, [tmp_path / "t.txt"], out=tmp_path / str(exact), settings=OverlapSettings(exact=exact)
        )
        assert [(row.ngrams, row.share, row.by_document) for row in rows] == [(0, 0.0, [])] * 3


def test_what_has_no_text_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"words": "none"}\n{"words": "none"}\n')
    with pytest.raises(InputError, match="2 no text"):
        measure_overlap(corpus, [tmp_path / "rows.jsonl"], out=tmp_path / "o")
    with pytest.raises(InputError, match="cannot read"):
        measure_overlap(corpus, [tmp_path / "nowhere"], out=tmp_path / "o")
    with pytest.raises(InputError, match="not a corpus folder"):
        measure_overlap(tmp_path / "rows.jsonl", out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_the_verb_shows_its_table_and_is_finished_the_second_time(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "copy.txt").write_text(prose(7))
    argv = [str(corpus), str(tmp_path / "copy.txt"), "--out", str(tmp_path / "o")]
    verb.run(argv)
    shown = capsys.readouterr().out
    assert "100.00%" in shown
    assert "longest copy, 200 words (copy.txt, from u7 at word 0)" in shown
    verb.run(argv)
    assert "is finished" in capsys.readouterr().out
