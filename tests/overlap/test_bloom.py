"""The Bloom filter: no member is ever missed, and strangers are as rare as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught import storage
from selftaught.errors import DamagedFileError, MismatchError, UsageError
from selftaught.overlap import bloom as bloom_module
from selftaught.overlap.bloom import LARGEST_RATE, Bloom
from selftaught.overlap.chunks import workers
from selftaught.overlap.parameters import BITS_FILE, PARAMETERS_FILE, Content
from selftaught.overlap.probing import PARTED_BLOCKS, insert
from tests.reference.bloom import bits, rate_at

CONTENT = Content(words=8, across="documents", texts=("ab",))


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
    insert(bloom.blocks, keys(1, 1_500_000))
    counted = bloom.contains(keys(2, 2_000_000)).mean()
    assert counted == pytest.approx(bloom.measured_rate(), rel=0.1)
    assert counted == pytest.approx(rate_at(1_500_000, len(bloom.blocks)), rel=0.1)


def test_the_rate_at_capacity_is_below_the_papers() -> None:
    bloom = Bloom(1_000_000)
    bloom.add(keys(3, 1_000_000))
    assert rate_at(1_000_000, len(bloom.blocks)) < LARGEST_RATE
    assert bloom.measured_rate() < LARGEST_RATE


@pytest.mark.parametrize("count", [2_000, 120_000])
def test_the_measured_rate_is_that_of_each_part_by_itself(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bloom = Bloom(count)
    bloom.add(keys(8, count))
    filled = np.bitwise_count(bloom.blocks).sum(axis=1) / 512
    parts = 64 if len(bloom.blocks) >= PARTED_BLOCKS else 1
    expected = np.mean([np.mean(part**10) ** 2 for part in np.split(filled, parts)])
    distinct = bloom.distinct()
    for size in (50, 1 << 18):
        monkeypatch.setattr(bloom_module, "_COUNTED_BLOCKS", size)
        assert bloom.measured_rate() == pytest.approx(expected)
        assert bloom.distinct() == distinct


def test_a_full_filter_refuses() -> None:
    bloom = Bloom(1000)
    bloom.add(keys(1, 990))
    with pytest.raises(MismatchError, match="full"):
        bloom.add(keys(2, 60))
    assert not bloom.contains(keys(2, 60)).any()
    with pytest.raises(UsageError):
        Bloom(0)


@given(st.integers(1, 400), st.integers(1, 6))
def test_keys_that_come_again_need_no_room(count: int, times: int) -> None:
    bloom = Bloom(count)
    for _ in range(times):
        bloom.add(np.repeat(keys(1, count), times))
    assert bloom.keys == count * times * times
    assert bloom.contains(keys(1, count)).all()


@pytest.mark.parametrize("capacity", [5_000, 300_000])
def test_distinct_keys_are_reckoned_from_the_bits(capacity: int) -> None:
    bloom = Bloom(capacity)
    for share in (2, 1):
        bloom.add(keys(1, capacity // share))
        assert bloom.distinct() == pytest.approx(capacity / share, rel=0.02)


@pytest.mark.parametrize("count", [100, 120_000])
def test_union_is_the_filter_of_both(count: int) -> None:
    both, left, right = Bloom(2 * count), Bloom(2 * count), Bloom(2 * count)
    left.add(keys(1, count))
    right.add(keys(2, count))
    both.add(keys(1, count))
    both.add(keys(2, count))
    left.union(right)
    assert (left.blocks == both.blocks).all()
    assert left.keys == 2 * count
    left.union(right)  # of the same keys there are not more
    more = Bloom(2 * count)
    more.add(keys(3, count))
    with pytest.raises(MismatchError, match="too full"):
        left.union(more)
    with pytest.raises(MismatchError, match="one capacity"):
        left.union(Bloom(3))


@pytest.mark.parametrize("count", [500, 150_000])
@pytest.mark.parametrize("jobs", [2, 3])
def test_threads_make_the_filter_that_one_makes(count: int, jobs: int) -> None:
    """Of one part and of many."""
    alone, shared = Bloom(count), Bloom(count)
    parts = [keys(seed, count // 5) for seed in range(5)]
    for part in parts:
        alone.add(part)
    with workers(jobs) as threads:
        list(threads.map(shared.add, parts))
    assert (alone.blocks == shared.blocks).all()
    assert alone.keys == shared.keys == count


def test_a_filter_of_many_parts_sets_the_slow_twins_bits() -> None:
    bloom, members = Bloom(100_000), keys(7, 300)
    assert len(bloom.blocks) >= PARTED_BLOCKS
    bloom.add(members)
    set_bits = np.unpackbits(bloom.blocks.view(np.uint8), axis=1, bitorder="little")
    expected = {place for key in members.tolist() for place in bits(key, len(bloom.blocks))}
    assert set(map(tuple, np.argwhere(set_bits).tolist())) == expected


KEY = st.integers(0, (1 << 64) - 1)


@given(st.lists(KEY, max_size=60), st.lists(KEY, max_size=60), st.integers(60, 5000))
def test_every_bit_is_the_slow_twins(members: list[int], others: list[int], capacity: int) -> None:
    bloom = Bloom(capacity)
    bloom.add(np.array(members, dtype=np.uint64))
    set_bits = np.unpackbits(bloom.blocks.view(np.uint8), axis=1, bitorder="little")
    expected = {place for key in members for place in bits(key, len(bloom.blocks))}
    assert set(map(tuple, np.argwhere(set_bits).tolist())) == expected
    found = bloom.contains(np.array(others + members, dtype=np.uint64)).tolist()
    assert found == [bits(key, len(bloom.blocks)) <= expected for key in others + members]
    assert all(found[len(others) :])


def test_blocks_lie_in_one_cache_line_and_all_are_used() -> None:
    bloom = Bloom(20_000)
    bloom.add(keys(5, 20_000))
    assert bloom.blocks.ctypes.data % 64 == 0
    assert np.bitwise_count(bloom.blocks).sum(axis=1).min() > 0


def test_a_saved_filter_is_mapped_and_damage_is_seen(tmp_path: Path) -> None:
    bloom = Bloom(500)
    bloom.add(keys(4, 400))
    bloom.save(tmp_path, CONTENT)
    before = storage.sha256(tmp_path / BITS_FILE)
    loaded = Bloom.load(tmp_path)
    assert loaded.contains(keys(4, 400)).all()
    loaded.add(keys(5, 100))
    assert loaded.contains(keys(5, 100)).all()
    assert storage.sha256(tmp_path / BITS_FILE) == before, "what is added to a mapped filter stays in memory"
    whole = (tmp_path / BITS_FILE).read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    for damaged in (flipped, whole[:-64], b"", b"nothing", b"PK\x05\x06" + bytes(18)):
        (tmp_path / BITS_FILE).write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="damaged"):
            Bloom.load(tmp_path)
    (tmp_path / PARAMETERS_FILE).write_text('{"capacity": 5')
    with pytest.raises(DamagedFileError, match="cannot be read"):
        Bloom.load(tmp_path)


def test_a_filter_of_another_scheme_is_refused(tmp_path: Path) -> None:
    Bloom(5).save(tmp_path, CONTENT)
    text = (tmp_path / PARAMETERS_FILE).read_text().replace("45 bits a key", "9 bits a key")
    (tmp_path / PARAMETERS_FILE).write_text(text)
    with pytest.raises(MismatchError, match="another kind"):
        Bloom.load(tmp_path)
