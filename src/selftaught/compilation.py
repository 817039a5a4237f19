"""C sources of the package, compiled on first use for the machine that they run on and kept in the user's cache folder.

Whoever calls has a way of its own, with PyTorch alone, for machines where this gives None.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from selftaught import compute, storage
from selftaught.errors import OutputError

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fno-math-errno", "-ffp-contract=fast", "-shared", "-fPIC")
OPTIONAL_FLAGS = ("-mprefer-vector-width=512", "-fno-trapping-math", "-fopenmp")
"""Tried first; a compiler that refuses them gets the others alone (and then one thread)."""
COMPILE_SECONDS = 120


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """The compiled source; None where it cannot be compiled or loaded. That takes seconds, once for a machine and version."""
    compiler = compute.environment("CC", "cc").split()
    for flags in ((*FLAGS, *OPTIONAL_FLAGS), FLAGS):
        try:
            return _loaded(source, compiler, flags)
        except (OSError, subprocess.SubprocessError):
            continue
    return None


def _loaded(source: Path, compiler: Sequence[str], flags: Sequence[str]) -> ctypes.CDLL:
    place = _folder() / f"{source.stem}-{_fingerprint(source, compiler, flags)}.so"
    if place.is_file():
        return ctypes.CDLL(str(place))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / place.name
        command = [*compiler, *flags, str(source), "-o", str(made), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
        with contextlib.suppress(OutputError, OSError):  # then it is compiled again the next time
            storage.write_bytes(place, made.read_bytes())
        return ctypes.CDLL(str(made))


def version(library: ctypes.CDLL) -> str:
    """What tells a compiled library from others: its source, compiler, flags and processor, in eight digits."""
    return Path(library._name).stem.rpartition("-")[2][:8]  # noqa: SLF001  # the path it was loaded from


def _folder() -> Path:
    kept = compute.environment("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(kept) / "selftaught"


def _fingerprint(source: Path, compiler: Sequence[str], flags: Sequence[str]) -> str:
    """Another source, compiler, flag or processor is another library: the folder may be shared between machines.

    A source may include the headers that are beside it.
    """
    import torch

    processor = compute.description()["processor"], sorted(torch.cpu.get_capabilities().items())
    texts = [path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h")))]
    parts = texts, list(compiler), list(flags), processor
    return hashlib.blake2b(repr(parts).encode(), digest_size=10).hexdigest()
