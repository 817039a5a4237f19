"""Pages in many encodings, declared rightly, wrongly or not at all."""

# ruff: noqa: RUF001 - the signs that look alike are what is tested

from __future__ import annotations

import pytest

from selftaught.corpus.encoding import decoded

TEXTS = {
    "shift_jis": "これは日本語の文章です。漢字とかなが混ざっています。",
    "gb18030": "这是一个中文句子，里面有许多汉字。",
    "windows-1251": "Это русский текст, в котором много букв.",
    "windows-1252": "Déjà vu: “l’été” est très agréable à Orléans – vraiment.",
    "iso-8859-7": "Αυτό είναι ένα ελληνικό κείμενο με πολλά γράμματα.",
    "utf-8": "Zażółć gęślą jaźń – 🙂",
}


@pytest.mark.parametrize(("encoding", "text"), TEXTS.items())
@pytest.mark.parametrize(
    "said", ["text/html; charset={}", "text/html", "text/html; charset=utf-8", 'text/html; charset="none"']
)
def test_text_comes_back_whatever_the_header_says(encoding: str, text: str, said: str) -> None:
    assert decoded((text * 5).encode(encoding), said.format(encoding)) == text * 5


@pytest.mark.parametrize("encoding", TEXTS)
def test_a_page_may_say_it_itself(encoding: str) -> None:
    page = (
        f'<html><head><meta http-equiv="Content-Type" content="text/html; charset={encoding}"></head>{TEXTS[encoding]}'
    )
    assert decoded(page.encode(encoding)) == page


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_believed_and_dropped(encoding: str) -> None:
    assert decoded("näïve".encode(encoding), "text/html; charset=iso-8859-1") == "näïve"


def test_what_browsers_read_as_another_encoding() -> None:
    assert decoded("“quoted” – text".encode("cp1252"), "text/html; charset=ISO-8859-1") == "“quoted” – text"


def test_utf8_that_is_broken_here_and_there_stays_utf8() -> None:
    body = "Größe und Übermaß führen zu Ärger. ".encode() * 50
    place = body.index(b" und", 300)
    assert decoded(body[:place] + b"\xff" + body[place:], "text/html; charset=utf-8").count("\ufffd") == 1


def test_any_bytes_become_text_without_nuls() -> None:
    assert decoded(b"a\0b") == "ab"
    assert "\0" not in decoded(bytes(range(256)) * 3)
