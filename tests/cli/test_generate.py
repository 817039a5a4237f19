from __future__ import annotations

import json

import pytest

from selftaught import storage
from selftaught.checkpoint import native
from selftaught.cli.main import main
from selftaught.errors import InputError, OutputError, UsageError
from selftaught.report.records import Sample
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference.networks import network

TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h"), (b"th", b"e")]))


@pytest.fixture
def model(tmp_path):
    native.save(network(vocabulary=TOKENIZER.vocabulary_size), TOKENIZER, tmp_path / "4x16")
    return tmp_path / "4x16"


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    rows = [{"id": str(number), "text": f"Document {number} says: " + "the word " * 80} for number in range(6)]
    for split in ("train", "heldout"):
        storage.write_jsonl(folder / f"{split}.jsonl.zst", rows)
    return folder


def run(*words):
    return main(["generate", *map(str, words)])


def test_a_prompt_goes_on_on_the_screen(model, capsys):
    assert run("--model", model, "the", "word", "--tokens", 12, "--temperature", 0) == 0
    text = capsys.readouterr().out
    assert text.startswith("the word")
    assert len(text) > len("the word\n")
    run("--model", model, "the word", "--tokens", 12, "--temperature", 0)
    assert capsys.readouterr().out == text


def test_several_samples_differ_and_a_seed_repeats_them(model, capsys):
    words = ("--model", model, "the", "--tokens", 30, "--samples", 2, "--seed", 5, "--json")
    run(*words)
    first = json.loads(capsys.readouterr().out)
    run(*words)
    assert json.loads(capsys.readouterr().out) == first
    assert first[0]["text"] != first[1]["text"]


def test_heldout_contexts_are_continued_into_a_folder(model, corpus, tmp_path, capsys):
    words = ("--model", model, "--corpus", corpus, "--contexts", 4, "--seed", 1, "--tokens", 8, "--out", tmp_path / "s")
    assert run(*words) == 0
    samples = storage.read_lines(tmp_path / "s" / "samples.jsonl", Sample)
    assert len({sample.prompt for sample in samples}) == 4
    for sample in samples:
        assert sample.prompt.startswith("Document ")
        assert sample.model == "4x16"
        assert "".join(piece.text for piece in sample.pieces) == sample.text
    capsys.readouterr()
    assert run(*words) == 0
    assert "finished" in capsys.readouterr().out


def test_a_file_of_prompts(model, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("the one\n\nthe other\n")
    assert run("--model", model, "--prompts", tmp_path / "prompts.txt", "--tokens", 4, "--out", tmp_path / "s") == 0
    samples = storage.read_lines(tmp_path / "s" / "samples.jsonl", Sample)
    assert [sample.prompt for sample in samples] == ["the one", "the other"]


def test_short_documents_serve_where_there_are_no_long_ones(model, tmp_path):
    folder = tmp_path / "corpus"
    storage.write_jsonl(
        folder / "heldout.jsonl.zst", [{"id": "1", "text": "  the few words"}, {"id": "2", "text": " \n"}]
    )
    storage.write_jsonl(folder / "train.jsonl.zst", [])
    assert run("--model", model, "--corpus", folder, "--tokens", 4, "--out", tmp_path / "s") == 0
    assert [row.prompt for row in storage.read_lines(tmp_path / "s" / "samples.jsonl", Sample)] == ["the few"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--model", "nowhere", "the"], InputError.exit_code),
        (["--model", "MODEL", "the", "--top-k", "-1"], UsageError.exit_code),
        (["--model", "MODEL", "the", "--temperature", "-1"], UsageError.exit_code),
        (["--model", "MODEL", "the", "--top-p", "0"], UsageError.exit_code),
        (["--model", "MODEL", "the", "--tokens", "0"], UsageError.exit_code),
        (["--model", "MODEL", "the", "--samples", "0"], UsageError.exit_code),
        (["--model", "MODEL", "--prompts", "nowhere"], InputError.exit_code),
        (["--model", "MODEL", "the", "--prompts", "nowhere"], UsageError.exit_code),
        (["--model", "MODEL", "the", "--out", "OUT"], UsageError.exit_code),
        (["--model", "MODEL", "--corpus", "EMPTY"], InputError.exit_code),
    ],
)
def test_each_mistake_gives_one_line(model, tmp_path, capsys, words, code):
    (tmp_path / "empty").mkdir()
    places = {"MODEL": model, "OUT": tmp_path / "s", "EMPTY": tmp_path / "empty", "nowhere": tmp_path / "nowhere"}
    assert run(*[places.get(word, word) for word in words]) == code
    problem = capsys.readouterr().err
    assert problem.startswith("selftaught: ")
    assert problem.count("\n") == 1


def test_convert_there_and_back(model, tmp_path, capsys):
    there, back = tmp_path / "hf", tmp_path / "back"
    assert main(["convert", str(model), str(there), "--to", "hf"]) == 0
    assert main(["convert", str(there), str(back), "--to", "native"]) == 0
    assert (back / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert main(["convert", str(model), str(there)]) == OutputError.exit_code
    (tmp_path / "file").write_text("")
    assert main(["convert", str(model), str(tmp_path / "file")]) == OutputError.exit_code
    assert main(["convert", str(tmp_path / "nowhere"), str(tmp_path / "new")]) == InputError.exit_code
    assert capsys.readouterr().err.count("selftaught:") == 3
