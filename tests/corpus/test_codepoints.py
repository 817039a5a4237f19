"""Tables of code points, beside what Python says of each."""

from __future__ import annotations

from selftaught.corpus import codepoints


def test_tables_say_what_python_says_of_every_code_point() -> None:
    signs = list(map(chr, range(codepoints.UNICODE)))
    lowered = [sign.lower()[0] for sign in signs]
    assert codepoints.alphabetic().tolist() == list(map(str.isalpha, signs))
    assert codepoints.alphanumeric().tolist() == list(map(str.isalnum, signs))
    assert codepoints.blank().tolist() == list(map(str.isspace, signs))
    assert codepoints.lowered().tolist() == list(map(ord, lowered))
    assert codepoints.folded().tolist() == [ord(sign) if sign.isalnum() else 0 for sign in lowered]


def test_codes_are_those_of_the_text() -> None:
    for text in ("", "plain", "d\u00e9j\u00e0", "\U0001f600\ud800"):
        assert codepoints.codes_of(text).tolist() == list(map(ord, text))
