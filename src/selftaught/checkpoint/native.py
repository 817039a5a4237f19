"""Our own model folders: model.safetensors, shape.json, the tokenizer's two files, and manifest.json with the hash of each.

The manifest is written last: a folder without it is not finished. A whole folder is made beside its place and renamed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from selftaught import storage
from selftaught.errors import DamagedFileError, OutputError
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.tokenizer import Tokenizer

WEIGHTS_FILE, SHAPE_FILE, MANIFEST_FILE = "model.safetensors", "shape.json", "manifest.json"


def save(
    model: Transformer,
    tokenizer: Tokenizer,
    folder: str | Path,
    *,
    tensors: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
    documents: Mapping[str, object] | None = None,
) -> None:
    """Write a model folder, complete or not at all, in the place of one that is there.

    `tensors` (file name -> name -> tensor) and `documents` (file name -> JSON document) are kept beside, for training.
    """
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}{storage.TEMPORARY}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _write_tensors(temporary / WEIGHTS_FILE, model.state_dict())
        storage.write_json(temporary / SHAPE_FILE, model.shape)
        tokenizer.save(temporary)
        for name, group in (tensors or {}).items():
            _write_tensors(temporary / name, group)
        for name, document in (documents or {}).items():
            storage.write_json(temporary / name, document)
        hashes = {path.name: storage.sha256(path) for path in sorted(temporary.iterdir())}
        storage.write_json(temporary / MANIFEST_FILE, hashes)
        _replace(temporary, folder)
    except OSError as problem:
        raise storage.output_error(folder, problem) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(temporary: Path, folder: Path) -> None:
    if folder.exists():
        if not is_model(folder):
            raise OutputError(f"{folder} is there and not a model folder", hint="choose another place")
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(folder)


def _write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    import safetensors.torch

    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    storage.require_space(path.parent, sum(tensor.nbytes for tensor in held.values()))
    storage.write_bytes(path, safetensors.torch.save(held))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file. Raises DamagedFileError if it is none."""
    import safetensors
    import safetensors.torch

    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    except OSError as problem:
        raise storage.input_error(path, problem) from problem
    except (safetensors.SafetensorError, json.JSONDecodeError) as problem:
        raise DamagedFileError(f"{path} is damaged", expected="a safetensors file", got=str(problem)) from problem
    return tensors


def is_model(folder: Path) -> bool:
    """Whether a folder is one of ours."""
    return (folder / SHAPE_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()


def verify(folder: Path, names: Iterable[str] | None = None) -> None:
    """Compare files with their hashes in the manifest. Raises DamagedFileError for one that differs or is not there."""
    if not (folder / MANIFEST_FILE).is_file():
        raise DamagedFileError(f"{folder} is not complete", expected=MANIFEST_FILE)
    hashes = storage.read_json(folder / MANIFEST_FILE, dict[str, str])
    for name in names or hashes:
        if not (folder / name).is_file():
            raise DamagedFileError(f"{folder / name} is missing")
        if storage.sha256(folder / name) != hashes.get(name):
            raise DamagedFileError(f"{folder / name} is damaged", expected=f"SHA-256 {hashes.get(name)}")


def load(folder: str | Path) -> tuple[Transformer, Tokenizer]:
    """Read a model folder, every file checked against its hash. Raises DamagedFileError where one is damaged."""
    folder = Path(folder)
    verify(folder)
    model = Transformer(storage.read_json(folder / SHAPE_FILE, ModelShape))
    try:
        model.load_state_dict(read_tensors(folder / WEIGHTS_FILE), assign=True)
    except RuntimeError as problem:
        raise DamagedFileError(f"{folder / WEIGHTS_FILE} does not fit {SHAPE_FILE}", got=str(problem)) from problem
    return model.requires_grad_().eval(), Tokenizer.load(folder)
