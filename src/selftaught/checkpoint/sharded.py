"""Tensors that many processes write together, each its share, in torch's distributed checkpoint format on safetensors.

Any number of processes can read them back, each its share, and so can one that wants the whole: `native.load` does, so that
everything that takes a model takes such a checkpoint, and `selftaught convert` makes one file of it. No code is run on loading.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from selftaught.errors import DamagedFileError

WEIGHTS_FOLDER, OPTIMIZER_FOLDER = "model", "optimizer"


def write(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write this process' shares of tensors; all processes call it together. Single numbers become rows of one."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    save(_rows(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def read_into(tensors: Mapping[str, torch.Tensor], folder: Path, *, together: bool = True) -> None:
    """Fill tensors with this process' shares of what was written, by however many processes.

    All processes call it `together`, or one alone. Raises DamagedFileError where a tensor is missing or of another shape.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    try:
        with warnings.catch_warnings():
            if not together:
                warnings.simplefilter("ignore")  # torch warns of reading alone, which is what was asked for
            load(_rows(tensors), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=not together)
    except (CheckpointException, RuntimeError, ValueError, AssertionError) as problem:
        raise DamagedFileError(f"{folder} does not fit the network", got=str(problem)) from problem


def read(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, whole."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    found = {}
    for name, kind in HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata.items():
        if isinstance(kind, TensorStorageMetadata):
            found[name] = torch.empty(kind.size, dtype=kind.properties.dtype)
    read_into(found, folder, together=False)
    return {name: tensor[0] if name.endswith(":step") else tensor for name, tensor in found.items()}


def _rows(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() if tensor.ndim else tensor.view(1) for name, tensor in tensors.items()}
