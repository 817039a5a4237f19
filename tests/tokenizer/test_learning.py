"""Learning: the same merges as the slow twin and as Hugging Face's trainer, and the paper's rule."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.errors import InputError, UsageError
from selftaught.tokenizer import counting, pieces
from selftaught.tokenizer.alphabet import BYTES_IN_ORDER, unwritten
from selftaught.tokenizer.counting import PieceCounts
from selftaught.tokenizer.learning import count_pieces, learn_merges, learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference import bpe
from tests.tokenizer.conftest import TEXTS

ORDER = [bytes([byte]) for byte in BYTES_IN_ORDER]


@given(st.lists(st.text("aab \n'sé1!", max_size=30), max_size=6), st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_merges_equal_the_slow_twin(texts: list[str], wanted: int) -> None:
    assert learn_merges(count_pieces(texts), wanted) == bpe.learn(texts, wanted, ORDER)


def test_merges_of_real_words_equal_the_slow_twin() -> None:
    draw = random.Random(7)
    words = [" ".join(TEXTS).split()[draw.randrange(40)] for _ in range(300)]
    texts = [" ".join(words)]
    assert learn_merges(count_pieces(texts), 200) == bpe.learn(texts, 200, ORDER)


def test_order_and_division_of_the_text_change_nothing() -> None:
    lines = [line for text in TEXTS for line in text.split("\n") if line]
    forwards = learn_tokenizer(lines, vocabulary_size=320)
    backwards = learn_tokenizer(lines[::-1], vocabulary_size=320)
    assert forwards.fingerprint == backwards.fingerprint


def test_of_equally_frequent_pairs_the_lower_ids_win() -> None:
    counts = PieceCounts.of({"cd": 5, "ab": 5, "ac": 5, "zz": 6})
    assert learn_merges(counts, 4) == [(b"z", b"z"), (b"a", b"b"), (b"a", b"c"), (b"c", b"d")]


def test_pairs_that_occur_once_are_not_merged() -> None:
    made = learn_tokenizer(["ab cd ab"], vocabulary_size=5000)
    assert made.vocabulary.merges == ((b"a", b"b"),)
    assert made.vocabulary_size == 258


def test_merges_keep_to_one_kind_of_character_but_for_a_leading_blank(small: Tokenizer) -> None:
    one_kind = regex.compile(r" ?(\p{L}+|\p{N}+|[^\s\p{L}\p{N}]+)|\s+|'(s|t|re|ve|m|ll|d)")
    texts = [token.decode("utf-8", "ignore") for token in small.vocabulary.ids]
    assert [text for text in texts if text and not one_kind.fullmatch(text)] == []


def test_counts_are_those_of_the_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_ROWS", 4)
    monkeypatch.setattr(counting, "_POOL", 8)
    texts = [*TEXTS, "a piece that is longer than sixteen bytes: pneumonoultramicroscopic " * 3, "x" * 5000, ""]
    expected = Counter(piece for text in texts for piece in bpe.PATTERN.findall(text))
    counts = count_pieces(texts)
    assert counts.as_mapping() == expected
    assert sorted(PieceCounts.of(expected).lengths) == sorted(counts.lengths)


def test_the_number_of_processes_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(3)
    words = [" " + "".join(draw.choices("abcdefgh", k=draw.randrange(1, 24))) for _ in range(3000)]
    texts = ["".join(draw.choices(words, k=400)) for _ in range(60)]
    alone = learn_tokenizer(texts, vocabulary_size=600)
    monkeypatch.setattr(counting, "_CHUNK", 20_000)
    expected = Counter(piece for text in texts for piece in bpe.PATTERN.findall(text))
    assert count_pieces(texts).as_mapping() == expected
    together = learn_tokenizer(texts, vocabulary_size=600, jobs=2)
    assert alone.fingerprint == together.fingerprint


def test_of_too_many_pieces_the_rarest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(counting, "MOST_PIECES", 1000)
    monkeypatch.setattr(counting, "_CHUNK", 10_000)
    often = "the frequent words that are always there, even averylongonethatisnoteasytohold "
    texts = [
        often + " ".join(f"x{draw}y" for draw in random.Random(n).choices("abcdefghijklmnop" * 4, k=100))
        for n in range(99)
    ]
    rare = [
        " ".join("".join(random.Random(n).choices("qrstuvwxyz", k=12)) for n in range(k, k + 100))
        for k in range(0, 9900, 100)
    ]
    texts = [one + " " + other for one, other in zip(texts, rare, strict=True)]
    exact = Counter(piece for text in texts for piece in bpe.PATTERN.findall(text))
    found = count_pieces(texts)
    assert len(found.counts) <= 1000 < len(exact)
    assert "forgotten" in "".join(capsys.readouterr())
    counts = found.as_mapping()
    frequent = {piece: count for piece, count in exact.items() if count >= 99}
    assert {piece: counts[piece] for piece in frequent} == frequent
    assert all(count <= exact[piece] for piece, count in counts.items())


@given(st.text(st.characters(codec="utf-8")))
@settings(max_examples=300, deadline=None)
def test_pieces_are_those_of_the_pattern(text: str) -> None:
    assert pieces.pieces(text) == bpe.PATTERN.findall(text)


def test_ascii_pieces_are_those_of_the_pattern() -> None:
    draw = random.Random(3)
    for _ in range(3000):
        text = "".join(chr(draw.randrange(128)) for _ in range(draw.randrange(24)))
        assert pieces.pieces(text) == bpe.PATTERN.findall(text)


def test_a_megabyte_of_one_letter_or_of_noise_is_learned_from() -> None:
    draw = np.random.default_rng(1)
    noise = bytes(draw.integers(ord("a"), ord("z") + 1, 1_000_000, dtype=np.uint8)).decode()
    made = learn_tokenizer(["a" * 1_000_000, noise], vocabulary_size=1000)
    assert made.vocabulary_size == 1000
    assert made.vocabulary.merges[0] == (b"a", b"a")


def test_lone_surrogates_are_learned_as_replacement_characters() -> None:
    assert learn_tokenizer(["\ud800 \ud800"], vocabulary_size=260).fingerprint == (
        learn_tokenizer(["\ufffd \ufffd"], vocabulary_size=260).fingerprint
    )


@pytest.mark.parametrize("size", [256, 0, -5])
def test_a_vocabulary_without_room_for_every_byte_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=rf"expected at least 257.*got {size}"):
        learn_tokenizer(["text"], vocabulary_size=size)


def test_the_smallest_vocabulary_is_the_bytes() -> None:
    made = learn_tokenizer(["text"], vocabulary_size=257)
    assert made.vocabulary.merges == ()
    assert made.decode(made.encode("té")) == "té"


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_is_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="there is no text"):
        learn_tokenizer(texts)


def test_merges_equal_those_of_hugging_face() -> None:
    """Both break ties by the lower ids."""
    tokenizers: Any = pytest.importorskip("tokenizers")
    draw = random.Random(5)
    words = [word for text in TEXTS for word in text.split(" ")]
    texts = [" ".join(words[int(len(words) * draw.random() ** 2)] for _ in range(60)) for _ in range(40)]
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=419,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=2,
    )
    theirs.train_from_iterator(texts, trainer)
    model = theirs.to_str()
    ours = learn_tokenizer(texts, vocabulary_size=420).vocabulary.merges
    import json

    assert [tuple(map(unwritten, pair)) for pair in json.loads(model)["model"]["merges"]] == list(ours)
