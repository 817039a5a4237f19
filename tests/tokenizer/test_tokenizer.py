"""Encoding and decoding: equal to the slow twin, to tiktoken and to Hugging Face, and the text comes back."""

# ruff: noqa: RUF001 - the hard texts are meant to hold look-alikes

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.errors import UsageError
from selftaught.tokenizer import pieces, tokenizer
from selftaught.tokenizer.alphabet import written
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference import bpe
from tests.tokenizer.conftest import TEXTS

HARD = {
    "empty": "",
    "blank": " ",
    "blanks then text": "   text",
    "blanks at the end": "text   ",
    "line ends": "a\r\n\r\nb\n\n\n c\r",
    "tabs": "\t\tif x:\t# y \t",
    "contractions": "don't DON'T we'll 'tis o'clock 'll'll ''s it's's 'S y'all'd've",
    "quotes": "\"'quoted' 'words'\" ‘curly’ it’s",
    "numbers": "1234567890 3.14 1,000 ½ ² Ⅷ ٣٤ 1st x2y",
    "signs": "!!! ??? -- ... <|endoftext|> {}[]()<>/\\|~^_",
    "control": "\x00\x01\x07\x1b[0m\x7f\x1c\x1d\x1e\x1f\x85",
    "Unicode spaces": "a\u00a0b\u2003c\u3000 d\u2028e\u200b f\ufeff",
    "combining": "e\u0301 n\u0303 क्षि नमस्ते",
    "emoji families": "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽",
    "CJK": "漢字と仮名 한국어 中文，没有空格",
    "right to left": "שלום עולם مرحبا بالعالم",
    "astral letters": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𠀀",
    "last code points": "\ue000\ufffd\uffff\U0010ffff",
    "Zalgo": "Z̸̢͎a̵͇l̶̥g̷o",
    "titlecase and modifiers": "ǅ ʰ ª º ˈ ⁿ",
    "long word": "pneumono" * 40,
    "long run of signs": "=" * 500 + "\n" + "-*" * 300,
    "one letter": "a" * 3000,
    "blanks": " " * 3000 + "x",
    "Latin-1 as text": bytes(range(256)).decode("latin-1"),
}
TEXT = st.text(st.characters(codec="utf-8")) | st.text("ab' \n\t1é漢🙂!sdtmrvel", max_size=60)


@pytest.fixture(params=["in Python", "fast"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test on both ways to encode."""
    monkeypatch.setattr(tokenizer, "_WORTH_LOADING", 0 if request.param == "fast" else 1 << 60)


def as_bytes(made: Tokenizer, ids: Any) -> list[bytes]:
    return [made.decode_bytes([number]) for number in ids]


@pytest.mark.parametrize("text", HARD.values(), ids=HARD.keys())
@pytest.mark.usefixtures("path")
def test_hard_texts_come_back_and_equal_the_slow_twin(small: Tokenizer, text: str) -> None:
    ids = small.encode(text)
    assert small.decode(ids) == text
    assert as_bytes(small, ids) == bpe.encode(text, list(small.vocabulary.merges))
    array = small.encode_array(text)
    assert array.dtype == np.uint16
    assert array.tolist() == ids


@given(TEXT)
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back_and_both_ways_agree(text: str) -> None:
    made = _made()
    ids = made.encode(text)
    assert made.decode(ids) == text
    assert made.decode(np.array(ids * 40, dtype=np.uint16)) == text * 40
    assert made._fast is not None
    assert made._fast.ids(text) == ids == made._fast.arrays([text])[0].tolist()
    assert as_bytes(made, ids) == bpe.encode(text, list(made.vocabulary.merges))


_kept: list[Tokenizer] = []


def _made() -> Tokenizer:
    """As the fixture `small`, for hypothesis, which wants none that lasts for one example."""
    if not _kept:
        _kept.append(learn_tokenizer(TEXTS, vocabulary_size=320))
    return _kept[0]


@given(st.lists(st.integers(0, 319)))
@settings(deadline=None)
def test_any_ids_decode_and_arrays_decode_alike(ids: list[int]) -> None:
    made = _made()
    whole = made.decode_bytes(ids)
    assert whole == b"".join(as_bytes(made, ids))
    assert made.decode_bytes(np.array(ids * 9, dtype=np.int64)) == whole * 9
    assert made.decode(ids) == whole.decode("utf-8", "replace")


@pytest.mark.usefixtures("path")
def test_lone_surrogates_count_as_replacement_characters_and_pairs_are_joined(small: Tokenizer) -> None:
    assert small.encode("a\ud800b\udfff") == small.encode("a\ufffdb\ufffd")
    assert small.encode("\ud83d\ude42") == small.encode("🙂")
    assert small.decode(small.encode("\udc80")) == "\ufffd"


@pytest.mark.usefixtures("path")
def test_end_of_text_in_a_text_is_ordinary_text(small: Tokenizer) -> None:
    ids = small.encode("one<|endoftext|>two <|endoftext|>")
    assert small.end_of_text not in ids
    assert small.decode(ids) == "one<|endoftext|>two <|endoftext|>"
    assert small.decode([small.end_of_text]) == "<|endoftext|>"
    assert small.end_of_text == small.vocabulary_size - 1


def test_a_batch_is_its_texts(small: Tokenizer) -> None:
    texts = list(HARD.values())
    assert [array.tolist() for array in small.encode_batch(texts)] == [small.encode(text) for text in texts]
    assert small.encode_batch([]) == []


@pytest.mark.parametrize("ids", [[-1], [320], [3, 99_999], [1.5], ["a"], [None], np.full(50, 320), np.full(50, -1)])
def test_ids_outside_the_vocabulary_are_refused(small: Tokenizer, ids: Any) -> None:
    with pytest.raises(UsageError, match=r"is not in the vocabulary; expected 0 to 319"):
        small.decode(ids)


def test_half_characters_decode_to_replacement_characters(small: Tokenizer) -> None:
    half = small.decode_bytes([small.vocabulary.ids[b"\xf0"]])
    assert half == b"\xf0"
    assert small.decode([small.vocabulary.ids[b"\xf0"]]) == "\ufffd"


@pytest.mark.parametrize("text", ["a" * 1_000_000, "ab" * 300_000, " " * 1_000_000 + "end", "漢" * 100_000])
@pytest.mark.usefixtures("path")
def test_a_megabyte_without_a_border_is_not_quadratic(small: Tokenizer, text: str) -> None:
    assert small.decode(small.encode_array(text)) == text


def test_a_small_memory_changes_nothing(small: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "_REMEMBERED", 3)
    forgetful = Tokenizer(small.vocabulary)
    text = "".join(HARD.values())
    assert forgetful.encode(text) == small.encode(text)
    assert len(forgetful._known) <= 3


def test_every_character_is_of_the_same_kind_for_the_fast_encoder(small: Tokenizer) -> None:
    # Planes 4 to 13, 15 and 16 hold no letters and never will soon.
    points = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000), 0x10FFFF]
    characters = map(chr, points)
    text = "".join(f"a{sign}1{sign}.{sign} {sign}{sign}\n" for sign in characters)
    assert small._fast is not None
    assert np.array_equal(small._fast.arrays([text])[0], np.array(small._slowly(text), dtype=np.uint16))


def test_without_the_fast_encoder_python_does_it(small: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "_WORTH_LOADING", 0)
    monkeypatch.setattr(tokenizer, "find_spec", lambda _name: None)
    alone = Tokenizer(small.vocabulary)
    assert alone._fast is None
    assert alone.encode_array(HARD["CJK"]).tolist() == alone.encode(HARD["CJK"]) == small.encode(HARD["CJK"])


@given(
    st.binary()
    | st.lists(st.sampled_from([b"the cat", b" ", b"\xff", b"\xc3", b"\xe6\xbc", "漢".encode()])).map(b"".join)
)
@settings(deadline=None)
def test_any_bytes_come_back(data: bytes) -> None:
    ids = _made().encode(data)
    assert _made().decode_bytes(ids) == data
    try:
        assert ids == _made().encode(data.decode())
    except UnicodeDecodeError:
        assert ids


@pytest.mark.usefixtures("path")
def test_end_of_text_is_special_where_the_caller_allows_it(small: Tokenizer) -> None:
    text, allowed = "one<|endoftext|> two<|endoftext|>", {"<|endoftext|>"}
    end = [small.end_of_text]
    assert small.encode(text, allowed_special=allowed) == small.encode("one") + end + small.encode(" two") + end
    assert small.encode("<|endoftext|>", allowed_special=allowed) == end
    assert small.encode("", allowed_special=allowed) == []
    with pytest.raises(UsageError, match=r"<\|pad\|> is no special token"):
        small.encode(text, allowed_special={"<|pad|>"})


@given(TEXT)
@settings(deadline=None)
def test_offsets_name_the_characters_that_a_token_has_bytes_of(text: str) -> None:
    made = _made()
    ids, offsets = made.encode_with_offsets(text)
    assert ids == made.encode(text)
    place, starts = 0, [len(text[:end].encode()) for end in range(len(text) + 1)]
    for number, (first, after) in zip(ids, offsets, strict=True):
        end = place + len(made.decode_bytes([number]))
        assert starts[first] <= place < starts[first + 1]
        assert starts[after - 1] < end <= starts[after]
        place = end


@pytest.mark.parametrize("text", HARD.values(), ids=HARD.keys())
def test_offsets_equal_those_of_tokenizers(gpt2: Tokenizer, text: str) -> None:
    # They take a leading blank out of a token's place unless they are told not to, as here.
    theirs = _tokenizers(gpt2)
    tokenizers = pytest.importorskip("tokenizers")
    theirs.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    assert gpt2.encode_with_offsets(text)[1] == theirs.encode(text).offsets


def test_fingerprints_tell_tokenizers_apart(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    other = learn_tokenizer(TEXTS, vocabulary_size=319)
    assert again.fingerprint == small.fingerprint == pickle.loads(pickle.dumps(small)).fingerprint
    assert other.fingerprint != small.fingerprint


def test_merge_steps_lead_from_bytes_to_tokens(small: Tokenizer) -> None:
    text = "so the cat's 漢"
    pieces_of = small.merge_steps(text)
    for steps in pieces_of:
        assert [len(step) for step in steps] == list(range(len(steps[0]), len(steps[-1]) - 1, -1))
        assert {b"".join(step) for step in steps} == {b"".join(steps[0])}
        assert all(len(token) == 1 for token in steps[0])
    assert [token for steps in pieces_of for token in steps[-1]] == as_bytes(small, small.encode(text))
    assert small.merge_steps("") == []


@pytest.mark.parametrize("text", HARD.values(), ids=HARD.keys())
@pytest.mark.usefixtures("path")
def test_hard_texts_equal_tiktoken_and_tokenizers(gpt2: Tokenizer, text: str) -> None:
    ids = gpt2.encode(text)
    assert ids == _tiktoken(gpt2).encode_ordinary(text)
    assert ids == _tokenizers(gpt2).encode(text, add_special_tokens=False).ids
    assert gpt2.decode(ids) == text


def test_random_texts_equal_tiktoken(gpt2: Tokenizer) -> None:
    theirs = _tiktoken(gpt2)

    @given(TEXT)
    @settings(max_examples=500, deadline=None)
    def agree(text: str) -> None:
        expected = theirs.encode_ordinary(text)
        assert gpt2.encode(text) == expected
        assert gpt2._fast is not None
        assert gpt2._fast.ids(text) == expected

    agree()


def test_real_documents_equal_tiktoken(gpt2: Tokenizer, shared_data: Path) -> None:
    theirs = _tiktoken(gpt2)
    for file in sorted((shared_data / "text").glob("*-000.jsonl")):
        sample = file.read_bytes()[:200_000].decode("utf-8", "replace")
        expected = theirs.encode_ordinary(sample)
        assert gpt2.encode(sample) == expected, file.name
        assert gpt2._slowly(sample) == expected, file.name


def test_gpt2_has_the_published_ids(gpt2: Tokenizer) -> None:
    assert (gpt2.vocabulary_size, gpt2.end_of_text) == (50_257, 50_256)
    assert gpt2.encode("Hello world") == [15496, 995]


def _tiktoken(made: Tokenizer) -> Any:
    tiktoken = pytest.importorskip("tiktoken")
    return tiktoken.Encoding("ours", pat_str=pieces.PATTERN, mergeable_ranks=made.vocabulary.ids, special_tokens={})


def _tokenizers(made: Tokenizer) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {written(token): number for token, number in made.vocabulary.ids.items()}
    merges = [(written(left), written(right)) for left, right in made.vocabulary.merges]
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return theirs
