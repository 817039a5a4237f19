from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from selftaught import compilation
from selftaught.inference import compiled, reading
from selftaught.model import kernels

NEEDS_BFLOAT16 = pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx512_bf16"), reason="needs AVX-512 BF16")
SOURCE = """
#ifdef _OPENMP
#include <omp.h>
int one(void) { return 1 + omp_get_thread_num(); }
#else
int one(void) { return -1; }
#endif
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "one.c"
    path.write_text(SOURCE)
    return path


def refusing(folder: Path, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    """Let `cc` be a compiler that does not know a flag."""
    compiler = folder / "refusing-cc"
    compiler.write_text(f'#!/bin/sh\ncase " $* " in *" {flag} "*) exit 1;; esac\nexec cc "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("place", [compiled.SOURCE, reading.SOURCE, pytest.param(kernels.SOURCE, marks=NEEDS_BFLOAT16)])
def test_our_own_sources_compile_where_there_is_a_compiler(place):
    """Tests of what they compute are skipped where they cannot be compiled, so that a mistake in them would not be seen."""
    assert compilation.library(place) is not None


@pytest.mark.usefixtures("fresh")
def test_a_compiler_that_knows_no_wide_vectors_still_gives_threads(source, tmp_path, monkeypatch):
    refusing(tmp_path, monkeypatch, "-mprefer-vector-width=512")
    found = compilation.library(source)
    assert found is not None
    assert found.one() == 1


@pytest.mark.usefixtures("fresh")
def test_a_compiler_without_threads_gives_a_library(source, tmp_path, monkeypatch):
    refusing(tmp_path, monkeypatch, "-fopenmp")
    found = compilation.library(source)
    assert found is not None
    assert found.one() == -1


def test_a_library_that_does_not_load_is_made_again(fresh, source, tmp_path, monkeypatch):
    assert compilation.library(source) is not None
    (made,) = fresh.iterdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))  # what this process has loaded it does not read again
    kept = tmp_path / "other" / "selftaught" / made.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(made.read_bytes()[:100])  # or one of another system
    compilation.library.cache_clear()
    found = compilation.library(source)
    assert found is not None
    assert found.one() == 1
    assert kept.read_bytes() == made.read_bytes()


def test_it_is_loaded_from_where_it_is_kept(fresh, source):
    found = compilation.library(source)
    assert found is not None
    assert Path(found._name).parent == fresh  # the temporary folder may not allow programs


def test_another_processor_gets_another_library_and_more_cores_do_not(fresh, source, monkeypatch):
    """Of one name, in a home folder that machines share: only Linux's list says that one lacks an instruction."""
    known = compilation.instructions() or "fp asimd"
    able = dict(torch.cpu.get_capabilities())
    for instructions, cores in ((known, 2), (known, 64), (known + " gfni2", 2)):
        monkeypatch.setattr("selftaught.compilation.instructions", lambda said=instructions: said)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda count=cores: able | {"num_logical_cores": count})
        compilation.library.cache_clear()
        assert compilation.library(source) is not None
    assert len(list(fresh.iterdir())) == 2


@pytest.mark.usefixtures("fresh")
def test_a_user_without_a_home_gets_a_library_too(source, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError("no such user")))
    with pytest.raises(RuntimeError):
        Path.home()
    found = compilation.library(source)
    assert found is not None
    assert found.one() == 1
