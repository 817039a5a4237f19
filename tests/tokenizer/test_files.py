"""Vocabulary files: OpenAI's byte for byte, Hugging Face's names, and one line for each way to be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.errors import DamagedFileError, InputError
from selftaught.tokenizer import files
from selftaught.tokenizer.alphabet import BYTE_TO_CHARACTER, unwritten, written
from selftaught.tokenizer.tokenizer import Tokenizer


@given(st.binary())
def test_any_bytes_can_be_written_in_the_alphabet(token: bytes) -> None:
    assert unwritten(written(token)) == token


def test_the_alphabet_is_gpt2s() -> None:
    assert written(b" the\n") == "ĠtheĊ"
    assert len(set(BYTE_TO_CHARACTER.values())) == 256


@pytest.mark.parametrize("sign", [" ", "\n", "漢", "\u00a0", "\uffff"])
def test_a_sign_outside_the_alphabet_is_refused(sign: str) -> None:
    with pytest.raises(ValueError, match="latin-1"):
        unwritten(f"a{sign}")


def test_a_saved_tokenizer_is_loaded_again(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path / "new" / "folder")
    again = Tokenizer.load(tmp_path / "new" / "folder")
    assert again.vocabulary == small.vocabulary
    assert files.is_tokenizer(tmp_path / "new" / "folder")
    assert not files.is_tokenizer(tmp_path)


def test_hugging_faces_names_do_as_well(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path)
    (tmp_path / "encoder.json").rename(tmp_path / "vocab.json")
    (tmp_path / "vocab.bpe").rename(tmp_path / "merges.txt")
    assert Tokenizer.load(tmp_path).fingerprint == small.fingerprint


def test_windows_line_ends_and_no_version_line_are_read(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path)
    lines = (tmp_path / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:]
    (tmp_path / "vocab.bpe").write_bytes("\r\n".join(lines).encode())
    assert Tokenizer.load(tmp_path).fingerprint == small.fingerprint


def test_gpt2s_files_are_written_as_openai_published_them(gpt2: Tokenizer, shared_data: Path, tmp_path: Path) -> None:
    gpt2.save(tmp_path)
    for name in ("encoder.json", "vocab.bpe"):
        assert (tmp_path / name).read_bytes() == (shared_data / "vocab" / "gpt2" / name).read_bytes()


def test_gpt2s_encoder_follows_from_its_merges(gpt2: Tokenizer) -> None:
    assert files.from_merges(list(gpt2.vocabulary.merges)) == gpt2.vocabulary


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer in .*encoder.json and vocab.bpe.*selftaught tokenizer learn"):
        Tokenizer.load(tmp_path)


def _encoder(change: Callable[[dict[str, int]], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        ids = json.loads((folder / "encoder.json").read_bytes())
        change(ids)
        (folder / "encoder.json").write_text(json.dumps(ids), encoding="utf-8")

    return spoil


def _merges(line: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "vocab.bpe"
        path.write_bytes(path.read_bytes() + line)

    return spoil


SPOILED: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut short": (lambda f: (f / "encoder.json").write_bytes(b'{"!": 0, "a'), "encoder.json cannot be read"),
    "a list": (lambda f: (f / "encoder.json").write_bytes(b"[1, 2]"), "encoder.json cannot be read"),
    "an id that is text": (lambda f: (f / "encoder.json").write_bytes(b'{"a": "b"}'), "encoder.json cannot be read"),
    "no end of text": (_encoder(lambda ids: ids.pop("<|endoftext|>") and None), "has no <|endoftext|>"),
    "a byte is missing": (_encoder(lambda ids: (ids.pop("!") and None) or None), "no id for '!'"),
    "a sign outside": (_encoder(lambda ids: ids.update({"漢": 320})), "outside the byte alphabet; got '漢'"),
    "an id twice": (_encoder(lambda ids: ids.update({"!": 5})), "are not 0, 1, 2, ... each once"),
    "an id left out": (_encoder(lambda ids: ids.update({"<|endoftext|>": 999})), "are not 0, 1, 2, ... each once"),
    "a line of one token": (_merges(b"alone\n"), "line 65 is not a merge; expected two tokens"),
    "a line of three": (_merges(b"a b c\n"), "line 65 is not a merge"),
    "a foreign sign in a merge": (_merges("a 漢\n".encode()), "line 65 is not a merge"),
    "not UTF-8": (_merges(b"\xff\xfe\n"), "vocab.bpe is not UTF-8"),
    "a merge without an id": (_merges(b"q q\n"), "no id for 'qq'"),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILED.values(), ids=SPOILED.keys())
def test_files_that_contradict_themselves(
    small: Tokenizer, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    small.save(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DamagedFileError) as caught:
        Tokenizer.load(tmp_path)
    assert said in caught.value.line()
    assert "\n" not in caught.value.line()
