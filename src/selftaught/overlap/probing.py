"""Which bits of a Bloom filter a key sets: compiled, with the blocks of later keys asked for while earlier ones are worked on.

Without that a filter larger than the processor's cache waits for memory at every key: 7 instead of 40 million keys a second.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # comes with numba
from numba import types
from numba.extending import intrinsic

BLOCK_BITS, BITS_SET = 512, 10
PARTS = 64
"""A large filter consists of so many equal parts; a key's first six bits say in which both its blocks lie. So threads can fill
one filter, each in parts of its own, and a part is small enough for the processor's cache."""
PARTED_BLOCKS = 1 << 13
"""A filter of fewer blocks is of one part, since small parts would fill unevenly."""
AHEAD = 16
"""Keys between asking for a block and using it, a power of two; 8 to 32 are equally fast."""


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(context: Any, blocks: Any, index: Any) -> Any:  # noqa: ARG001 - how numba calls an intrinsic
    """Ask for the memory of blocks[index] without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        offset = builder.mul(values[1], builder.extract_value(array.strides, 0))
        address = builder.add(builder.ptrtoint(array.data, offset.type), offset)
        pointer = builder.inttoptr(address, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        # To be read and written, to be kept close, data.
        builder.call(ask, [pointer, number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(blocks, index), generate


@numba.njit(cache=True, nogil=True)
def _drawn(key, half):  # type: ignore[no-untyped-def]
    """64 random bits for a key's half."""
    value = (key ^ (np.uint64(half) * np.uint64(0xD6E8FEB86659FD93))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(32))


@numba.njit(cache=True, nogil=True)
def _more(value):  # type: ignore[no-untyped-def]
    """64 further bits: of each such word five places of nine bits are used."""
    value = value * np.uint64(0x9E3779B97F4A7C15)
    return value ^ (value >> np.uint64(32))


@numba.njit(cache=True, nogil=True)
def _block(value, count):  # type: ignore[no-untyped-def]
    """The upper half of the 128-bit product value x count (count below 2^32): all blocks equally often, without a division."""
    low, high = value & np.uint64(0xFFFFFFFF), value >> np.uint64(32)
    return (high * count + ((low * count) >> np.uint64(32))) >> np.uint64(32)


@numba.njit(cache=True, nogil=True)
def _place(key, drawn, count):  # type: ignore[no-untyped-def]
    """Number of the block of a key's half."""
    if count < np.uint64(PARTED_BLOCKS):
        return _block(drawn, count)
    in_part = count >> np.uint64(6)
    return (key >> np.uint64(58)) * in_part + _block(drawn, in_part)


@numba.njit(cache=True, nogil=True)
def _ask_for(blocks, key, drawn, places):  # type: ignore[no-untyped-def]
    """Ask for both blocks of a key and remember its random bits and their places."""
    for half in range(2):
        drawn[half] = _drawn(key, half + 1)
        places[half] = np.int64(_place(key, drawn[half], np.uint64(len(blocks))))
        _prefetch(blocks, places[half])


@numba.njit(cache=True, nogil=True)
def insert(blocks, hashes):  # type: ignore[no-untyped-def]
    """Set the bits of every hash (uint64) in blocks (uint64, count x 8)."""
    six, nine, low, one = np.uint64(6), np.uint64(9), np.uint64(63), np.uint64(1)
    drawn, places = np.empty((AHEAD, 2), dtype=np.uint64), np.empty((AHEAD, 2), dtype=np.int64)
    for number in range(-AHEAD, len(hashes)):
        slot = number & (AHEAD - 1)
        if number >= 0:
            for half in range(2):
                block, first = places[slot, half], _more(drawn[slot, half])
                second = _more(first)
                for _ in range(BITS_SET // 2):
                    blocks[block, (first >> six) & np.uint64(7)] |= one << (first & low)
                    blocks[block, (second >> six) & np.uint64(7)] |= one << (second & low)
                    first, second = first >> nine, second >> nine
        if number + AHEAD < len(hashes):
            _ask_for(blocks, hashes[number + AHEAD], drawn[slot], places[slot])


@numba.njit(cache=True, nogil=True)
def look_up(blocks, hashes):  # type: ignore[no-untyped-def]
    """Whether all bits of each hash are set."""
    six, nine, low, one = np.uint64(6), np.uint64(9), np.uint64(63), np.uint64(1)
    found = np.empty(len(hashes), dtype=np.bool_)
    drawn, places = np.empty((AHEAD, 2), dtype=np.uint64), np.empty((AHEAD, 2), dtype=np.int64)
    for number in range(-AHEAD, len(hashes)):
        slot = number & (AHEAD - 1)
        if number >= 0:
            both = one
            for half in range(2):
                block, first = places[slot, half], _more(drawn[slot, half])
                second = _more(first)
                for _ in range(BITS_SET // 2):
                    both &= blocks[block, (first >> six) & np.uint64(7)] >> (first & low)
                    both &= blocks[block, (second >> six) & np.uint64(7)] >> (second & low)
                    first, second = first >> nine, second >> nine
                if not both:
                    break
            found[number] = both != 0
        if number + AHEAD < len(hashes):
            _ask_for(blocks, hashes[number + AHEAD], drawn[slot], places[slot])
    return found


@numba.njit(cache=True, nogil=True)
def by_part(hashes):  # type: ignore[no-untyped-def]
    """The hashes in the order of the parts that they belong to, and where each part's end."""
    shift = np.uint64(58)
    ends = np.zeros(PARTS, dtype=np.int64)
    for key in hashes:
        ends[key >> shift] += 1
    before = 0
    for part in range(PARTS):
        before, ends[part] = before + ends[part], before
    ordered = np.empty(len(hashes), dtype=np.uint64)
    for key in hashes:
        ordered[ends[key >> shift]] = key
        ends[key >> shift] += 1
    return ordered, ends
