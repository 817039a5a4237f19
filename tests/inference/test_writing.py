from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.inference import writing
from selftaught.inference.generation import Drawn
from selftaught.report.records import Piece
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h"), (b"th", b"e"), (b"\xc3", b"\xa9"), (b"\xa9", b"t")]))


@given(text=st.text("thé🙂 x", max_size=20))
def test_pieces_are_the_text_and_its_probability(text):
    ids = TOKENIZER.encode(text)
    found = writing.pieces(TOKENIZER, [Drawn(token, 0.5) for token in ids])
    assert "".join(piece.text for piece in found) == text
    product = 1.0
    for piece in found:
        product *= piece.probability
    assert product == pytest.approx(0.5 ** len(ids))


def test_a_text_that_stops_within_a_character_is_shown():
    half = TOKENIZER.encode("\U0001f642")[:2]
    found = writing.pieces(TOKENIZER, [Drawn(token, 0.5, -1.0, ((half[0], -1.0),)) for token in half])
    assert [piece.text for piece in found] == ["\ufffd"]
    assert found[0].log_prob == -2.0


@given(text=st.text("abc", max_size=12), stop=st.lists(st.text("abc", max_size=3), max_size=2), data=st.data())
def test_text_is_cut_before_the_first_stop_string(text, stop, data):
    places = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text))))})
    pieces = [Piece(text=text[a:b], probability=0.5) for a, b in pairwise(places)]
    found = [place for one in stop if one and (place := text.find(one)) >= 0]
    cut = writing.cut(pieces, stop)
    assert "".join(piece.text for piece in cut) == text[: min(found, default=len(text))]
    assert all(piece.text for piece in cut)


@given(text=st.text("thé", max_size=12), stop=st.lists(st.text("thé", max_size=4), max_size=3))
def test_an_ending_is_seen_at_the_token_that_completes_it(text, stop):
    ending, ids = writing.Ending(TOKENIZER, stop), TOKENIZER.encode(text)
    for count, token in enumerate(ids, start=1):
        there = any(one.encode() in TOKENIZER.decode_bytes(ids[:count]) for one in stop if one)
        assert ending(token) == there
        if there:
            break
