"""OpenAI's releases: files made as theirs are, read to the last bit; damaged ones refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from selftaught.checkpoint import loading, tensor_bundle
from selftaught.errors import DamagedFileError, InputError
from selftaught.model.transformer import Transformer
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference import tensor_bundle as writer
from tests.reference.networks import network

TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h"), (b"th", b"e")]))
MATRICES = {
    "attn/c_attn": "attention.query_key_value",
    "attn/c_proj": "attention.output",
    "mlp/c_fc": "feed.inner",
    "mlp/c_proj": "feed.outer",
}
NORMS = {"ln_1": "attention_norm", "ln_2": "feed_norm"}


def model(**changes: object) -> Transformer:
    return network(vocabulary=TOKENIZER.vocabulary_size, channels=128, **changes)


def released(made: Transformer, layer: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of a part of a block as OpenAI stored them: matrices turned, with a side of 1 before."""
    state = made.state_dict()
    if name in NORMS:
        return tuple(state[f"blocks.{layer}.{NORMS[name]}.{kind}"].numpy() for kind in ("weight", "bias"))
    weight, bias = (state[f"blocks.{layer}.{MATRICES[name]}.{kind}"].numpy() for kind in ("weight", "bias"))
    return weight.T[None], bias


def gpt2_tensors(made: Transformer) -> dict[str, np.ndarray]:
    state = made.state_dict()
    found = {"model/wte": state["tokens.weight"].numpy(), "model/wpe": state["positions.weight"].numpy()}
    found |= {"model/ln_f/g": state["norm.weight"].numpy(), "model/ln_f/b": state["norm.bias"].numpy()}
    for layer in range(made.shape.layers):
        for name in (*MATRICES, *NORMS):
            weight, bias = released(made, layer, name)
            found[f"model/h{layer}/{name}/{'g' if name in NORMS else 'w'}"] = weight
            found[f"model/h{layer}/{name}/b"] = bias
    return found


@pytest.fixture
def gpt2_folder(tmp_path: Path) -> Path:
    made = model()
    folder = tmp_path / "124M"
    TOKENIZER.save(folder)
    numbers = {"n_vocab": TOKENIZER.vocabulary_size, "n_ctx": 32, "n_embd": 128, "n_head": 2, "n_layer": 2}
    (folder / "hparams.json").write_text(json.dumps(numbers))
    line = 'model_checkpoint_path: "/elsewhere/model.ckpt"\nall_model_checkpoint_paths: "/elsewhere/model.ckpt"\n'
    (folder / "checkpoint").write_text(line)
    writer.write(folder / "model.ckpt", gpt2_tensors(made) | {"global_step": np.zeros(())})
    return folder


def test_gpt2s_release_is_read_to_the_bit(gpt2_folder: Path) -> None:
    loaded = loading.load(gpt2_folder)
    assert loaded.tokenizer.fingerprint == TOKENIZER.fingerprint
    assert loading.described(gpt2_folder) == ("OpenAI's GPT-2", loaded.model.shape)
    for name, value in model().state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name


def test_tensors_in_several_shards_are_found(gpt2_folder: Path) -> None:
    for path in gpt2_folder.glob("model.ckpt.*"):
        path.unlink()
    writer.write(gpt2_folder / "model.ckpt", gpt2_tensors(model()), shards=3, per_block=2)
    loaded = loading.load(gpt2_folder)
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), model().parameters(), strict=True))
    next(gpt2_folder.glob("model.ckpt.data-00001*")).unlink()
    with pytest.raises(InputError, match="data-00001-of-00003 is missing"):
        loading.load(gpt2_folder)


def test_all_that_does_not_fit_is_said_at_once(gpt2_folder: Path) -> None:
    tensors = gpt2_tensors(model())
    tensors["model/h1/mlp/c_fk/w"] = tensors.pop("model/h1/mlp/c_fc/w")
    tensors["model/wpe"] = tensors["model/wpe"][:7]
    writer.write(gpt2_folder / "model.ckpt", tensors)
    with pytest.raises(InputError) as found:
        loading.load(gpt2_folder)
    said = str(found.value)
    assert "model/wpe is 7 x 128 where 32 x 128 was expected" in said
    assert "model/h1/mlp/c_fc/w is missing (there is model/h1/mlp/c_fk/w)" in said


@pytest.mark.parametrize("place", [0, 40, -1, -45, -60])
def test_a_damaged_index_is_refused(gpt2_folder: Path, place: int) -> None:
    index = gpt2_folder / "model.ckpt.index"
    content = bytearray(index.read_bytes())
    content[place] ^= 0x5A
    index.write_bytes(content)
    with pytest.raises(DamagedFileError):
        loading.load(gpt2_folder)


@pytest.mark.parametrize("keep", [0, 10, 60, 500])
def test_an_index_cut_short_is_refused(gpt2_folder: Path, keep: int) -> None:
    index = gpt2_folder / "model.ckpt.index"
    index.write_bytes(index.read_bytes()[:keep])
    with pytest.raises(DamagedFileError):
        loading.load(gpt2_folder)


def test_damaged_and_short_data_are_refused(gpt2_folder: Path) -> None:
    path = gpt2_folder / "model.ckpt.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="checksum of model/"):
        loading.load(gpt2_folder)
    path.write_bytes(content[:1000])
    with pytest.raises(DamagedFileError, match="cut short"):
        loading.load(gpt2_folder)


def test_a_checkpoint_file_without_a_path_is_refused(gpt2_folder: Path) -> None:
    (gpt2_folder / "checkpoint").write_text("nothing")
    with pytest.raises(DamagedFileError, match="model_checkpoint_path"):
        loading.load(gpt2_folder)


def test_the_checksum_is_castagnolis() -> None:
    """RFC 3720, appendix B.4."""
    assert tensor_bundle.crc32c(np.zeros(32, np.uint8)) == 0x8A9136AA
    assert tensor_bundle.crc32c(np.full(32, 0xFF, np.uint8)) == 0x62A8AB43
    assert tensor_bundle.crc32c(np.arange(32, dtype=np.uint8)) == 0x46DD794E


@pytest.fixture
def gpt1_folder(tmp_path: Path) -> Path:
    made = model(norm="after")
    state = made.state_dict()
    parts = [state["positions.weight"].numpy(), state["tokens.weight"].numpy()]
    for layer in range(2):
        for name in ("attn/c_attn", "attn/c_proj", "ln_1", "mlp/c_fc", "mlp/c_proj", "ln_2"):
            parts += released(made, layer, name)
    folder = tmp_path / "model"
    TOKENIZER.save(folder)
    (folder / "params_shapes.json").write_text(json.dumps([list(part.shape) for part in parts]))
    flat = np.concatenate([part.ravel() for part in parts])
    for number, part in enumerate(np.array_split(flat, 10)):
        np.save(folder / f"params_{number}.npy", part)
    return folder


def test_gpt1s_release_is_read_to_the_bit(gpt1_folder: Path) -> None:
    loaded = loading.load(gpt1_folder).model
    assert loading.described(gpt1_folder) == ("OpenAI's GPT-1", loaded.shape)
    assert (loaded.shape.norm, loaded.shape.heads, loaded.shape.context) == ("after", 2, 32)
    for name, value in model(norm="after").state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_gpt1s_numbers_that_do_not_fit_are_refused(gpt1_folder: Path) -> None:
    (gpt1_folder / "params_9.npy").unlink()
    with pytest.raises(DamagedFileError, match="do not fit"):
        loading.load(gpt1_folder)
    np.save(gpt1_folder / "params_9.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DamagedFileError, match=r"params_9\.npy is damaged"):
        loading.load(gpt1_folder)
    (gpt1_folder / "params_shapes.json").write_text("[[1, 2], [3]]")
    with pytest.raises(DamagedFileError, match="not GPT-1's"):
        loading.load(gpt1_folder)
