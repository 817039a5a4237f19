"""Our own model folder: model.safetensors, shape.json, the tokenizer's two files, and manifest.json with their hashes.

The manifest is written last: a folder without it is one whose writing was cut short. A training step's folder holds
further files (`extra`), under the same manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError, MismatchError, OutputError
from selftaught.model.shape import ModelShape
from selftaught.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

    from selftaught.model.transformer import Transformer

WEIGHTS_FILE, SHAPE_FILE, MANIFEST_FILE = "model.safetensors", "shape.json", "manifest.json"
TOKENIZER_FILES = ("encoder.json", "vocab.bpe")
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What manifest.json holds."""

    format: int
    files: dict[str, str]
    """File name -> SHA-256."""


def save(folder: str | Path, model: Transformer, tokenizer: Tokenizer, extra: Mapping[str, Any] | None = None) -> None:
    """Write a model folder.

    `extra` adds files by name: a mapping of tensors for a name that ends in .safetensors, bytes as they are, anything else
    as JSON. Raises MismatchError if the tokenizer has more ids than the model, OutputError if the disk is full.
    """
    folder = Path(folder)
    require_vocabulary(model.shape, tokenizer)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    files: dict[str, Any] = {SHAPE_FILE: model.shape, **(extra or {}), WEIGHTS_FILE: weights}
    for name, content in files.items():
        _write(folder / name, content)
    tokenizer.save(folder)
    names = sorted([*files, *TOKENIZER_FILES])
    listed = Manifest(format=FORMAT, files={name: storage.sha256(folder / name) for name in names})
    storage.write_json(folder / MANIFEST_FILE, listed)


def _write(path: Path, content: Any) -> None:
    if path.suffix == ".safetensors":
        with storage.writing(path) as stream:
            write_tensors(stream, content)
    elif isinstance(content, bytes):
        storage.write_bytes(path, content)
    else:
        storage.write_json(path, content)


def write_tensors(
    stream: IO[bytes], tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors in the safetensors format to an open file, from any device."""
    import safetensors
    from safetensors.torch import save_file

    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(held, stream.name, metadata=dict(metadata) if metadata else None)
    except safetensors.SafetensorError as problem:
        raise OutputError(
            f"cannot write {stream.name}", got=str(problem), hint="Free some space or choose another --out."
        ) from problem


def require_vocabulary(shape: ModelShape, tokenizer: Tokenizer) -> None:
    """Raise MismatchError if the tokenizer makes ids that the model does not have."""
    if tokenizer.vocabulary_size > shape.vocabulary:
        raise MismatchError(
            "tokenizer and model do not belong together",
            expected=f"a tokenizer of at most {shape.vocabulary:,} ids",
            got=f"one of {tokenizer.vocabulary_size:,}",
            hint="Use the tokenizer that packed the model's training text.",
        )


def is_model(folder: Path) -> bool:
    """Whether a folder looks like one of ours, whole or damaged."""
    return (folder / SHAPE_FILE).is_file() or (folder / MANIFEST_FILE).is_file()


def check(folder: str | Path) -> None:
    """Compare every file of a model folder with the manifest.

    Raises InputError if there is no model, DamagedFileError naming the first file that is missing or not what was written.
    """
    folder = Path(folder)
    if not is_model(folder):
        raise InputError(
            f"no model in {folder}",
            expected=f"{MANIFEST_FILE}, {WEIGHTS_FILE} and {SHAPE_FILE}",
            got="another folder" if folder.is_dir() else "a file" if folder.exists() else "no such folder",
            hint="selftaught train makes one.",
        )
    if not (folder / MANIFEST_FILE).is_file():
        raise DamagedFileError(
            f"{folder} is not complete", expected=f"a {MANIFEST_FILE}", got="none: writing it was cut short"
        )
    manifest = storage.read_json(folder / MANIFEST_FILE, Manifest)
    if manifest.format != FORMAT:
        raise DamagedFileError(f"{folder} has an unknown format", expected=f"{FORMAT}", got=f"{manifest.format}")
    missing = {WEIGHTS_FILE, SHAPE_FILE, *TOKENIZER_FILES} - manifest.files.keys()
    if missing:
        raise DamagedFileError(f"{folder / MANIFEST_FILE} does not list {min(missing)}")
    for name, expected in manifest.files.items():
        _check_file(folder / name, expected)


def _check_file(path: Path, expected: str) -> None:
    got = storage.sha256(path) if path.is_file() else "no such file"
    if got != expected:
        raise DamagedFileError(
            f"{path} is not what was written",
            expected=f"sha256 {expected[:12]}...",
            got=got if got == "no such file" else f"sha256 {got[:12]}...",
            hint="Use an older checkpoint of the run, or make it again.",
        )


def read_shape(folder: str | Path) -> ModelShape:
    """Return the shape of a model folder, without its weights."""
    return storage.read_json(Path(folder) / SHAPE_FILE, ModelShape)


def load(folder: str | Path, device: str = "cpu") -> tuple[Transformer, Tokenizer]:
    """Read and check a model folder and return the network, in evaluation mode, and its tokenizer."""
    folder = Path(folder)
    check(folder)
    tokenizer = Tokenizer.load(folder)
    shape = read_shape(folder)
    require_vocabulary(shape, tokenizer)
    return assemble(shape, read_tensors(folder / WEIGHTS_FILE, device), folder / WEIGHTS_FILE), tokenizer


def read_tensors(path: str | Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Read a safetensors file. Raises InputError if it is missing, DamagedFileError if it is not one."""
    import safetensors
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path, device=device)
    except OSError as problem:
        raise storage.input_error(Path(path), problem) from problem
    except safetensors.SafetensorError as problem:
        raise DamagedFileError(f"{path} cannot be read", expected="a safetensors file", got=str(problem)) from problem
    return tensors


def assemble(shape: ModelShape, tensors: Mapping[str, torch.Tensor], path: Path) -> Transformer:
    """Return a network that holds `tensors` (float32, not copied), in evaluation mode.

    Raises DamagedFileError that lists every missing, unknown and misshapen tensor of the file `path`.
    """
    import torch

    from selftaught.model.transformer import Transformer

    with torch.device("meta"):
        model = Transformer(shape)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in wanted]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)} instead of {size}"
        for name, size in wanted.items()
        if name in tensors and tuple(tensors[name].shape) != size
    ]
    if wrong:
        raise DamagedFileError(f"{path} does not hold the weights that its shape asks for", got="; ".join(wrong))
    model.load_state_dict({name: tensors[name].to(torch.float32) for name in wanted}, assign=True)
    model.requires_grad_(requires_grad=True)
    return model.eval()
