"""Cleaning, duplicates, the split, and what the corpus folder says about them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.cli import corpus as verb
from selftaught.cli import overlap as overlap_verb
from selftaught.corpus import documents
from selftaught.corpus.building import BuildSettings
from selftaught.corpus.cleaning import CleaningSettings, language_of, reason_to_drop
from selftaught.corpus.documents import Document, Drop, Funnel
from selftaught.corpus.extraction import ExtractionSettings
from selftaught.corpus.finishing import FinishingSettings, clean, finish
from selftaught.corpus.splitting import side
from selftaught.errors import DamagedFileError, InputError, UsageError


def prose(seed: int, words: int = 120) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghij", k=draw.randint(2, 7))) for _ in range(words))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("too short", "short"),
        ("0 1 2 + - * / = " * 40, "symbols"),
        ("the same line again\n" * 40, "repetition"),
        ("".join(f"buy cheap pills here number {number} now\n" for number in range(60)), "repetition"),
        (f"From Wikipedia, the free encyclopedia. {prose(1)}", "wikipedia copy"),
        (f"{prose(1)} Lorem ipsum dolor sit amet.", "placeholder"),
        ("".join(f"* {line}\n" for line in prose(1).split()[:60]), "bullets"),
        ("".join(f"{line}...\n" for line in prose(1).split()[:60]), "ellipses"),
        ("a b c d e f g h i j k l m " * 20, "word length"),
        (f"Please enable JavaScript to see this. {prose(1, 40)}", "boilerplate"),
        (prose(1), ""),
        ("\u3053\u308c\u306f\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3067\u3059\u3002" * 30, ""),
    ],
)
def test_each_filter_names_its_reason(text: str, reason: str) -> None:
    assert reason_to_drop(text, CleaningSettings()) == reason


ENGLISH = (
    "The cat sat on the mat and looked out of the window, for it had nothing to do with the birds that have wings. "
)
FRENCH = "Le chat regardait par la fen\u00eatre, parce que les oiseaux qui volent ne l\u2019int\u00e9ressaient plus. "


def test_languages_are_told_and_kept_or_dropped() -> None:
    english = CleaningSettings(languages=("en",))
    assert [language_of(text * 4) for text in (ENGLISH, FRENCH)] == ["en", "fr"]
    assert reason_to_drop(FRENCH * 4, english) == "language fr"
    assert reason_to_drop(ENGLISH * 4, CleaningSettings(languages=("fr", "en"), repeated_words=False)) == ""
    assert reason_to_drop("Cats sit. " * 40, english, "en") == "no stop words"
    rows = [Document(id="1", text=ENGLISH * 4), Document(id="2", text=FRENCH * 4)]
    kept = clean(rows, Funnel(), CleaningSettings(repeated_words=False))
    assert [row.language for row in kept] == ["en", "fr"]
    with pytest.raises(UsageError, match="--languages cannot be english"):
        CleaningSettings(languages=("english",))


def test_mojibake_is_repaired_only_on_demand_and_nothing_else_is_changed() -> None:
    pytest.importorskip("ftfy", reason="needs the extra `corpus`")
    broken = f"caf\u00c3\u00a9 \u2018quoted\u2019  {prose(1)}"
    row = Document(id="1", text=broken)
    (kept,) = clean([row], Funnel(), CleaningSettings())
    assert kept.text == broken
    (kept,) = clean([row], Funnel(), CleaningSettings(mojibake=True))
    assert kept.text == broken.replace("\u00c3\u00a9", "\u00e9")


def test_the_split_depends_on_the_url_alone_and_has_the_wanted_share() -> None:
    urls = [f"http://example.org/{number}" for number in range(20_000)]
    share = sum(side(url, 0.05) == "heldout" for url in urls) / len(urls)
    assert 0.045 < share < 0.055
    assert all(side(url, 0.1) == "heldout" for url in urls if side(url, 0.05) == "heldout")


def test_sites_stay_on_one_side_where_that_is_wanted() -> None:
    sites = [[f"http://news{n}.example{site}.co.uk/{n}" for n in range(20)] for site in range(100)]
    sides = [{side(url, 0.3, "domain") for url in urls} for urls in sites]
    assert all(len(found) == 1 for found in sides)
    assert 15 < sum(found == {"heldout"} for found in sides) < 45
    assert side("folder/file.txt#1", 0.3, "domain") == side("folder/file.txt#1", 0.3)


def test_documents_that_hold_what_a_model_will_be_asked_are_dropped(tmp_path: Path) -> None:
    questions, index = tmp_path / "questions", tmp_path / "index"
    questions.mkdir()
    asked = prose(7, 100)
    (questions / "a.txt").write_text(asked, encoding="utf-8")
    overlap_verb.run(["index", str(questions), "--out", str(index)])
    words, other = asked.split(), prose(8, 100)
    rows = [Document(id=str(number), url=f"u{number}", text=prose(number + 100)) for number in range(40)]
    rows.append(Document(id="copied", text=f"{other} {' '.join(words[20:33])} {other}"))
    rows.append(Document(id="nearly", text=f"{other} {' '.join(words[20:32])} {other}"))
    storage.write_jsonl(tmp_path / "rows.jsonl", rows)
    source, out = str(tmp_path / "rows.jsonl"), str(tmp_path / "out")
    verb.run(["split", source, "--decontaminate", str(index), "--heldout", "0.3", "--out", out])
    assert [(drop.id, drop.reason) for drop in documents.read_rows(tmp_path / "out" / documents.DROPS_FILE, Drop)] == [
        ("copied", "benchmark text")
    ]
    with pytest.raises(InputError, match="no index in"):
        verb.run(["split", source, "--decontaminate", str(questions), "--out", str(tmp_path / "more")])


def test_finish_counts_every_row_once_and_keeps_drops_with_reasons(tmp_path: Path) -> None:
    texts = [*map(prose, range(60)), prose(3), "short"]
    rows = [Document(id=str(number), url=f"u{number}", text=text) for number, text in enumerate(texts)]
    funnel = Funnel()
    finish(rows, tmp_path, funnel, FinishingSettings(heldout=0.3))
    counts = {(row.stage, row.reason): row.count for row in documents.read_funnel(tmp_path)}
    assert counts["clean", ""] == 62
    assert counts["clean", "short"] == 1
    assert counts["duplicates", "exact duplicate"] == 1
    assert counts["split", "train"] + counts["split", "heldout"] == counts["duplicates", "kept"] == 60
    read = {split: list(documents.read(tmp_path, split)) for split in documents.SPLITS}
    assert {split: len(found) for split, found in read.items()} == {
        split: documents.count(tmp_path, split) for split in documents.SPLITS
    }
    assert sorted(row.id for found in read.values() for row in found) == sorted(map(str, range(60)))
    drops = list(documents.read_rows(tmp_path / documents.DROPS_FILE, Drop))
    assert [(drop.id, drop.reason) for drop in drops] == [("61", "short"), ("60", "exact duplicate")]


def test_an_empty_side_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too little text") as problem:
        finish([Document(id="1", url="page", text=prose(1))], tmp_path / "c", Funnel(), FinishingSettings())
    assert "1 train, 0 held out" in problem.value.line()
    assert not [split for split in documents.SPLITS if documents.split_file(tmp_path / "c", split).exists()]


def test_reading_what_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a corpus folder"):
        next(documents.read(tmp_path))
    broken = tmp_path / "rows.jsonl"
    broken.write_text('{"id": "1"}\n', encoding="utf-8")
    with pytest.raises(DamagedFileError, match="text"):
        next(documents.read(broken))
    storage.write_bytes(tmp_path / "x.jsonl.zst", b"not zstandard at all")
    with pytest.raises(InputError, match=r"x\.jsonl\.zst"):
        next(documents.read(tmp_path / "x.jsonl.zst"))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (FinishingSettings, {"heldout": 0.0}),
        (FinishingSettings, {"heldout": 1.0}),
        (BuildSettings, {"heldout": float("nan")}),
        (BuildSettings, {"near_duplicate": 7.0}),
        (BuildSettings, {"per_host": 0}),
        (BuildSettings, {"timeout_seconds": float("inf")}),
        (CleaningSettings, {"lowest_letter_share": -0.1}),
        (CleaningSettings, {"fewest_characters": -1}),
        (ExtractionSettings, {"seconds_per_page": 0.0}),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(kind: type, values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(values)).replace("_", "-")):
        kind(**values)
