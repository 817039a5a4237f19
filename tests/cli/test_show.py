"""`selftaught show`: every kind of file and folder that the verbs write, nothing else, and little memory."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from selftaught import errors, storage
from selftaught.cli.main import main
from selftaught.cli.showing import files, summary
from selftaught.cli.showing.folders import summarise
from selftaught.model.cost import parameters
from selftaught.model.shape import ModelShape
from selftaught.tokenizer.files import from_merges
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.training.plan import TrainingPlan
from tests.report import fake_demo

SHAPE = ModelShape(layers=1, heads=1, channels=8, context=16, vocabulary=259)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(from_merges([(b"t", b"h"), (b"th", b"e")]))


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return fake_demo.make_demo(tmp_path / "demo")


def make_model(folder: Path, tokenizer: Tokenizer) -> None:
    folder.mkdir(parents=True)
    storage.write_json(folder / "shape.json", SHAPE)
    tokenizer.save(folder)
    save_file({"tokens.weight": np.zeros((259, 8), np.float32)}, folder / "model.safetensors")


def make_tokens(folder: Path, tokenizer: Tokenizer) -> None:
    folder.mkdir()
    tokenizer.save(folder)
    ids = np.array([tokenizer.end_of_text, *tokenizer.encode("the theme of the day")], dtype="<u2")
    storage.write_bytes(folder / "train-00000.tokens", ids[:5].tobytes())
    storage.write_bytes(folder / "train-00001.tokens", ids[5:].tobytes())
    names = ("train-00000.tokens", "train-00001.tokens")
    sizes = zip(names, (5, len(ids) - 5), strict=True)
    shards = [{"name": name, "tokens": size, "sha256": storage.sha256(folder / name)} for name, size in sizes]
    side = {"tokens": len(ids), "documents": 1, "bytes": 20, "shards": shards}
    index = {"fingerprint": tokenizer.fingerprint, "vocabulary_size": 259, "end_of_text": 258, "dtype": "uint16"}
    storage.write_json(folder / "shards.json", index | {"splits": {"train": side}})


def facts(path: Path) -> dict[str, object]:
    return {fact.name: fact.value for fact in summarise(path).facts}


def words(path: Path) -> str:
    return msgspec.json.encode(summarise(path)).decode()


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        (".", "run of demo", "corpus build"),
        ("corpus", "corpus folder", "karma below 3"),
        ("corpus/train.jsonl.zst", "documents", "Text 0"),
        ("corpus/drops.jsonl.zst", "rows", "karma below 3"),
        ("corpus/funnel.json", "funnel of a corpus", "near duplicate"),
        ("corpus/run.json", "record of a run", "73a714dc"),
        ("models", "folder of runs", "4x192"),
        ("models/4x192", "training run", "held-out"),
        ("models/4x192/log.jsonl", "log of a training run", "▁"),
        ("evaluation", "folder of runs", "evaluate"),
        ("evaluation/1x32", "evaluation", "lambada"),
        ("evaluation/1x32/results.json", "scores", "winograd"),
        ("samples/1x32", "samples", "top-k 40"),
        ("samples/1x32/samples.jsonl", "samples", "gzip"),
        ("overlap", "overlap", "the iterator is exhausted"),
        ("overlap/overlap.json", "overlaps", "samples 4x192"),
        ("overlap/copied.jsonl", "copied spans", "http://a.test/7"),
    ],
)
def test_says_what_each_file_and_folder_of_a_demo_is(demo: Path, name: str, kind: str, said: str) -> None:
    assert summarise(demo / name).kind == kind
    assert said in words(demo / name)


def test_tokenizer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(tmp_path)
    for path in (tmp_path, tmp_path / "encoder.json", tmp_path / "vocab.bpe"):
        found = summarise(path)
        assert found.kind == "tokenizer"
        assert {"vocabulary": 259, "merges": 2}.items() <= facts(path).items()
        assert "'the'" in words(path)


def test_tokens_are_shown_as_ids_and_as_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    make_tokens(tmp_path / "tokens", tokenizer)
    whole = summarise(tmp_path / "tokens")
    assert whole.kind == "tokens folder"
    assert whole.excerpts[1].text == "<|endoftext|>the theme of the day"
    assert whole.tables[0].rows[0][:3] == ("train", len(tokenizer.encode("the theme of the day")) + 1, 1)
    second = summarise(tmp_path / "tokens" / "train-00001.tokens")
    assert whole.excerpts[1].text.endswith(second.excerpts[1].text)
    assert summarise(tmp_path / "tokens" / "shards.json").kind == "index of token shards"


def test_model_folders_and_runs_show_shape_and_tensors(tmp_path: Path, tokenizer: Tokenizer) -> None:
    make_model(tmp_path / "run" / "step-000010", tokenizer)
    found = facts(tmp_path / "run" / "step-000010")
    assert found["parameters"] == parameters(SHAPE)
    assert found["elements"] == 259 * 8
    assert summarise(tmp_path / "run" / "step-000010").tables[0].rows[0] == ("tokens.weight", "F32", "259 x 8", 2072)
    assert facts(tmp_path / "run")["checkpoints"] == "step-000010"
    assert summarise(tmp_path / "run" / "step-000010" / "shape.json").kind == "shape of a network"


def test_hugging_face_folder(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "config.json", {"model_type": "gpt2", "n_layer": 12})
    save_file({"wte.weight": np.zeros((4, 2), np.float32)}, tmp_path / "model.safetensors")
    assert summarise(tmp_path).kind == "Hugging Face model folder"
    assert facts(tmp_path)["n_layer"] == 12


def test_plans(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "ladder.json", {"4x192": TrainingPlan(steps=7)})
    assert summarise(tmp_path / "ladder.json").tables[0].rows[0][0] == "4x192"
    storage.write_json(tmp_path / "plan.json", TrainingPlan(steps=7))
    assert facts(tmp_path / "plan.json")["steps"] == 7


def test_raw_pages(tmp_path: Path) -> None:
    from selftaught.corpus.pages import Page, write_pages

    page = Page(url="http://a.test/", final_url="http://a.test/b", content_type="text/html", body=b"<p>hello")
    write_pages(tmp_path / "00000.warc.gz", [page] * 30)
    rows = summarise(tmp_path / "00000.warc.gz").tables[0].rows
    assert rows == (("http://a.test/", "text/html", 8),) * 10


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_rows_of_any_kind_compressed_or_not(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"answers-cloze.jsonl{suffix}"
    storage.write_jsonl(path, [{"id": f"q{n}", "log_probs": [1.0, 2.0], "right": True} for n in range(9)])
    found = summarise(path)
    assert facts(path)["rows"] == "9"
    assert found.tables[0].columns == ("id", "log_probs", "right")
    assert found.tables[0].rows[0] == ("q0", "2 values", "true")


def test_a_row_that_is_being_written_is_counted_and_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": 2}\n{"a')
    assert facts(tmp_path / "a.jsonl")["rows"] == "3, the last one cut short"


def test_an_empty_file_of_rows(tmp_path: Path) -> None:
    (tmp_path / "copied.jsonl").touch()
    assert summarise(tmp_path / "copied.jsonl").kind == "rows (none)"


def test_control_characters_do_not_reach_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "before\x1b[2J\x07\u202eafter"
    storage.write_jsonl(tmp_path / "train.jsonl", [{"id": "a", "text": nasty, "url": nasty}])
    storage.write_jsonl(tmp_path / "other.jsonl", [{"a": nasty}])
    for name in ("train.jsonl", "other.jsonl"):
        assert main(["show", str(tmp_path / name)]) == 0
        shown = capsys.readouterr().out
        assert "before" in shown
        assert not set("\x1b\x07\u202e") & set(shown)


def test_one_huge_line_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl.zst"
    import zstandard

    with path.open("wb") as raw, zstandard.ZstdCompressor().stream_writer(raw) as stream:
        stream.write(b'{"id": "first", "text": "kept"}\n')
        for _ in range(60):
            stream.write(b"x" * (1 << 20))
        stream.write(b'\n{"id": "last", "text": "kept too"}\n')
    code = (
        "import resource, sys; from selftaught.cli.showing.folders import summarise;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; found = summarise(sys.argv[1]);"
        "assert found.facts[0].value == '3' and len(found.excerpts) == 2, found;"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 40 << 20


def test_does_not_import_torch(demo: Path) -> None:
    code = "import sys; from selftaught.cli.main import main; main(['show', sys.argv[1]]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(demo / "models" / "1x32")], check=True, capture_output=True)


def text_file(folder: Path) -> Path:
    path = folder / "notes.txt"
    path.write_text("not ours", encoding="utf-8")
    return path


def short_tensors(folder: Path) -> Path:
    path = folder / "model.safetensors"
    save_file({"a": np.zeros(64, np.float32)}, path)
    path.write_bytes(path.read_bytes()[:-8])
    return path


def broken_rows(folder: Path) -> Path:
    path = folder / "log.jsonl"
    path.write_bytes(b"\x00\x01\xff\n")
    return path


def cut_gzip(folder: Path) -> Path:
    path = folder / "train.jsonl.gz"
    storage.write_jsonl(path, [{"id": str(random.random()), "text": "x"} for _ in range(900)])
    path.write_bytes(path.read_bytes()[:2000])
    return path


def not_json(folder: Path) -> Path:
    path = folder / "results.json"
    path.write_text("[{", encoding="utf-8")
    return path


def no_index(folder: Path) -> Path:
    path = folder / "train-00000.tokens"
    path.write_bytes(b"\x00\x00")
    return path


def lone_vocabulary(folder: Path) -> Path:
    path = folder / "vocab.bpe"
    path.write_text("t h\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda folder: folder / "nothing", errors.InputError, "no such file"),
        (lambda folder: folder, errors.InputError, "nothing that selftaught writes"),
        (text_file, errors.InputError, ".safetensors"),
        (short_tensors, errors.DamagedFileError, "bytes"),
        (broken_rows, errors.DamagedFileError, "log.jsonl"),
        (cut_gzip, errors.InputError, "cut short"),
        (not_json, errors.DamagedFileError, "results.json"),
        (no_index, errors.InputError, "shards.json"),
        (lone_vocabulary, errors.InputError, "encoder.json"),
    ],
)
def test_what_cannot_be_shown_is_one_clear_line(
    make: Callable[[Path], Path],
    error: type[errors.SelftaughtError],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["show", str(make(tmp_path))]) == error.exit_code
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1


def test_a_damaged_record_does_not_hide_the_rest(demo: Path) -> None:
    (demo / "evaluation" / "1x32" / "run.json").write_text("{", encoding="utf-8")
    assert "lambada" in words(demo / "evaluation" / "1x32")
    assert '["1x32","?"' in words(demo / "evaluation")


def test_json_is_one_document_with_the_same_facts(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(demo / "evaluation" / "1x32"), "--json"]) == 0
    shown = capsys.readouterr()
    document = msgspec.json.decode(shown.out)
    assert document["kind"] == "evaluation"
    assert "lambada" in shown.err


@given(st.lists(st.floats(-1e6, 1e6), max_size=300), st.integers(1, 80))
def test_sparkline_is_as_wide_as_wanted_and_follows_the_values(values: list[float], width: int) -> None:
    line = summary.sparkline(values, width)
    assert len(line) == min(width, len(values))
    if len(values) <= width and len(set(values)) > 1:
        assert line[values.index(max(values))] == "█"
        assert line[values.index(min(values))] == "▁"


def test_curve_tells_first_last_and_lowest_loss(tmp_path: Path) -> None:
    fake_demo.make_training(tmp_path, "1x32", minute=1)
    losses = [row.loss for row in fake_demo.learning("1x32")]
    text = files.curve(tmp_path / "log.jsonl")["excerpts"][0].text
    assert f"{losses[0]:.3f} at first, {losses[-1]:.3f} now, lowest {min(losses):.3f}" in text


def test_a_measurement_of_memorisation_and_an_index_are_told(demo: Path, tmp_path: Path) -> None:
    found = summarise(demo / "memorize" / "4x192")
    assert found.kind == "memorisation"
    assert [table.title for table in found.tables] == [
        "8-grams found in the training text",
        "tokens with the text",
        "diversity",
    ]
    (tmp_path / "t.txt").write_text("one two three four five six seven eight nine")
    assert main(["overlap", "index", str(tmp_path / "t.txt"), "--out", str(tmp_path / "index")]) == 0
    told = summarise(tmp_path / "index")
    assert told.kind == "index of n-grams"
    assert ("inserted", 2) in [(fact.name, fact.value) for fact in told.facts]
