"""Order of one cross-section: a radix sort on the leading bits, finished by insertion on exact values.

A float's bits, with the sign folded, order as unsigned integers. The index of the asset replaces the lowest bits of the
key, so that one array is moved. Two or three counting passes over the bits below the common prefix leave almost
everything in place; insertion, comparing exact values where the kept bits agree, ends it. Where insertion would have
far to go (values that agree in their leading bits), a merge sort takes over, so that the time is bounded.
"""

from __future__ import annotations

import numpy as np

from factors.library.kernels.types import F8, I8, U8, kernel

NAN = np.nan
SIGN = np.uint64(1) << np.uint64(63)
ONE, ZERO = np.uint64(1), np.uint64(0)


@kernel
def index_bits(n: int) -> int:
    """Bits that hold an asset's index."""
    bits = 1
    while (1 << bits) < n:
        bits += 1
    return bits


@kernel
def fill_keys(x: F8, bits: U8, keys: U8, low: int) -> int:
    """Keys of the names that are there, index in the low bits; returns how many."""
    shift = np.uint64(low)
    count = 0
    for j in range(len(x)):
        v = x[j]
        if v == v:
            b = bits[j] if v != 0.0 else ZERO
            b = ~b if b & SIGN else b | SIGN
            keys[count] = ((b >> shift) << shift) | np.uint64(j)
            count += 1
    return count


@kernel
def before(a: int, b: int, x: F8, shift: int, mask: int) -> bool:
    """Whether key a comes strictly before key b, by the kept bits and then by the exact values."""
    if (a ^ b) >> shift:
        return a < b
    return x[np.int64(a & mask)] < x[np.int64(b & mask)]


@kernel
def insertion(x: F8, keys: U8, count: int, low: int) -> bool:
    """Finish a nearly sorted array; False where it would take more than a bounded number of moves."""
    shift = np.uint64(low)
    mask = (ONE << shift) - ONE
    left = 16 * count
    for i in range(1, count):
        key = keys[i]
        prior = keys[i - 1]
        if prior < key and (prior ^ key) >> shift:
            continue
        h = i
        while h > 0 and before(key, keys[h - 1], x, shift, mask):
            keys[h] = keys[h - 1]
            h -= 1
        keys[h] = key
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
def order(x: F8, bits: U8, K: U8, H: I8) -> int:
    """Sort one cross-section: K[0, :count] in order, the asset's index in its low bits; returns the count."""
    low = index_bits(len(x))
    keys, spare = K[0], K[1]
    count = fill_keys(x, bits, keys, low)
    if count < 2:
        return count
    least, most = keys[0], keys[0]
    for i in range(count):
        least = min(least, keys[i])
        most = max(most, keys[i])
    differs = (least ^ most) >> np.uint64(low)
    top = low
    while differs:
        differs >>= ONE
        top += 1
    digit = 11 if count > 1400 else 8
    passes = 2 if count > 1400 else 3
    radix = 1 << digit
    mask = np.uint64(radix - 1)
    H[:passes, :radix] = 0
    base = max(top - digit * passes, 0)
    for i in range(count):
        key = keys[i] >> np.uint64(base)
        for p in range(passes):
            H[p, np.int64((key >> np.uint64(p * digit)) & mask)] += 1
    for p in range(passes):
        shift = np.uint64(base + p * digit)
        counts = H[p]
        total = 0
        for d in range(radix):
            here = counts[d]
            counts[d] = total
            total += here
        for i in range(count):
            key = keys[i]
            d = np.int64((key >> shift) & mask)
            spare[counts[d]] = key
            counts[d] += 1
        keys, spare = spare, keys
    if not insertion(x, keys, count, low):
        merge(x, keys, spare, count, low)
    if passes == 3:
        K[0, :count] = keys[:count]
    return count


@kernel
def rank_row(x: F8, bits: U8, z: F8, scale: int, ties: int, K: U8, H: I8) -> int:
    """Ranks of one cross-section; scale r/n 0, (r-1)/(n-1) 1, r-1 2; ties average 0, min 1, max 2, ordinal 3."""
    count = order(x, bits, K, H)
    mask = (ONE << np.uint64(index_bits(len(x)))) - ONE
    keys = K[0]
    if count < len(x):
        z[:] = NAN
    offset, divisor = 0.0, float(max(count, 1))  # a true division: r / n as everyone else has it, to the last bit
    if scale == 1:
        offset, divisor = -1.0, (count - 1.0 if count > 1 else NAN)
    elif scale == 2:
        offset, divisor = -1.0, 1.0
    first = 0
    while first < count:
        at = np.int64(keys[first] & mask)
        v = x[at]
        last = first + 1
        while last < count and x[np.int64(keys[last] & mask)] == v:
            last += 1
        if last == first + 1:
            z[at] = (last + offset) / divisor
        else:
            rank = 0.5 * (first + 1 + last)
            if ties == 1:
                rank = first + 1.0
            elif ties == 2:
                rank = float(last)
            for i in range(first, last):
                if ties == 3:
                    rank = i + 1.0
                z[np.int64(keys[i] & mask)] = (rank + offset) / divisor
        first = last
    return count
