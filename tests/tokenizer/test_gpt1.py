"""GPT-1's tokenizer: equal to a slow twin that gives ftfy and spaCy the whole text, and honest about what it lacks."""

# ruff: noqa: RUF001 - the hard texts are meant to hold look-alikes

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.errors import DamagedFileError, MissingExtraError, UsageError
from selftaught.tokenizer.gpt1 import GPT1Tokenizer, standardise
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference import gpt1 as slow
from tests.tokenizer.test_tokenizer import HARD

ftfy = pytest.importorskip("ftfy")
WORDS = pytest.importorskip("spacy").blank("en").tokenizer
MERGES = [("t", "h"), ("th", "e</w>"), ("c", "a"), ("ca", "t</w>"), ("a", "t</w>"), ("n", "'t</w>"), ("s", "a")]
OWN = {
    "quotes and entities": "He said &amp; “don’t” — it's <b>&lt;</b>… ´x´ Schönheit Ã¼ber",
    "abbreviations": "Mr. O'Neil's at 10a.m., i.e. can't've in the U.S.A. :-) C++ 3.5km $5.00 www.x.org/a_b",
    "lines": "  first \r\n\r\n\t second\nthird \u2028 fourth \x0b fifth",
    "signs": "a--b~~c!!??+,)(/\\\\*[x]{y}|z_w\\n \\ 'q' \"r\"",
    "capital": "İstanbul ŒUVRE ẞ",
}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vocabulary of the kind: <unk>, letters, letters that end a word, merges, the line end."""
    folder = tmp_path_factory.mktemp("gpt1")
    letters = [chr(point) for point in range(33, 127)] + ["é"]
    tokens = ["<unk>", *letters, *(f"{letter}</w>" for letter in letters), "'t</w>", *map("".join, MERGES), "\n</w>"]
    (folder / "encoder_bpe_40000.json").write_text(json.dumps({token: place for place, token in enumerate(tokens)}))
    lines = "".join(f"{left} {right}\n" for left, right in MERGES)
    (folder / "vocab_40000.bpe").write_text(f"#version: 0.2\n{lines}")
    return folder


@pytest.fixture(scope="session")
def little(files: Path) -> Tokenizer:
    return Tokenizer.load(files)


@pytest.fixture(scope="session")
def published(shared_data: Path) -> Tokenizer:
    folder = shared_data / "vocab" / "gpt1"
    if not folder.is_dir():
        pytest.skip("needs GPT-1's two files in ../shared/data/vocab/gpt1")
    return Tokenizer.load(folder)


def slowly(made: Tokenizer, text: str) -> list[int]:
    ids = {token.decode(): number for token, number in made.vocabulary.ids.items()}
    merges = [(left.decode(), right.decode()) for left, right in made.vocabulary.merges]
    return slow.encode(text, ids, merges, WORDS, ftfy.fix_text)


@pytest.mark.parametrize("text", [*(text for text in HARD.values() if len(text) < 2000), *OWN.values()])
def test_hard_texts_equal_the_slow_twin(little: Tokenizer, published: Tokenizer, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert little.encode(text) == slowly(little, text)
    assert published.encode(text) == slowly(published, text)


def test_random_texts_equal_the_slow_twin(little: Tokenizer) -> None:
    parts = st.sampled_from(
        ["the cat", " ", "\n", "can't", "—", "“", "&lt;", "3.5", "U.S.", ":)", "\t", "é", "İ", "_", "--", "\r\n"]
    )

    @given(st.text(st.characters(codec="utf-8"), max_size=40) | st.lists(parts).map("".join))
    @settings(max_examples=400, deadline=None)
    def agree(text: str) -> None:
        assert standardise(text) == slow.standardise(text)
        assert little.encode(text) == slowly(little, text)

    agree()


def test_spacys_own_special_cases_are_cut_alike_whatever_stands_beside_them(little: Tokenizer) -> None:
    rules, draw = sorted(WORDS.rules), random.Random(1)
    for _ in range(300):
        text = "".join(draw.choice(rules) + draw.choice([" ", "", ".", "'", " (", "\n"]) for _ in range(8))
        assert little.encode(text) == slowly(little, text), text


def test_real_documents_equal_the_slow_twin(published: Tokenizer, shared_data: Path) -> None:
    for file in sorted((shared_data / "text").glob("*-000.jsonl")):
        line = file.read_bytes().split(b"\n", 1)[0]
        text = json.loads(line)["text"][:4000]
        assert published.encode(text) == slowly(published, text), file.name


def test_the_published_vocabulary(published: Tokenizer) -> None:
    assert isinstance(published, GPT1Tokenizer)
    assert published.vocabulary_size == 40_478
    assert published.decode(published.encode("The CAT sat,\n\n  and slept.")) == "the cat sat ,\nand slept ."
    # Ids that the released encoder.json gives these words.
    assert published.encode("the") == [published.vocabulary.ids[b"the</w>"]] == [481]


def test_unknown_characters_are_unk_and_nothing_else_is(little: Tokenizer) -> None:
    assert little.encode("漢字 the") == [0, 0, little.vocabulary.ids[b"the</w>"]]
    assert little.end_of_text == 0
    assert 0 not in little.encode("<unk> the cat\n")


def test_bytes_arrays_and_batches(little: Tokenizer) -> None:
    assert little.encode(b"the cat") == little.encode("the cat") == little.encode_array("the cat").tolist()
    assert [array.tolist() for array in little.encode_batch(["the", "cat"])] == [
        little.encode("the"),
        little.encode("cat"),
    ]


def test_files_come_back(little: Tokenizer, published: Tokenizer, tmp_path: Path) -> None:
    for name, made in {"one": little, "two": published}.items():
        made.save(tmp_path / name)
        assert Tokenizer.load(tmp_path / name).fingerprint == made.fingerprint


def test_steps_and_places(little: Tokenizer) -> None:
    assert little.merge_steps("The\n漢") == [
        [[b"t", b"h", b"e</w>"], [b"th", b"e</w>"], [b"the</w>"]],
        [[b"\n</w>"]],
        [[b"<unk>"]],
    ]
    with pytest.raises(UsageError, match="no places"):
        little.encode_with_offsets("the")


@pytest.mark.parametrize("name", ["ftfy", "spacy"])
def test_it_refuses_without_what_it_needs(files: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"selftaught\[gpt1\]"):
        Tokenizer.load(files).encode("the cat")


def test_a_vocabulary_without_line_end_is_refused(files: Path, tmp_path: Path) -> None:
    ids: dict[str, Any] = json.loads((files / "encoder_bpe_40000.json").read_bytes())
    del ids["\n</w>"]
    (tmp_path / "encoder_bpe_40000.json").write_text(json.dumps(ids))
    (tmp_path / "vocab_40000.bpe").write_bytes((files / "vocab_40000.bpe").read_bytes())
    with pytest.raises(DamagedFileError, match="do not belong together"):
        Tokenizer.load(tmp_path)
