"""From tokens to text, beside a slow twin that looks at everything again after every token."""

from __future__ import annotations

import codecs

from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.inference.scheduling import Progress, Told
from selftaught.server.texts import Assembly, written
from tests.server.conftest import TOKENIZER

TOKENS = st.one_of(
    st.text("thefo é🙂", max_size=12).map(TOKENIZER.encode),
    st.lists(st.integers(0, TOKENIZER.vocabulary_size - 2), max_size=12),
)
STOPS = st.lists(st.text("thefo é🙂\ufffd", min_size=1, max_size=4), max_size=3)


def slowly(tokens, stops):
    """The text that may be shown in the end, and why it ends."""
    for count in range(1, len(tokens) + 1):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(TOKENIZER.decode_bytes(tokens[:count]), final=count == len(tokens))
        if any(stop in text for stop in stops):
            return text[: min(text.find(stop) for stop in stops if stop in text)], "stop"
    return TOKENIZER.decode(tokens), "length"


def pieces(tokens, stops, prompt=(), offset=0):
    assembly = Assembly(TOKENIZER, stop=stops, offset=offset)
    news = [Progress(0, drawn=Told(token, -1.0)) for token in tokens] or [Progress(0)]
    news[0] = Progress(0, prompt=tuple(Told(token, -1.0) for token in prompt), drawn=news[0].drawn)
    news[-1] = Progress(0, prompt=news[-1].prompt, drawn=news[-1].drawn, ended="length")
    found = []
    for one in news:
        if (piece := assembly.add(one)) is not None:
            found.append(piece)
            if piece.finish:
                return found
    raise AssertionError("the text has no end")


@settings(max_examples=300)
@given(tokens=TOKENS, stops=STOPS)
def test_what_is_shown_is_what_the_slow_twin_shows(tokens, stops):
    found = pieces(tokens, stops)
    text, finish = slowly(tokens, stops)
    assert "".join(piece.text for piece in found) == text
    assert found[-1].finish == finish
    assert [piece.finish for piece in found[:-1]] == [None] * (len(found) - 1)


@settings(max_examples=200)
@given(tokens=TOKENS, stops=STOPS, prompt=TOKENS, offset=st.integers(0, 5))
def test_each_token_is_told_once_where_it_stands(tokens, stops, prompt, offset):
    found = pieces(tokens, stops, prompt, offset)
    placed = [one for piece in found for one in piece.tokens]
    whole = [*prompt, *tokens]
    assert [one.told.token for one in placed] == whole[: len(placed)]
    offsets = [one.offset for one in placed]
    assert offsets == sorted(offsets)
    text, shown = "".join(piece.text for piece in found), 0
    for one in placed:
        name = written(TOKENIZER, one.told.token)
        place = one.offset - offset
        if not name.startswith("bytes:") and "\ufffd" not in text:
            assert text[place:].startswith(name) or name.startswith(text[place:])
    for piece in found:
        assert all(one.offset - offset <= shown + len(piece.text) for one in piece.tokens)
        shown += len(piece.text)
    if found[-1].finish == "length":
        assert len(placed) == len(whole)
        assert text == TOKENIZER.decode(whole)


def test_a_text_that_is_ended_from_outside_shows_what_was_held():
    assembly = Assembly(TOKENIZER, stop=["foo!"])
    assert assembly.add(Progress(0, drawn=Told(TOKENIZER.encode("foo")[0], -1.0))) is None
    assert assembly.end("length").text == "foo"
    emoji = TOKENIZER.encode("🙂")
    assembly = Assembly(TOKENIZER)
    assert assembly.add(Progress(0, drawn=Told(emoji[0], -1.0))) is None
    piece = assembly.end("length")
    assert (piece.text, len(piece.tokens), piece.finish) == ("\ufffd", 1, "length")
    assert written(TOKENIZER, emoji[0]) == "bytes:\\xf0"
