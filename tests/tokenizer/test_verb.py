"""`selftaught tokenizer` and `selftaught pack` as they are typed: results, reruns, and one line for each mistake."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.cli.main import main
from selftaught.corpus.documents import Document
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.shards import open_shards

SENTENCES = [f"The cat number {number} sat on the mat, and the other cat's hat was red.\n" for number in range(30)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for split in ("train", "heldout"):
        rows = [Document(id=text, text=text) for text in SENTENCES]
        storage.write_jsonl(tmp_path / "corpus" / f"{split}.jsonl.zst", rows)
    return tmp_path / "corpus"


@pytest.fixture
def learned(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert learn(corpus, tmp_path / "tokenizer") == 0
    capsys.readouterr()
    return tmp_path / "tokenizer"


def learn(corpus: Path, out: Path, *flags: str) -> int:
    return main(["tokenizer", "learn", str(corpus), "--vocabulary-size", "280", "--out", str(out), *flags])


def test_learn_encode_decode_and_pack(
    corpus: Path, learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tokenizer", "encode", "the cat", "--tokenizer", str(learned)]) == 0
    ids = capsys.readouterr().out.split()
    assert main(["tokenizer", "decode", *ids, "--tokenizer", str(learned)]) == 0
    assert capsys.readouterr().out == "the cat\n"
    assert main(["pack", str(corpus), "--tokenizer", str(learned), "--out", str(tmp_path / "tokens")]) == 0
    assert "train" in capsys.readouterr().out
    shards = open_shards(tmp_path / "tokens", "heldout")
    assert Tokenizer.load(tmp_path / "tokens").fingerprint == shards.fingerprint == Tokenizer.load(learned).fingerprint


def test_standard_input_and_json(
    learned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "two\nlines é\n"
    _type(monkeypatch, text.encode())
    assert main(["tokenizer", "encode", "--tokenizer", str(learned), "--json"]) == 0
    ids = json.loads(capsys.readouterr().out)
    _type(monkeypatch, " ".join(map(str, ids)).encode())
    assert main(["tokenizer", "decode", "--tokenizer", str(learned), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == text


def _type(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_second_start_says_that_it_is_done(
    corpus: Path, learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (learned / "run.json").read_bytes()
    assert learn(corpus, learned, "--json") == 0
    said = capsys.readouterr()
    assert "is finished" in said.err
    assert json.loads(said.out)["vocabulary_size"] == 280
    assert (learned / "run.json").read_bytes() == before


def test_a_damaged_shard_is_made_again(
    corpus: Path, learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pack", str(corpus), "--tokenizer", str(learned), "--out", str(tmp_path / "tokens")]
    assert main(command) == 0
    shard = tmp_path / "tokens" / "train-00000.tokens"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-2])
    assert main(command) == 0
    assert shard.read_bytes() == whole
    assert "is finished" not in capsys.readouterr().out


def test_show_spells_out_merges(learned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenizer", "show", "the cat", "--tokenizer", str(learned)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["t", "|", "h", "|", "e"]
    assert any(line.strip().startswith("Ġ | c | a | t") for line in lines)
    assert lines[-1].startswith("4 bytes, 1 tokens: ")


@pytest.mark.parametrize("kind", ["folder", "rows", "text"])
def test_show_measures_a_corpus_or_file(
    corpus: Path, learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    paths = {"folder": corpus, "rows": corpus / "train.jsonl.zst", "text": tmp_path / "text.txt"}
    (tmp_path / "text.txt").write_text("".join(SENTENCES), encoding="utf-8")
    assert main(["tokenizer", "show", str(paths[kind]), "--tokenizer", str(learned), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    tokenizer = Tokenizer.load(learned)
    assert found["total"]["bytes"] == len("".join(SENTENCES).encode())
    assert found["total"]["tokens"] == sum(len(tokenizer.encode(text)) for text in SENTENCES)
    assert sum(row["tokens"] for row in found["kinds"]) == found["total"]["tokens"]
    used = {number for text in SENTENCES for number in tokenizer.encode(text)}
    assert set(found["unused"]) == set(range(tokenizer.end_of_text)) - used


def test_a_wrong_size_leaves_no_folder_behind(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new"
    assert main(["tokenizer", "learn", str(corpus), "--vocabulary-size", "256", "--out", str(out)]) == 2
    assert "expected at least 257" in capsys.readouterr().err
    assert learn(corpus, out) == 0


def test_fewer_pairs_than_asked_for_are_said(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tokenizer", "learn", str(corpus), "--vocabulary-size", "9999", "--out", str(tmp_path / "t")]
    assert main(words) == 0
    assert "fewer ids than 9999" in capsys.readouterr().out


MISTAKES = {
    "no corpus": (["tokenizer", "learn", "{tmp}/none", "--out", "{tmp}/o"], 3, "none"),
    "no corpus in the folder": (["tokenizer", "learn", "{tmp}/empty", "--out", "{tmp}/o"], 3, "is not a corpus folder"),
    "a corpus without text": (["tokenizer", "learn", "{tmp}/blank.jsonl", "--out", "{tmp}/o"], 3, "there is no text"),
    "no tokenizer": (["tokenizer", "encode", "a", "--tokenizer", "{tmp}/empty"], 3, "no tokenizer in"),
    "an id too large": (["tokenizer", "decode", "280", "--tokenizer", "{tok}"], 2, "id 280 is not in the vocabulary"),
    "an unknown word": (["tokenizer", "lern"], 2, "Did you mean learn?"),
    "packing without a tokenizer": (
        ["pack", "{corpus}", "--tokenizer", "{tmp}/no", "--out", "{tmp}/o"],
        3,
        "cannot read",
    ),
    "packing with no tokenizer": (
        ["pack", "{corpus}", "--tokenizer", "{tmp}/empty", "--out", "{tmp}/o"],
        3,
        "no tokenizer",
    ),
    "packing nothing": (
        ["pack", "{tmp}/blank.jsonl", "--tokenizer", "{tok}", "--out", "{tmp}/o"],
        3,
        "has no train document",
    ),
    "empty shards": (
        ["pack", "{corpus}", "--tokenizer", "{tok}", "--out", "{tmp}/o", "--shard-tokens", "0"],
        2,
        "--shard-tokens of at least 1",
    ),
    "the folder of another verb": (
        ["pack", "{corpus}", "--tokenizer", "{tok}", "--out", "{tok}"],
        4,
        "belongs to another verb",
    ),
    "a binary file to measure": (
        ["tokenizer", "show", "{tmp}/binary", "--tokenizer", "{tok}"],
        3,
        "is not text; expected UTF-8",
    ),
    "an empty file to measure": (
        ["tokenizer", "show", "{tmp}/nothing", "--tokenizer", "{tok}"],
        3,
        "no text to measure",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_each_mistake_is_one_line(
    corpus: Path, learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: tuple[list[str], int, str]
) -> None:
    words, code, said = mistake
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.jsonl").write_bytes(b"")
    (tmp_path / "binary").write_bytes(b"\x00\xff\xfe")
    (tmp_path / "nothing").write_bytes(b"")
    filled = [word.format(tmp=tmp_path, tok=learned, corpus=corpus) for word in words]
    assert main(filled) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [["tokenizer", "learn"], ["tokenizer", "show"], ["pack"]])
def test_help_loads_neither_torch_nor_numba(words: list[str]) -> None:
    code = (
        "import sys; from selftaught.cli.main import main\n"
        f"try: main({[*words, '--help']!r})\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numba')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("format_", "name"), [("openai", "a"), ("hf", "b"), ("tokenizer.json", "c.json"), ("tiktoken", "d.bpe")]
)
def test_convert_writes_every_format(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str, name: str
) -> None:
    out = tmp_path / "formats" / name
    assert main(["tokenizer", "convert", str(learned), str(out), "--to", format_]) == 0
    assert Tokenizer.load(out).fingerprint == Tokenizer.load(learned).fingerprint
    capsys.readouterr()
    assert main(["tokenizer", "convert", str(learned), str(out), "--to", format_]) == 4
    assert "expected a new place" in capsys.readouterr().err


def test_special_and_offsets(learned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end = Tokenizer.load(learned).end_of_text
    assert main(["tokenizer", "encode", "<|endoftext|>", "--tokenizer", str(learned), "--special"]) == 0
    assert capsys.readouterr().out.split() == [str(end)]
    assert main(["tokenizer", "encode", "thé", "--tokenizer", str(learned), "--json", "--offsets"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [place for _, *place in found][-2:] == [[2, 3], [2, 3]]
    assert main(["tokenizer", "encode", "a", "--tokenizer", str(learned), "--offsets"]) == 2
    assert "--json --offsets" in capsys.readouterr().err


def test_learning_with_two_processes_gives_the_same(corpus: Path, learned: Path, tmp_path: Path) -> None:
    assert learn(corpus, tmp_path / "two", "--jobs", "2") == 0
    assert Tokenizer.load(tmp_path / "two").fingerprint == Tokenizer.load(learned).fingerprint
