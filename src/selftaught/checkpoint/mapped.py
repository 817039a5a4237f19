"""Tensors of safetensors files, each read when it is asked for, so that no more than one is held twice.

Large ones are mapped from their file: memory holds what is used of them. Each takes the address space of the whole file, and
is let go by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from selftaught import storage
from selftaught.errors import DamagedFileError

_MAPPED_BYTES = 1 << 20
"""Tensors of so many are left in their file until they are used: embeddings, and matrices until they are turned."""


class MappedTensors(Mapping[str, torch.Tensor]):
    """Tensors of several files by name.

    Raises InputError for a file that cannot be read, DamagedFileError for one that is none of safetensors.
    """

    def __init__(self, paths: list[Path]) -> None:
        import safetensors

        self._path_of: dict[str, Path] = {}
        for path in paths:
            try:
                with safetensors.safe_open(path, framework="pt") as opened:
                    self._path_of |= dict.fromkeys(opened.keys(), path)
            except OSError as problem:
                raise storage.input_error(path, problem) from problem
            except safetensors.SafetensorError as problem:
                raise DamagedFileError(
                    f"{path} is damaged", expected="a safetensors file", got=str(problem)
                ) from problem

    def __getitem__(self, name: str) -> torch.Tensor:
        import safetensors

        with safetensors.safe_open(self._path_of[name], framework="pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(name)
            return tensor if tensor.nbytes >= _MAPPED_BYTES else tensor.clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._path_of)

    def __len__(self) -> int:
        return len(self._path_of)
