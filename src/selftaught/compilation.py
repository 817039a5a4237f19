"""C sources of the package, compiled on first use for the machine that they run on and kept in the user's cache folder.

Whoever calls has a way of its own, with PyTorch alone, for machines where this gives None.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from selftaught import compute, storage
from selftaught.compute.system import instructions
from selftaught.errors import OutputError

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fno-math-errno", "-ffp-contract=fast", "-shared", "-fPIC")
THREADS = ("-fopenmp",)
"""A compiler without it gives libraries that compute with one thread."""
WIDE = ("-mprefer-vector-width=512", "-fno-trapping-math")
"""Those for ARM refuse the first."""
TRIED = ((*FLAGS, *WIDE, *THREADS), (*FLAGS, *THREADS), (*FLAGS, *WIDE), FLAGS)
"""The first that a compiler takes, with a library that can be loaded."""
COMPILE_SECONDS = 600
"""Far more than it takes, also where many programs share a processor."""


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """The compiled source; None where it cannot be compiled or loaded. That takes seconds, once for a machine and version."""
    compiler = compute.environment("CC", "cc").split()
    for flags in TRIED:
        try:
            return _loaded(source, compiler, flags)
        except subprocess.TimeoutExpired:  # other flags would take as long
            return None
        except (OSError, subprocess.SubprocessError):
            continue
    return None


def _loaded(source: Path, compiler: Sequence[str], flags: Sequence[str]) -> ctypes.CDLL:
    place = _folder() / f"{source.stem}-{_fingerprint(source, compiler, flags)}.so"
    if place.is_file():
        # What does not load here was made where other system libraries are, or is damaged: it is made again.
        with contextlib.suppress(OSError):
            return ctypes.CDLL(str(place))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / place.name
        command = [*compiler, *flags, str(source), "-o", str(made), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
        with contextlib.suppress(OutputError, OSError):  # then it is compiled again the next time
            storage.write_bytes(place, made.read_bytes())
            return ctypes.CDLL(str(place))  # there may be no programs in the temporary folder
        return ctypes.CDLL(str(made))


def version(library: ctypes.CDLL) -> str:
    """What tells a compiled library from others: its source, compiler, flags and processor, in eight digits."""
    return Path(library._name).stem.rpartition("-")[2][:8]  # noqa: SLF001  # the path it was loaded from


def _folder() -> Path:
    try:
        kept = Path(compute.environment("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home, as in some containers
        kept = Path(os.devnull)  # nothing is there, and nothing can be written
    return kept / "selftaught"


def _fingerprint(source: Path, compiler: Sequence[str], flags: Sequence[str]) -> str:
    """Another source, compiler, flag or processor is another library: the folder may be shared between machines.

    A source may include the headers that are beside it. Two processors of one name need not have the same instructions.
    """
    import torch

    able = [(name, value) for name, value in torch.cpu.get_capabilities().items() if not name.startswith("num_")]
    processor = compute.description()["processor"], instructions(), sorted(able)
    texts = [path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h")))]
    parts = texts, list(compiler), list(flags), processor
    return hashlib.blake2b(repr(parts).encode(), digest_size=10).hexdigest()
