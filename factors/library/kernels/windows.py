"""Further operations over a window, read directly: exponential weights, order statistics, paths."""

from __future__ import annotations

import math

import numpy as np

from factors.library.kernels.layout import FC, I0, I1, L0, L1, MINP, MODE, OUT, OUTR, P0, P1, R0, R1, ST, W
from factors.library.kernels.moments import pair_value
from factors.library.kernels.types import F8, I8, LARGEST, kernel, row_of, slot

NAN = np.nan


@kernel
def ew_one(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Exponentially weighted mean 0, sum 1, standard deviation 2 over the rows that are there."""
    m = j1 - j0
    total, mass, count, mean = S[0, :m], S[1, :m], S[2, :m], S[3, :m]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % c[R0]
        for a in range(3):
            S[a, :m] = 0.0
        for k in range(c[W] - 1, -1, -1):
            o = c[I0] + j0 + slot(new, k, c[R0]) * n
            x = A[o : o + m]
            f = F[c[FC] + k]
            for j in range(m):
                there = x[j] == x[j]
                total[j] += f * x[j] if there else 0.0
                mass[j] += f if there else 0.0
                count[j] += 1.0 if there else 0.0
        for j in range(m):
            mean[j] = total[j] / mass[j]
            z[j] = total[j] if c[MODE] == 1 else mean[j]
        if c[MODE] == 2:
            total[:] = 0.0
            for k in range(c[W] - 1, -1, -1):
                o = c[I0] + j0 + slot(new, k, c[R0]) * n
                x = A[o : o + m]
                f = F[c[FC] + k]
                for j in range(m):
                    d = x[j] - mean[j]
                    total[j] += f * (d * d) if d == d else 0.0
            for j in range(m):
                z[j] = math.sqrt(total[j] / mass[j])
        for j in range(m):
            z[j] = z[j] if count[j] >= c[MINP] and abs(z[j]) <= LARGEST else NAN


@kernel
def ew_pair(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Weighted least squares of y on x: slope 2, intercept 3, residual standard deviation 6."""
    m = j1 - j0
    for t in range(t0, t1):
        newy, newx = (t - c[L0]) % c[R0], (t - c[L1]) % c[R1]
        for a in range(7):
            S[a, :m] = 0.0
        for k in range(c[W] - 1, -1, -1):
            o = c[I0] + j0 + slot(newy, k, c[R0]) * n
            y = A[o : o + m]
            o = c[I1] + j0 + slot(newx, k, c[R1]) * n
            x = A[o : o + m]
            f = F[c[FC] + k]
            for j in range(m):
                there = x[j] == x[j] and y[j] == y[j]
                g = f if there else 0.0
                u, v = (x[j], y[j]) if there else (0.0, 0.0)
                S[0, j] += g * u
                S[1, j] += g * v
                S[2, j] += g * (u * u)
                S[3, j] += g * (v * v)
                S[4, j] += g * (u * v)
                S[5, j] += g
                S[6, j] += 1.0 if there else 0.0
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        for j in range(m):
            v = NAN
            if S[6, j] >= c[MINP] and S[6, j] >= 2.0:
                v = pair_value(
                    c[MODE], S[5, j], S[0, j], S[1, j], S[2, j], S[3, j], S[4, j], 0.0, 0.0, 0.0, 0.0, 0.0, NAN, 0.0
                )
            A[o + j] = v if abs(v) <= LARGEST else NAN


@kernel
def rolling_sorted(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Quantile 0, mean of the k smallest 1, of the k largest 2, from a sorted copy of the window kept per asset.

    The state of an asset is W + 1 numbers: how many are there, then they in order.
    """
    w = c[W]
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n)
        new = c[I0] + ((t - c[L0]) % c[R0]) * n
        old = c[I0] + ((t - c[L0] - w) % c[R0]) * n
        for j in range(j0, j1):
            s = c[ST] + j * (w + 1)
            kept = A[s + 1 : s + 1 + w]
            count = resort(kept, int(A[s]), A[old + j], A[new + j])
            A[s] = float(count)
            v = NAN
            if count >= c[MINP]:
                v = order_value(kept, count, c[MODE], c[P0], F[c[FC]])
            A[out + j] = v if abs(v) <= LARGEST else NAN


@kernel
def resort(kept: F8, count: int, gone: float, come: float) -> int:
    """Take one value out of a sorted array and put one in; returns the new count."""
    if gone == gone:
        at = np.searchsorted(kept[:count], gone)
        for i in range(at, count - 1):
            kept[i] = kept[i + 1]
        count -= 1
    if come == come:
        i = count
        while i > 0 and kept[i - 1] > come:
            kept[i] = kept[i - 1]
            i -= 1
        kept[i] = come
        count += 1
    return count


@kernel
def order_value(kept: F8, count: int, mode: int, k: int, q: float) -> float:
    """Value of a SORTED mode from the sorted window."""
    if mode == 0:
        place = q * (count - 1)
        low = int(math.floor(place))
        high = min(low + 1, count - 1)
        return float(kept[low] + (kept[high] - kept[low]) * (place - low))
    take = min(k, count)
    first = 0 if mode == 1 else count - take
    total = 0.0
    for i in range(first, first + take):
        total += kept[i]
    return total / take


@kernel
def rolling_paths(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Range of the sums over the last j*k rows, j = 1..n (0), the largest (1), the smallest (2); P0 = n, P1 = k."""
    m = j1 - j0
    total, high, low = S[0, :m], S[1, :m], S[2, :m]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % c[R0]
        total[:] = 0.0
        high[:] = -np.inf
        low[:] = np.inf
        for k in range(c[W]):
            o = c[I0] + j0 + slot(new, k, c[R0]) * n
            x = A[o : o + m]
            for j in range(m):
                total[j] += x[j]
            if (k + 1) % c[P1] == 0:
                for j in range(m):
                    high[j] = total[j] if total[j] > high[j] else high[j]
                    low[j] = total[j] if total[j] < low[j] else low[j]
        for j in range(m):
            v = high[j] - low[j] if c[MODE] == 0 else (high[j] if c[MODE] == 1 else low[j])
            z[j] = v if abs(total[j]) <= LARGEST and abs(v) <= LARGEST else NAN
