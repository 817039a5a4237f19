"""Our own model folders: model.safetensors, shape.json, the tokenizer's two files, and manifest.json with the hash of each.

Checkpoints that many processes wrote have a folder `model/` of shares instead (`checkpoint.sharded`) and are read all the
same. The manifest is written last: a folder without it is not finished. A whole folder is made beside its place and renamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from selftaught import storage
from selftaught.checkpoint import sharded
from selftaught.checkpoint.mapped import MappedTensors
from selftaught.errors import DamagedFileError
from selftaught.model.initial import without_values
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
    with assembling(Path(folder)) as place:
        _write_tensors(place / WEIGHTS_FILE, model.state_dict())
        for name, group in (tensors or {}).items():
            _write_tensors(place / name, group)
        write_documents(model.shape, tokenizer, place, documents or {})


def write_documents(shape: ModelShape, tokenizer: Tokenizer, place: Path, documents: Mapping[str, object]) -> None:
    """Write what a model folder holds besides tensors."""
    storage.write_json(place / SHAPE_FILE, shape)
    tokenizer.save(place)
    for name, document in documents.items():
        storage.write_json(place / name, document)


@contextmanager
def assembling(folder: Path, known: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Yield a place for the files of a model folder; on leaving the block they get their manifest, then the folder its name.

    `known` are hashes of files by name that need not be read again; it may be filled within the block. A model folder that is
    there is replaced; raises OutputError where there is something else.
    """
    with storage.writing_folder(folder, replaces=is_model) as place:
        yield place
        hashes = {name: (known or {}).get(name) or storage.sha256(place / name) for name in _files(place)}
        storage.write_json(place / MANIFEST_FILE, hashes)


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    import safetensors.torch

    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    storage.require_space(path.parent, sum(tensor.nbytes for tensor in held.values()))
    storage.write_bytes(path, safetensors.torch.save(held))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file. Raises DamagedFileError if it is none."""
    return dict(MappedTensors([path]))


def is_model(folder: Path) -> bool:
    """Whether a folder is one of ours."""
    return (folder / SHAPE_FILE).is_file() and ((folder / WEIGHTS_FILE).is_file() or is_sharded(folder))


def is_sharded(folder: Path) -> bool:
    """Whether a model folder was written by many processes, each its share."""
    return (folder / sharded.WEIGHTS_FOLDER).is_dir()


def verify(folder: Path) -> None:
    """Compare files with their hashes in the manifest. Raises DamagedFileError for one that differs or is not there."""
    if not (folder / MANIFEST_FILE).is_file():
        raise DamagedFileError(f"{folder} is not complete", expected=MANIFEST_FILE)
    hashes = storage.read_json(folder / MANIFEST_FILE, dict[str, str])
    for name, expected in hashes.items():
        if not (folder / name).is_file():
            raise DamagedFileError(f"{folder / name} is missing")
        if storage.sha256(folder / name) != expected:
            raise DamagedFileError(f"{folder / name} is damaged", expected=f"SHA-256 {expected}")


def load(folder: str | Path, *, verified: bool = False) -> tuple[Transformer, Tokenizer]:
    """Read a model folder, every file checked against its hash unless that was done.

    Raises DamagedFileError where one is damaged.
    """
    folder = Path(folder)
    if not verified:
        verify(folder)
    with without_values():
        model = Transformer(storage.read_json(folder / SHAPE_FILE, ModelShape))
    fill(model, read_weights(folder), folder)
    return model.requires_grad_().eval(), Tokenizer.load(folder)


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model folder, whoever wrote it."""
    if is_sharded(folder):
        return sharded.read(folder / sharded.WEIGHTS_FOLDER)
    return read_tensors(folder / WEIGHTS_FILE)


def fill(module: torch.nn.Module, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Give a module, which may be on the meta device, weights that were read. Raises DamagedFileError if they do not fit."""
    try:
        module.load_state_dict(weights, assign=True)
    except RuntimeError as problem:
        raise DamagedFileError(f"the weights in {folder} do not fit", got=str(problem)) from problem
