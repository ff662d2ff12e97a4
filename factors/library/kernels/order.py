"""Order of one cross-section: a radix sort on the leading bits, finished by insertion on exact values.

A float's bits, with the sign folded, order as unsigned integers. The index of the asset replaces the lowest bits of the
key, so that one array is moved. Two or three counting passes over the bits below the common prefix leave almost
everything in place; insertion, comparing exact values where the kept bits agree, ends it. Where insertion would have
far to go (values that agree in their leading bits), a merge sort takes over, so that the time is bounded.
"""

from __future__ import annotations

import numpy as np

from factors.library.kernels.types import F8, U4, U8, kernel

NAN = np.nan
ZERO, ONE = np.uint64(0), np.uint64(1)
SIGN = ONE << np.uint64(63)
FULL = ~ZERO
# Below this many names three passes over 8 bits are faster than two over 11.
WIDE_NAMES = 1_400


@kernel
def index_bits(n: int) -> int:
    """Bits that hold an asset's index."""
    bits = 1
    while (1 << bits) < n:
        bits += 1
    return bits


@kernel
def fill_keys(x: F8, bits: U8, keys: U8, low: int) -> tuple[int, np.uint64]:
    """Keys of the names that are there, index in the low bits; returns how many, and the bits in which they differ."""
    kept = FULL << np.uint64(low)
    count = ZERO
    one, zero = FULL, ZERO
    for j in range(len(x)):
        v = x[j]
        b = bits[j] if v != 0.0 else ZERO
        b = ~b if b & SIGN else b | SIGN
        b &= kept
        keys[count] = b | np.uint64(j)
        there = v == v
        one = one & b if there else one
        zero = zero | b if there else zero
        count += ONE if there else ZERO
    return np.int64(count), one ^ zero  # type: ignore[return-value]  # int() would keep it unsigned


@kernel
def before(a: np.uint64, b: np.uint64, x: F8, shift: np.uint64, mask: np.uint64) -> bool:
    """Whether key a comes strictly before key b, by the kept bits and then by the exact values."""
    if (a ^ b) >> shift:
        return bool(a < b)
    return bool(x[a & mask] < x[b & mask])


@kernel
def insertion(x: F8, keys: U8, count: int, low: int) -> bool:
    """Finish a nearly sorted array; False where it would take more than a bounded number of moves."""
    shift = np.uint64(low)
    mask = (ONE << shift) - ONE
    left = 16 * count
    prior = keys[0]
    for i in range(1, count):
        key = keys[i]
        if prior < key and (prior ^ key) >> shift:
            prior = key
            continue
        h = i
        while h > 0 and before(key, keys[h - 1], x, shift, mask):
            keys[h] = keys[h - 1]
            h -= 1
        keys[h] = key
        prior = keys[i]
        left -= i - h
        if left < 0:
            return False
    return True


@kernel
def merge(x: F8, keys: U8, spare: U8, count: int, low: int) -> None:
    """Bottom-up merge sort."""
    shift = np.uint64(low)
    mask = (ONE << shift) - ONE
    width = 1
    while width < count:
        for start in range(0, count, 2 * width):
            middle, end = min(start + width, count), min(start + 2 * width, count)
            a, b = start, middle
            for i in range(start, end):
                if a < middle and (b >= end or not before(keys[b], keys[a], x, shift, mask)):
                    spare[i] = keys[a]
                    a += 1
                else:
                    spare[i] = keys[b]
                    b += 1
        keys[:count] = spare[:count]
        width *= 2


@kernel
def counting_pass(keys: U8, spare: U8, count: int, shift: np.uint64, mask: np.uint64, counts: U4) -> None:
    """One stable counting pass from keys to spare; counts holds the digit's histogram."""
    total = np.uint32(0)
    for d in range(np.int64(mask) + 1):
        here = counts[d]
        counts[d] = total
        total += here
    for i in range(count):
        key = keys[i]
        d = (key >> shift) & mask
        spare[counts[d]] = key
        counts[d] += np.uint32(1)


@kernel
def order(x: F8, bits: U8, K: U8, H: U4) -> int:
    """Sort one cross-section: K[0, :count] in order, the asset's index in its low bits; returns the count."""
    low = index_bits(len(x))
    keys, spare = K[0], K[1]
    count, differs = fill_keys(x, bits, keys, low)
    if count < 2:
        return int(count)
    top = 0
    while differs:
        differs >>= ONE
        top += 1
    wide = count > WIDE_NAMES
    digit = 11 if wide else 8
    mask = np.uint64((1 << digit) - 1)
    base = np.uint64(max(top - (2 * digit if wide else 3 * digit), 0))
    step = np.uint64(digit)
    H[:, : (1 << digit)] = 0
    c0, c1, c2 = H[0], H[1], H[2]
    for i in range(count):
        key = keys[i] >> base
        c0[key & mask] += np.uint32(1)
        c1[(key >> step) & mask] += np.uint32(1)
        if not wide:
            c2[(key >> (step + step)) & mask] += np.uint32(1)
    counting_pass(keys, spare, count, base, mask, c0)
    counting_pass(spare, keys, count, base + step, mask, c1)
    if not wide:
        counting_pass(keys, spare, count, base + step + step, mask, c2)
        keys[:count] = spare[:count]
    if not insertion(x, keys, count, low):
        merge(x, keys, spare, count, low)
    return int(count)


@kernel
def rank_row(x: F8, bits: U8, z: F8, scale: int, ties: int, K: U8, H: U4) -> int:
    """Ranks of one cross-section; scale r/n 0, (r-1)/(n-1) 1, r-1 2; ties average 0, min 1, max 2, ordinal 3."""
    count = order(x, bits, K, H)
    shift = np.uint64(index_bits(len(x)))
    mask = (ONE << shift) - ONE
    keys = K[0]
    if count < len(x):
        z[:] = NAN
    # a true division: r / n as everyone else has it, to the last bit
    offset, divisor = 0.0, float(max(count, 1))
    if scale == 1:
        offset, divisor = -1.0, (count - 1.0 if count > 1 else NAN)
    elif scale == 2:
        offset, divisor = -1.0, 1.0
    first = 0
    while first < count:
        key = keys[first]
        last = first + 1
        # only keys that agree in the kept bits can be ties
        while last < count and not (keys[last] ^ key) >> shift and x[keys[last] & mask] == x[key & mask]:
            last += 1
        if last == first + 1:
            z[key & mask] = (last + offset) / divisor
        else:
            rank = 0.5 * (first + 1 + last)
            if ties == 1:
                rank = first + 1.0
            elif ties == 2:
                rank = float(last)
            for i in range(first, last):
                if ties == 3:
                    rank = i + 1.0
                z[keys[i] & mask] = (rank + offset) / divisor
        first = last
    return count
