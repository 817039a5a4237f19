from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.checkpoint import huggingface, native
from selftaught.cli.generate import PRESETS, GenerateSettings
from selftaught.cli.main import main
from selftaught.errors import INTERRUPTED, InputError, MismatchError, OutputError, UsageError
from selftaught.inference.language_model import load
from selftaught.inference.rules import SamplingSettings
from selftaught.report.records import Sample
from selftaught.tokenizer import files
from selftaught.tokenizer.gpt1 import GPT1Tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference.networks import network

RULES = SamplingSettings(temperature=3, top_k=0)
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


@pytest.mark.parametrize("broken_off", ["_write_tokenizer", "_card"])
def test_a_conversion_that_is_broken_off_leaves_nothing_in_the_way(model, tmp_path, monkeypatch, broken_off):
    there = tmp_path / "hf"
    words = ["convert", str(model), str(there)]
    leftover = storage.unfinished(there)
    leftover.mkdir()
    (leftover / "config.json").write_text("of a process that was killed")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(huggingface, broken_off, stop)
        assert main(words) == INTERRUPTED
    assert not there.exists()
    assert not leftover.exists()
    assert main(words) == 0
    assert load(there).model.shape == load(model).model.shape


def test_prompts_as_json_lines_with_alternatives(model, tmp_path, capsys):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "the one", "id": 3}\n{"prompt": ""}\n')
    words = ("--model", model, "--prompts", file, "--tokens", 6, "--samples", 2, "--alternatives", 3, "--json")
    assert run(*words) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["prompt"] for one in found] == ["the one", "the one", "", ""]
    assert [one["settings"].rsplit(", ", 1)[1] for one in found] == ["seed 1", "seed 2"] * 2
    for one in found:
        assert "".join(piece["text"] for piece in one["pieces"]) == one["text"]
        for piece in one["pieces"]:
            assert len(piece["alternatives"]) == 3
            values = [value for _, value in piece["alternatives"]]
            assert values == sorted(values, reverse=True)
            assert piece["log_prob"] <= 0
    file.write_text('{"text": "the"}\n')
    assert run(*words) == InputError.exit_code
    assert "line 1" in capsys.readouterr().err


def test_texts_side_by_side_are_those_alone(model, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("the one\nthe other the other the\nx\n")
    words = ("--model", model, "--prompts", tmp_path / "prompts.txt", "--tokens", 40, "--samples", 2, "--json")
    found = []
    for together in (1, 5):
        run(*words, "--together", together)
        found.append([one["text"] for one in json.loads(capsys.readouterr().out)])
    assert found[0] == found[1]
    run("--model", model, "the other the other the", "--tokens", 40, "--seed", 2, "--json")
    assert json.loads(capsys.readouterr().out)[0]["text"] == found[0][3]


def test_presets_are_the_papers(model, tmp_path):
    (tmp_path / "prompts.txt").write_text("the one\n")
    words = ("--model", model, "--prompts", tmp_path / "prompts.txt", "--preset", "paper-summaries")
    assert run(*words, "--tokens", 7, "--out", tmp_path / "s") == 0
    [sample] = storage.read_lines(tmp_path / "s" / "samples.jsonl", Sample)
    assert sample.prompt == "the one\nTL;DR:"
    assert sample.settings == "top-k 2, temperature 1, seed 1"
    record = json.loads((tmp_path / "s" / "run.json").read_bytes())
    assert record["settings"]["tokens"] == 7
    assert record["sources"]["top_k"] == "recipe paper-summaries"
    assert GenerateSettings().top_k == PRESETS["paper-samples"].top_k == 40


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_a_draft_model_changes_no_greedy_text(model, tmp_path, capsys, weights):
    native.save(network(vocabulary=TOKENIZER.vocabulary_size, layers=1, seed=2), TOKENIZER, tmp_path / "small")
    words = ("--model", model, "the", "--tokens", 60, "--temperature", 0, "--weights", weights)
    assert run(*words) == 0
    alone = capsys.readouterr().out
    assert run(*words, "--draft", tmp_path / "small") == 0
    assert capsys.readouterr().out == alone
    assert run(*words, "--draft", tmp_path / "small", "--samples", 2, "--json") == 0
    assert {"the" + one["text"] + "\n" for one in json.loads(capsys.readouterr().out)} == {alone}


def test_a_draft_model_of_another_tokenizer_is_refused(model, tmp_path, capsys):
    other = Tokenizer(files.from_merges([(b"f", b"o"), (b"fo", b"o")]))
    native.save(network(vocabulary=other.vocabulary_size), other, tmp_path / "other")
    assert run("--model", model, "the", "--draft", tmp_path / "other") == MismatchError.exit_code
    assert "tokenizer" in capsys.readouterr().err


def test_text_ends_before_a_stop_string(model, capsys):
    words = ("--model", model, "the", "--tokens", 60, "--temperature", 3, "--top-k", 0, "--seed", 4)
    run(*words, "--json")
    [whole] = [one["text"] for one in json.loads(capsys.readouterr().out)]
    stop = next(sign for sign in whole[3:] if sign.isascii() and sign.isalnum())
    run(*words, "--stop", stop, "--json")
    [found] = json.loads(capsys.readouterr().out)
    assert found["text"] == whole[: whole.find(stop)] == "".join(piece["text"] for piece in found["pieces"])
    stream = load(model).stream("the", max_new_tokens=60, sampling=RULES, seed=4, stop=[stop])
    assert "".join(stream) == found["text"]


def test_a_search_finds_more_probable_text_than_the_first_choices(model, capsys):
    from math import log

    words = ("--model", model, "the", "--tokens", 12, "--json")
    run(*words, "--beams", 8, "--samples", 3)
    found = json.loads(capsys.readouterr().out)
    run(*words, "--temperature", 0)
    found += json.loads(capsys.readouterr().out)
    sums = [sum(log(piece["probability"]) for piece in one["pieces"]) for one in found]
    assert [one["settings"] for one in found] == [
        "8 beams, number 1",
        "8 beams, number 2",
        "8 beams, number 3",
        "greedy, seed 1",
    ]
    assert sums[0] >= sums[1] >= sums[2]
    assert sums[0] > sums[3]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--beams", "2", "--samples", "3"],
        ["--beams", "2", "--alternatives", "1"],
        ["--together", "0"],
        ["--min-p", "2"],
        ["--repetition-penalty", "0"],
        ["--top-k", "3", "--beams", "2"],
        ["--repetition-penalty", "1.5", "--beams", "2"],
        ["--alternatives", "2"],
        ["--contexts", "3"],
    ],
)
def test_impossible_settings_are_refused(model, capsys, wrong):
    assert run("--model", model, "the", *wrong) == UsageError.exit_code
    assert wrong[0] in capsys.readouterr().err or "beams" in wrong[0]


def test_each_stop_takes_one_text_and_leaves_the_prompt_alone(model, capsys):
    words = ("--model", model, "--tokens", 60, "--temperature", 3, "--top-k", 0, "--seed", 4)
    run(*words, "--json", "the")
    (whole,) = json.loads(capsys.readouterr().out)
    signs = [sign for sign in dict.fromkeys(whole["text"][3:]) if sign.isascii() and sign.isalnum()][:2]
    for first, second in (signs, signs[::-1]):
        run(*words, "--json", "--stop", first, "--stop", second, "the")
        (found,) = json.loads(capsys.readouterr().out)
        assert found["prompt"] == "the"
        assert found["text"] == whole["text"][: min(map(whole["text"].find, signs))]
    assert run(*words, "the", "--stop", "") == UsageError.exit_code


def test_several_texts_have_headings_and_tabs_stay(model, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_bytes("\ufeffa\tb\r\nthe\n".encode())
    assert run("--model", model, "--prompts", tmp_path / "prompts.txt", "--tokens", 4) == 0
    text = capsys.readouterr().out
    assert text.startswith("== 1 of 2: top-k 40, temperature 1, seed 1\na\tb")
    assert "\n== 2 of 2: top-k 40, temperature 1, seed 1\nthe" in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "the\n\nword"),
        ("p.jsonl", '{"prompt": "the", "id": 1}\n\n{"prompt": "word"}'),
        ("p.txt.gz", "the\nword"),
    ],
)
def test_the_last_prompt_of_a_file_needs_no_line_end(model, tmp_path, capsys, name, text):
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert run("--model", model, "--prompts", tmp_path / name, "--tokens", 4, "--json") == 0
    assert [one["prompt"] for one in json.loads(capsys.readouterr().out)] == ["the", "word"]


def test_a_bias_is_named_with_each_id(model, tmp_path, capsys):
    words = ("--model", model, "--tokens", 5, "--logit-bias", 70, 100, "--logit-bias", TOKENIZER.end_of_text, -100)
    assert run(*words, "the", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["text"] == TOKENIZER.decode([70]) * 5
    assert run(*words, "--out", tmp_path / "s") == 0
    assert run(*words, "--out", tmp_path / "s") == 0
    assert "is finished" in capsys.readouterr().out
    assert run(*words, "--logit-bias", TOKENIZER.vocabulary_size, 1, "the") == UsageError.exit_code


@pytest.mark.parametrize("line", ["the", '{"text": "the"}', '{"prompt": 3}', '["the"]'])
def test_a_line_without_a_prompt_is_named(model, tmp_path, capsys, line):
    (tmp_path / "p.jsonl").write_text('{"prompt": "the"}\n' + line + "\n")
    assert run("--model", model, "--prompts", tmp_path / "p.jsonl") == InputError.exit_code
    assert "line 2" in capsys.readouterr().err


def test_prompts_that_are_no_text_are_refused(model, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_bytes(b"\x7fELF\x80\xff\n")
    assert run("--model", model, "--prompts", tmp_path / "prompts.txt") == InputError.exit_code
    assert "expected text in UTF-8" in capsys.readouterr().err


def test_a_reader_that_leaves_ends_it_quietly(model):
    words = [sys.executable, "-m", "selftaught", "generate", "--model", str(model), "the", "--tokens", "2000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_ctrl_c_leaves_what_was_written_and_says_nothing_of_going_on(model):
    words = [sys.executable, "-m", "selftaught", "generate", "--model", str(model), "the", "--tokens", "1000000"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout.read(8)  # it writes
        process.send_signal(signal.SIGINT)
        rest, problems = process.communicate()
    assert process.returncode == INTERRUPTED
    assert rest.endswith("\n")
    assert "warning" not in rest + problems


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full (Linux)")
def test_a_screen_that_takes_no_more_is_an_output_error(model):
    words = [sys.executable, "-m", "selftaught", "generate", "--model", str(model), "the", "--tokens", "3"]
    for more in ([], ["--json"]):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([*words, *more], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == OutputError.exit_code
        assert done.stderr.startswith("selftaught: cannot write to standard output; got No space left")
        assert len(done.stderr.splitlines()) == 1


def test_words_of_gpt1_stay_apart(tmp_path, capsys):
    tokens = ["<unk>", *"the", *(f"{letter}</w>" for letter in "the"), "th", "the</w>", "\n</w>"]
    vocabulary = files.Vocabulary(
        ids={token.encode(): place for place, token in enumerate(tokens) if place},
        merges=((b"t", b"h"), (b"th", b"e</w>")),
        end_of_text=0,
        kind="gpt1",
    )
    huggingface.save(network(vocabulary=len(tokens), norm="after"), GPT1Tokenizer(vocabulary), tmp_path)
    words = ("--model", tmp_path, "--tokens", 5, "the the")
    run(*words, "--json")
    (found,) = json.loads(capsys.readouterr().out)
    run(*words)
    assert capsys.readouterr().out == f"the the {found['text']}\n"
    run(*words, "--samples", 2)
    assert f"\nthe the {found['text']}\n" in capsys.readouterr().out
