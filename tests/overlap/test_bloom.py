"""The Bloom filter: no member is ever missed, and strangers are as rare as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selftaught.errors import DamagedFileError, MismatchError, UsageError
from selftaught.overlap.bloom import BITS_FILE, LARGEST_RATE, Bloom, rate_at


def keys(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 64, count, dtype=np.uint64)


def test_members_are_found_and_a_million_strangers_are_not() -> None:
    bloom = Bloom(100_000)
    bloom.add(keys(1, 100_000))
    assert bloom.contains(keys(1, 100_000)).all()
    assert not bloom.contains(keys(2, 1_000_000)).any()


def test_formula_measured_rate_and_count_agree_on_an_overfull_filter() -> None:
    """At three times its capacity false positives are frequent enough to be counted."""
    bloom = Bloom(300_000)
    bloom.capacity = 10**9
    bloom.add(keys(1, 1_500_000))
    counted = bloom.contains(keys(2, 2_000_000)).mean()
    assert counted == pytest.approx(bloom.measured_rate(), rel=0.1)
    assert counted == pytest.approx(rate_at(1_500_000, len(bloom.blocks)), rel=0.1)


def test_the_rate_at_capacity_is_below_the_papers() -> None:
    bloom = Bloom(1_000_000)
    bloom.add(keys(3, 1_000_000))
    assert rate_at(1_000_000, len(bloom.blocks)) < LARGEST_RATE
    assert bloom.measured_rate() < LARGEST_RATE


def test_a_full_filter_refuses() -> None:
    bloom = Bloom(10)
    with pytest.raises(MismatchError, match="full"):
        bloom.add(keys(1, 11))
    assert bloom.keys == 0
    with pytest.raises(UsageError):
        Bloom(0)


def test_union_is_the_filter_of_both() -> None:
    both, left, right = Bloom(2000), Bloom(2000), Bloom(2000)
    left.add(keys(1, 1000))
    right.add(keys(2, 1000))
    both.add(keys(1, 1000))
    both.add(keys(2, 1000))
    left.union(right)
    assert (left.blocks == both.blocks).all()
    assert left.keys == 2000
    with pytest.raises(MismatchError, match="too full"):
        left.union(right)
    with pytest.raises(MismatchError, match="one capacity"):
        left.union(Bloom(3))


def test_saved_filters_are_the_same_and_damage_is_seen(tmp_path: Path) -> None:
    bloom = Bloom(500)
    bloom.add(keys(4, 500))
    bloom.save(tmp_path)
    assert Bloom.load(tmp_path).contains(keys(4, 500)).all()
    damaged = bytearray((tmp_path / BITS_FILE).read_bytes())
    damaged[-3] ^= 1
    (tmp_path / BITS_FILE).write_bytes(damaged)
    with pytest.raises(DamagedFileError):
        Bloom.load(tmp_path)
    (tmp_path / BITS_FILE).write_bytes(b"nothing")
    with pytest.raises(DamagedFileError):
        Bloom.load(tmp_path)
