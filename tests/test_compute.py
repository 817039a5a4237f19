"""Compute: the choice of machine, and seeds that are the same everywhere."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from selftaught import compute
from selftaught.errors import UsageError


def test_seeds_depend_on_every_part_and_on_nothing_else() -> None:
    assert compute.seed_of("batches", 1) == 1910120101082384916
    assert len({compute.seed_of("a", 1), compute.seed_of("a", 2), compute.seed_of("b", 1), compute.seed_of("a1")}) == 4
    assert 0 <= compute.seed_of() < 2**63


def test_a_generator_repeats_itself() -> None:
    import torch

    first = torch.rand(5, generator=compute.generator("x", 1))
    assert torch.equal(first, torch.rand(5, generator=compute.generator("x", 1)))


def test_a_device_that_is_not_there_names_those_that_are() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UsageError, match="no cuda device"):
        compute.machine("cuda")


def test_ranks_come_from_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (compute.rank(), compute.world_size()) == (0, 1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    found = compute.machine("cpu", "float32")
    assert (found.rank, found.world_size, found.precision) == (3, 4, "float32")


def test_peak_memory_is_plausible() -> None:
    assert 10**7 < compute.peak_memory_bytes() < 10**12


def test_alone_the_first_process_is_the_only_one() -> None:
    with compute.joined():
        assert compute.from_first(lambda: 7) == 7
        with pytest.raises(UsageError):
            compute.from_first(lambda: compute.machine("mps" if sys.platform == "linux" else "cuda"))


def test_the_measured_peak_and_memory_are_plausible() -> None:
    machine = compute.machine("cpu", "float32")
    assert 1e7 < compute.measured_flops_per_second(machine, repeats=1) < 1e16
    assert compute.device_memory_bytes(machine) == compute.peak_memory_bytes()


@pytest.mark.parametrize("size", [1, 1000, 5_000_000])
def test_large_pages_keep_what_is_written(size):
    import torch

    numbers = torch.empty(size, dtype=torch.uint8)
    compute.prefer_large_pages(numbers.data_ptr(), numbers.nbytes)
    numbers.copy_(torch.arange(size) % 251)
    assert torch.equal(numbers, (torch.arange(size) % 251).to(torch.uint8))


def test_pages_of_a_mapped_file_are_let_go_and_read_again(tmp_path):
    import torch

    numbers = torch.arange(1_000_000)
    numbers.numpy().tofile(tmp_path / "numbers")
    mapped = torch.from_file(str(tmp_path / "numbers"), size=len(numbers), dtype=numbers.dtype)
    assert torch.equal(mapped, numbers)
    if sys.platform == "linux":
        assert _resident(mapped) > mapped.nbytes // 2
    compute.drop_mapped_pages(mapped.data_ptr())
    if sys.platform == "linux":
        assert _resident(mapped) == 0
    assert torch.equal(mapped, numbers)
    compute.drop_mapped_pages(numbers.data_ptr())  # no file's
    assert torch.equal(numbers, torch.arange(1_000_000))


@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="memory of one's own cannot be mapped here")
def test_memory_that_only_has_a_name_is_kept():
    import torch

    with open("/dev/zero", "r+b") as zeros:
        memory = mmap.mmap(zeros.fileno(), 4 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE)
    numbers = torch.frombuffer(memory, dtype=torch.uint8).fill_(7)
    compute.drop_mapped_pages(numbers.data_ptr())
    assert numbers.eq(7).all()


def _resident(tensor) -> int:
    """Bytes in memory of the region that a tensor lies in."""
    found = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if "-" in name:
            start, end = (int(place, 16) for place in name.split("-"))
            found = start <= tensor.data_ptr() < end
        elif found and name == "Rss:":
            return 1024 * int(rest.split()[0])
    raise AssertionError("no such region")
