"""Filters of texts: the same for any number of threads, pieces, shards and rounds; united; by stream; counted once."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught import storage
from selftaught.cli.main import main
from selftaught.corpus import documents
from selftaught.corpus.documents import Document
from selftaught.corpus.ngrams import ngram_hashes
from selftaught.errors import InputError, MismatchError, UsageError
from selftaught.overlap import chunks, indexing, lookup
from selftaught.overlap.bloom import Bloom
from selftaught.overlap.distinct import Distinct
from selftaught.overlap.lookup import look_up
from selftaught.overlap.measuring import measure_overlap
from selftaught.overlap.parameters import Parameters
from selftaught.overlap.plan import IndexSettings, OverlapSettings
from tests.reference.ngrams import ngrams

WORDS = [f"w{number}" for number in range(40)]


def prose(seed: int, count: int = 200) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(count))


TEXTS = st.lists(st.lists(st.sampled_from([*WORDS[:3], "É", "x" * 300]), max_size=9).map(" ".join), max_size=8)


@given(TEXTS, st.integers(1, 4), st.integers(1, 40), st.integers(1, 3), st.booleans())
def test_pieces_of_any_size_hold_the_same_ngrams(texts: list[str], n: int, size: int, jobs: int, stream: bool) -> None:
    with pytest.MonkeyPatch.context() as patch, chunks.workers(jobs) as threads:
        patch.setattr(chunks, "PIECE_CHARACTERS", size)
        parts = chunks.pieces(texts, n, stream=stream)
        found = list(threads.map(lambda piece: chunks.hashed(piece, n, stream=stream), parts))
    whole = [" ".join(texts)] if stream else texts
    expected = [value for text in whole for value in ngram_hashes(text, n).tolist()]
    assert [value for part in found for value in part.hashes.tolist()] == expected
    assert sum(len(part.ends) for part in found) == len(texts)
    masks = [part.by_text(np.ones(len(part.hashes), dtype=np.bool_)) for part in found]
    assert sum(int(mask.sum()) for mask in masks) == len(expected)


def test_workers_keep_order_and_pass_errors_on() -> None:
    def work(number: int) -> int:
        if number == 7:
            raise InputError("seven")
        return number * number

    with chunks.workers(3) as threads:
        assert list(threads.map(work, range(6))) == [0, 1, 4, 9, 16, 25]
        with pytest.raises(InputError, match="seven"):
            list(threads.map(work, range(9)))


@pytest.mark.parametrize("count", [0, 1, 1000, 200_000, 600_000])
def test_distinct_ones_are_counted_to_a_percent_in_any_order(count: int) -> None:
    hashes = np.random.default_rng(count).integers(0, 1 << 64, count, dtype=np.uint64)
    first, second, both = Distinct(), Distinct(), Distinct()
    first.add(hashes[: count // 2])
    second.add(np.repeat(hashes[count // 2 :][::-1], 2))
    second.unite(first)
    both.add(hashes)
    assert second.estimate() == both.estimate() == pytest.approx(count, rel=0.012, abs=0.01)
    assert indexing.room_for(both.estimate()) >= count


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = {"train": [prose(seed) for seed in range(30)], "heldout": [prose(100) + " " + prose(3)[:700], prose(5)]}
    for split, texts in rows.items():
        storage.write_jsonl(
            documents.split_file(tmp_path / "corpus", split),
            [Document(id=f"{split}-{number}", text=text) for number, text in enumerate(texts)],
        )
    return tmp_path / "corpus"


def test_threads_rounds_and_pieces_change_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.txt").write_text(prose(7) + " " + prose(8))
    plain = measure_overlap(corpus, [tmp_path / "t.txt"], out=tmp_path / "plain")
    monkeypatch.setattr(chunks, "PIECE_CHARACTERS", 3000)
    threaded = measure_overlap(corpus, [tmp_path / "t.txt"], out=tmp_path / "threads", settings=OverlapSettings(jobs=3))
    monkeypatch.setattr(indexing, "KEPT_HASHES", 500)
    twice = measure_overlap(corpus, [tmp_path / "t.txt"], out=tmp_path / "twice", settings=OverlapSettings(jobs=2))
    assert plain == threaded == twice
    files = [storage.sha256(tmp_path / name / "filter.npy") for name in ("plain", "threads", "twice")]
    assert len(set(files)) == 1
    assert (tmp_path / "plain" / "copied.jsonl").read_bytes() == (tmp_path / "twice" / "copied.jsonl").read_bytes()


@pytest.mark.parametrize("across", ["documents", "stream"])
@pytest.mark.parametrize("count", ["repeated", "distinct"])
@pytest.mark.parametrize("exact", [False, True])
def test_every_way_of_counting_is_counting_of_strings(tmp_path: Path, across: str, count: str, exact: bool) -> None:
    draw = random.Random(1)
    sides = {split: [" ".join(draw.choices(WORDS[:4], k=9)) for _ in range(6)] for split in ("train", "heldout")}
    for split, texts in sides.items():
        rows = [Document(id=str(number), text=text) for number, text in enumerate(texts)]
        storage.write_jsonl(documents.split_file(tmp_path / "c", split), rows)
    rules = OverlapSettings(words=3, across=across, count=count, exact=exact)
    (row,) = measure_overlap(tmp_path / "c", out=tmp_path / "o", settings=rules)

    def grams(texts: list[str]) -> list[str]:
        return ngrams(" ".join(texts), 3) if across == "stream" else [gram for one in texts for gram in ngrams(one, 3)]

    asked, known = grams(sides["heldout"]), set(grams(sides["train"]))
    asked = list(set(asked)) if count == "distinct" else asked
    assert (row.ngrams, row.hits) == (len(asked), sum(gram in known for gram in asked))
    assert 0 < row.hits < row.ngrams
    if across == "documents":
        own = [ngrams(text, 3) for text in sides["heldout"]]
        own = [list(set(part)) for part in own] if count == "distinct" else own
        assert row.by_document == [sum(gram in known for gram in part) / len(part) for part in own]


def test_shards_that_are_indexed_apart_and_merged_are_the_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seeds in {"a": (1, 2), "b": (3,), "all": (1, 2, 3)}.items():
        (tmp_path / name).mkdir()
        for seed in seeds:
            (tmp_path / name / f"{seed}.txt").write_text(prose(seed))
        argv = ["overlap", "index", str(tmp_path / name), "--capacity", "1000", "--out", str(tmp_path / f"i-{name}")]
        assert main(argv) == 0
    merged = ["overlap", "merge", str(tmp_path / "i-a"), str(tmp_path / "i-b"), "--out", str(tmp_path / "m")]
    assert main(merged) == 0
    assert "8-grams within documents of 2 texts: 579, about" in capsys.readouterr().out
    assert (tmp_path / "m" / "filter.npy").read_bytes() == (tmp_path / "i-all" / "filter.npy").read_bytes()
    (tmp_path / "t.txt").write_text(f"{prose(3)[:350]} {prose(9)}")
    rows = measure_overlap(tmp_path / "m", [tmp_path / "t.txt"], out=tmp_path / "o")
    assert [(one.name, one.against, one.hits) for one in rows] == [("t.txt", "index", 43)]
    known = storage.read_json(tmp_path / "m" / "filter.json", Parameters)
    assert known.content.texts == tuple(sorted(storage.sha256(tmp_path / name) for name in ("a", "b")))
    assert main([*merged, "--json"]) == 0
    assert "is finished" in capsys.readouterr().err


def test_what_does_not_fit_together_is_not_merged(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(prose(1))
    for name, rules in {
        "a": OverlapSettings(capacity=300),
        "b": OverlapSettings(capacity=301),
        "c": OverlapSettings(capacity=300, words=7),
        "d": OverlapSettings(capacity=300, across="stream"),
    }.items():
        indexing.filter_of(tmp_path / "t.txt", tmp_path / name, rules)
    for other, said in {"b": "one capacity", "c": "same n-grams", "d": "of a stream"}.items():
        with pytest.raises(MismatchError, match=said):
            indexing.merge([tmp_path / "a", tmp_path / other], tmp_path / "m")
    with pytest.raises(UsageError, match="two folders or more"):
        indexing.merge([tmp_path / "a"], tmp_path / "m")
    with pytest.raises(InputError, match="no index in"):
        indexing.merge([tmp_path / "a", tmp_path / "nothing"], tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_an_index_alone_answers_what_it_can(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(prose(1))
    indexing.filter_of(tmp_path / "t.txt", tmp_path / "i", OverlapSettings())
    with pytest.raises(UsageError, match="nothing to look up"):
        measure_overlap(tmp_path / "i", out=tmp_path / "o")
    with pytest.raises(UsageError, match="cannot be recounted"):
        measure_overlap(tmp_path / "i", [tmp_path / "t.txt"], out=tmp_path / "o", settings=OverlapSettings(exact=True))
    with pytest.raises(MismatchError, match="7-grams"):
        measure_overlap(tmp_path / "i", [tmp_path / "t.txt"], out=tmp_path / "o", settings=OverlapSettings(words=7))


def test_a_text_that_does_not_fit_leaves_no_filter(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(prose(1))
    with pytest.raises(MismatchError, match="full"):
        indexing.filter_of(tmp_path / "t.txt", tmp_path / "i", OverlapSettings(capacity=100))
    assert not (tmp_path / "i").exists()


def test_memory_is_what_is_needed_for_distinct_ngrams() -> None:
    texts = [prose(seed, 4000) for seed in range(10)] * 3
    made = indexing.filled(lambda: texts, OverlapSettings())
    distinct = 10 * (4000 - 7)
    assert made.keys == 3 * distinct
    assert 8 * made.blocks.nbytes / distinct < 1.2 * 38.34
    assert made.measured_rate() < 1e-8
    assert isinstance(made, Bloom)


@given(TEXTS, TEXTS, st.integers(1, 3))
def test_what_was_put_in_is_always_found(known: list[str], asked: list[str], n: int) -> None:
    made = indexing.filled(lambda: known, IndexSettings(words=n))
    members = {gram for text in known for gram in ngrams(text, n)}
    with chunks.workers(1) as threads:
        (found,), located = look_up([*asked, *known], [made.contains], OverlapSettings(words=n), threads)
    grams = [ngrams(text, n) for text in [*asked, *known]]
    assert found.totals == [len(part) for part in grams]
    assert found.hits == [sum(gram in members for gram in part) for part in grams]
    assert list(located) == [number for number, hits in enumerate(found.hits) if hits]


def test_a_million_strings_that_are_not_there_are_not_found() -> None:
    """The paper's own check of its filter (section 4), at capacity."""
    made = indexing.filled(lambda: [prose(seed, 10_000) for seed in range(10)], IndexSettings())
    strings = " ".join(map(str, np.random.default_rng(1).integers(0, 1 << 40, 1_000_007)))
    with chunks.workers(1) as threads:
        (found,), _ = look_up([strings], [made.contains], OverlapSettings(), threads)
    assert (found.totals, found.hits) == ([1_000_000], [0])


def test_only_so_much_text_is_kept_to_be_located(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MOST_LOCATED", 2000)
    texts = [prose(seed, 100) for seed in range(5)]
    made = indexing.filled(lambda: texts, IndexSettings())
    with chunks.workers(2) as threads:
        (found,), located = look_up(texts, [made.contains], OverlapSettings(), threads)
    assert list(located) == [0, 1]
    assert found.hits == [93] * 5
