"""Packing: the shards hold the documents, whatever their size, and a kill loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from selftaught import storage
from selftaught.corpus import documents
from selftaught.corpus.documents import Document
from selftaught.errors import DamagedFileError, InputError, UsageError
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens import packing
from selftaught.tokens.packing import pack
from selftaught.tokens.shards import files_of, open_shards
from tests.tokens.conftest import texts


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("shard_tokens", [1, 100, 1 << 20])
def test_shards_hold_every_document_after_its_delimiter(
    corpus: Path, tokenizer: Tokenizer, tmp_path: Path, shard_tokens: int
) -> None:
    index = pack(corpus, tokenizer, tmp_path, shard_tokens=shard_tokens)
    for split in ("train", "heldout"):
        shards = open_shards(tmp_path, split)
        rows = [row.text for row in documents.read(corpus, split)]
        expected = [number for text in rows for number in (tokenizer.end_of_text, *tokenizer.encode(text))]
        assert shards.slice(0, shards.tokens).tolist() == expected
        assert shards.documents == len(rows)
        assert shards.bytes == sum(len(text.encode()) for text in rows)
        assert shards.document_starts().tolist() == np.flatnonzero(np.array(expected) == tokenizer.end_of_text).tolist()
        shards.verify()
    assert (shards.fingerprint, shards.vocabulary_size) == (tokenizer.fingerprint, 300)
    assert set(contents(tmp_path)) == set(files_of(index))
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    assert (len(index.splits["train"].shards) == 40) == (shard_tokens == 1)


@pytest.mark.parametrize("batch_characters", [1, 50, 1000])
def test_how_many_documents_are_encoded_together_changes_nothing(
    corpus: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_characters: int
) -> None:
    pack(corpus, tokenizer, tmp_path / "together", shard_tokens=100)
    monkeypatch.setattr(packing, "_BATCH_CHARACTERS", batch_characters)
    pack(corpus, tokenizer, tmp_path / "apart", shard_tokens=100)
    assert contents(tmp_path / "apart") == contents(tmp_path / "together")


def test_large_vocabularies_take_four_bytes_a_token(corpus: Path, tmp_path: Path, gpt2_sized: Tokenizer) -> None:
    index = pack(corpus, gpt2_sized, tmp_path)
    shards = open_shards(tmp_path)
    assert index.dtype == "uint32"
    assert (tmp_path / "train-00000.tokens").stat().st_size == 4 * shards.tokens
    first = next(documents.read(corpus)).text
    ids = [gpt2_sized.end_of_text, *gpt2_sized.encode(first)]
    assert shards.slice(0, len(ids)).tolist() == ids


@pytest.fixture
def gpt2_sized(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    made = Tokenizer(tokenizer.vocabulary)
    monkeypatch.setattr(Tokenizer, "dtype", np.uint32)
    return made


def test_a_document_cannot_forge_the_delimiter(tokenizer: Tokenizer, tmp_path: Path) -> None:
    storage.write_jsonl(tmp_path / "one.jsonl", [Document(id="1", text="a<|endoftext|>b"), Document(id="2", text="")])
    pack(tmp_path / "one.jsonl", tokenizer, tmp_path / "out")
    shards = open_shards(tmp_path / "out")
    assert shards.documents == 2
    assert (shards.slice(0, shards.tokens) == tokenizer.end_of_text).sum() == 2


def test_one_file_of_documents_has_only_a_training_side(tokenizer: Tokenizer, tmp_path: Path) -> None:
    storage.write_jsonl(tmp_path / "one.jsonl", [Document(id="1", text="a cat")])
    index = pack(tmp_path / "one.jsonl", tokenizer, tmp_path / "out")
    assert list(index.splits) == ["train"]
    with pytest.raises(InputError, match="has no heldout tokens; got train"):
        open_shards(tmp_path / "out", "heldout")


def test_a_side_without_documents_is_refused(corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    storage.write_bytes(tmp_path / "corpus" / "train.jsonl.zst", (corpus / "train.jsonl.zst").read_bytes())
    storage.write_jsonl(tmp_path / "corpus" / "heldout.jsonl.zst", [])
    with pytest.raises(InputError, match=r"has no heldout document.*--heldout"):
        pack(tmp_path / "corpus", tokenizer, tmp_path / "out")
    assert not (tmp_path / "out" / "shards.json").exists()


def test_a_folder_that_is_no_corpus_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a corpus folder"):
        pack(tmp_path, tokenizer, tmp_path / "out")


@pytest.mark.parametrize("size", [0, -1])
def test_empty_shards_are_refused(corpus: Path, tokenizer: Tokenizer, tmp_path: Path, size: int) -> None:
    with pytest.raises(UsageError, match="--shard-tokens of at least 1"):
        pack(corpus, tokenizer, tmp_path, shard_tokens=size)


KILLED = """
import os, signal, sys
from selftaught import storage
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens import packing
corpus, tokenizer, out, name, when = sys.argv[1:]
write = storage.write_bytes
def write_or_die(path, data):
    if path.name == name and when == "before": os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)
    if path.name == name: os.kill(os.getpid(), signal.SIGKILL)
for room in (storage, storage.files, storage.documents):
    room.write_bytes = write_or_die
packing.pack(corpus, Tokenizer.load(tokenizer), out, shard_tokens=100)
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["train-00002.offsets", "heldout-00000.offsets", "encoder.json", "shards.json"])
def test_after_a_kill_the_same_call_gives_the_same_files(
    corpus: Path, tokenizer: Tokenizer, tmp_path: Path, name: str, when: str
) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    pack(corpus, tokenizer, tmp_path / "undisturbed", shard_tokens=100)
    out = tmp_path / "killed"
    arguments = [str(corpus), str(tmp_path / "tokenizer"), str(out), name, when]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    kept = {p.name: p.stat().st_mtime_ns for p in out.glob("*.tokens") if _listed(out, p.name)}
    pack(corpus, tokenizer, out, shard_tokens=100)
    storage.sweep(out)
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert kept == {key: (out / key).stat().st_mtime_ns for key in kept}, "finished shards are not written again"
    assert kept or name == "train-00000.offsets"


def _listed(out: Path, name: str) -> bool:
    path = out / "finished.json"
    return path.exists() and name in [row["shard"]["name"] for row in json.loads(path.read_bytes())]


def test_a_shard_that_was_damaged_after_a_kill_is_written_again(
    corpus: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    pack(corpus, tokenizer, tmp_path / "undisturbed", shard_tokens=100)
    tokenizer.save(tmp_path / "tokenizer")
    arguments = [str(corpus), str(tmp_path / "tokenizer"), str(tmp_path / "killed"), "encoder.json", "before"]
    subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    shard = tmp_path / "killed" / "train-00001.tokens"
    shard.write_bytes(bytes(len(shard.read_bytes())))
    pack(corpus, tokenizer, tmp_path / "killed", shard_tokens=100)
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


def test_shards_of_another_tokenizer_are_not_taken_for_finished(
    corpus: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    arguments = [str(corpus), str(tmp_path / "tokenizer"), str(tmp_path / "out"), "encoder.json", "before"]
    subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    other = learn_tokenizer(texts(3, 1), vocabulary_size=280)
    pack(corpus, other, tmp_path / "out", shard_tokens=100)
    shards = open_shards(tmp_path / "out")
    first = next(documents.read(corpus)).text
    assert other.decode(shards.slice(1, len(other.encode(first)))) == first


@pytest.mark.parametrize("suffix", ["tokens", "offsets"])
def test_damaged_shards_are_noticed(corpus: Path, tokenizer: Tokenizer, tmp_path: Path, suffix: str) -> None:
    pack(corpus, tokenizer, tmp_path)
    path = tmp_path / f"train-00000.{suffix}"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + b"\x01\x01")
    with pytest.raises(DamagedFileError, match=r"is not what was written.*selftaught pack"):
        open_shards(tmp_path).verify()
    path.write_bytes(whole[:-2])
    with pytest.raises(DamagedFileError, match=f"is damaged; expected {len(whole)} bytes; got {len(whole) - 2} bytes"):
        open_shards(tmp_path).document_starts()
    path.unlink()
    with pytest.raises(DamagedFileError, match="is missing"):
        open_shards(tmp_path).document_starts()


def test_what_is_no_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no token shards in .*selftaught pack CORPUS"):
        open_shards(tmp_path)
    (tmp_path / "shards.json").write_text('{"fingerprint": 3}', encoding="utf-8")
    with pytest.raises(DamagedFileError, match=r"shards.json cannot be read"):
        open_shards(tmp_path)


def test_slices_past_the_end_are_refused(corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    pack(corpus, tokenizer, tmp_path, shard_tokens=100)
    shards = open_shards(tmp_path)
    assert shards.slice(shards.tokens, 0).tolist() == []
    for start, count in ((-1, 2), (shards.tokens - 1, 2), (3, -1)):
        with pytest.raises(UsageError, match="no tokens"):
            shards.slice(start, count)
