from __future__ import annotations

import errno
import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught import storage
from selftaught.checkpoint import loading, mapped, native
from selftaught.errors import DamagedFileError, InputError, MismatchError, OutputError
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference.networks import network

TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h"), (b"th", b"e")]))


def model(**changes):
    return network(vocabulary=TOKENIZER.vocabulary_size, **changes)


def same(one, two):
    pairs = zip(one.state_dict().items(), two.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@settings(max_examples=8, deadline=None)
@given(norm=st.sampled_from(["before", "after"]), layers=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_round_trip_keeps_every_bit(tmp_path_factory, norm, layers, seed):
    folder = tmp_path_factory.mktemp("model") / "small"
    saved = model(norm=norm, layers=layers, seed=seed)
    native.save(saved, TOKENIZER, folder)
    loaded = loading.load(folder)
    assert same(loaded.model, saved)
    assert loaded.model.shape == saved.shape
    assert loaded.tokenizer.fingerprint == TOKENIZER.fingerprint
    assert loaded.name == "small"
    assert not loaded.model.training


@pytest.mark.parametrize("name", ["model.safetensors", "shape.json", "encoder.json", "vocab.bpe"])
@pytest.mark.parametrize("how", ["changed", "cut", "missing"])
def test_damage_is_named(tmp_path, name, how):
    native.save(model(), TOKENIZER, tmp_path / "m")
    path = tmp_path / "m" / name
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-9] if how == "cut" else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    with pytest.raises((DamagedFileError, InputError), match=name.split(".")[0] if how != "missing" else "m"):
        native.load(tmp_path / "m")


def test_a_folder_without_a_manifest_is_not_complete(tmp_path):
    native.save(model(), TOKENIZER, tmp_path / "m")
    (tmp_path / "m" / "manifest.json").unlink()
    with pytest.raises(DamagedFileError, match="not complete"):
        loading.load(tmp_path / "m")


def test_weights_of_another_shape_are_refused(tmp_path):
    native.save(model(), TOKENIZER, tmp_path / "m")
    shape = json.loads((tmp_path / "m" / "shape.json").read_bytes()) | {"layers": 3}
    (tmp_path / "m" / "shape.json").write_text(json.dumps(shape))
    manifest = json.loads((tmp_path / "m" / "manifest.json").read_bytes())
    manifest["shape.json"] = storage.sha256(tmp_path / "m" / "shape.json")
    (tmp_path / "m" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedFileError, match=r"blocks\.2"):
        native.load(tmp_path / "m")


@pytest.mark.parametrize("what", ["nothing", "file", "empty", "text"])
def test_what_is_no_model_is_refused(tmp_path, what):
    path = tmp_path / "m"
    if what == "file":
        path.write_text("text")
    elif what != "nothing":
        path.mkdir()
        if what == "text":
            (path / "note.txt").write_text("text")
    with pytest.raises(InputError, match="no model"):
        loading.load(path)


def test_a_run_gives_its_newest_whole_checkpoint(tmp_path, capsys):
    run = tmp_path / "4x16"
    for step, seed in ((500, 1), (1000, 2), (12000, 3)):
        native.save(model(seed=seed), TOKENIZER, run / f"step-{step:06d}")
    assert same(loading.load(run).model, model(seed=3))
    assert loading.load(run).name == loading.load(run / "step-000500").name == "4x16"
    (run / "step-012000" / "model.safetensors").write_bytes(b"not weights")
    assert same(loading.load(run).model, model(seed=2))
    assert "step-012000" in capsys.readouterr().out
    for step in run.iterdir():
        (step / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(DamagedFileError, match=r"none of the 3 .* newest: .*step-012000.*rm -r .*4x16, then"):
        loading.load(run)


def test_further_files_are_kept_and_checked(tmp_path):
    state = {"moment": torch.arange(5.0)}
    native.save(model(), TOKENIZER, tmp_path / "m", tensors={"optimizer.safetensors": state}, documents={"t.json": [1]})
    assert torch.equal(native.read_tensors(tmp_path / "m" / "optimizer.safetensors")["moment"], state["moment"])
    assert storage.read_json(tmp_path / "m" / "t.json", list) == [1]
    (tmp_path / "m" / "t.json").write_text("[2]")
    with pytest.raises(DamagedFileError, match=r"t\.json"):
        native.load(tmp_path / "m")


def test_a_full_disk_leaves_the_old_model(tmp_path, monkeypatch):
    native.save(model(seed=1), TOKENIZER, tmp_path / "m")

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space"):
        native.save(model(seed=2), TOKENIZER, tmp_path / "m")
    monkeypatch.undo()
    assert same(loading.load(tmp_path / "m").model, model(seed=1))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_model_that_was_read_stays_what_it_was_when_another_is_saved_in_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "_MAPPED_BYTES", 1)
    native.save(model(seed=1), TOKENIZER, tmp_path / "m")
    first = loading.load(tmp_path / "m").model
    native.save(model(seed=2, layers=1), TOKENIZER, tmp_path / "m")
    assert same(first, model(seed=1))
    assert same(loading.load(tmp_path / "m").model, model(seed=2, layers=1))


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path):
    native.save(network(vocabulary=100), TOKENIZER, tmp_path / "m")
    with pytest.raises(MismatchError, match="100"):
        loading.load(tmp_path / "m")


def test_saving_over_something_else_is_refused(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError):
        native.save(model(), TOKENIZER, tmp_path / "m")
    assert (tmp_path / "m" / "thesis.txt").exists()
    shutil.rmtree(tmp_path / "m")
