"""Kernels of single descriptors over a trailing window; see `kernels` for the rules that they keep."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factors.numeric.kernels import TILE

Array = NDArray[np.float64]

MONTH = 21
MONTHS = 12


@njit(cache=True, nogil=True)
def month_sums(logs: Array, first: int, a: int, b: int, out: Array) -> None:
    """Sum and count of the last 21 rows; out [n_new, 2, n_assets]. The sum of fewer rows is NaN, their count is not."""
    for t in range(first, logs.shape[0]):
        total, count = out[t - first, 0, a:b], out[t - first, 1, a:b]
        total[:] = 0.0
        count[:] = 0.0
        for k in range(max(t - MONTH + 1, 0), t + 1):
            row = logs[k, a:b]
            for j in range(b - a):
                there = row[j] == row[j]
                total[j] += row[j] if there else 0.0
                count[j] += 1.0 if there else 0.0
        if t < MONTH - 1:
            total[:] = np.nan


@njit(cache=True, nogil=True)
def cumulative_range(months: Array, first: int, a: int, b: int, out: Array) -> None:
    """CMRA: the range of the cumulative log return over the last 1, 2 .. 12 months of 21 days.

    With Z(T) the compounded return of the last T months, ln(1 + Z_max) - ln(1 + Z_min) (USE4). A missing day counts as
    0; half of the 252 days must be there. `months` [n_rows, 2, n_assets] are `month_sums` of each row.
    """
    total = np.empty(TILE)
    count = np.empty(TILE)
    high = np.empty(TILE)
    low = np.empty(TILE)
    for start in range(a, b, TILE):
        width = min(TILE, b - start)
        for t in range(first, months.shape[0]):
            total[:width] = 0.0
            count[:width] = 0.0
            high[:width] = -np.inf
            low[:width] = np.inf
            for k in range(MONTHS):
                at = t - k * MONTH
                if at < 0:
                    break
                more, there = months[at, 0, start : start + width], months[at, 1, start : start + width]
                for j in range(width):
                    total[j] += more[j]
                    count[j] += there[j]
                    # A month of fewer rows is NaN, and compares as neither.
                    high[j] = max(high[j], total[j])
                    low[j] = min(low[j], total[j])
            for j in range(width):
                enough = 2.0 * count[j] >= MONTH * MONTHS
                out[t - first, start + j] = high[j] - low[j] if enough else np.nan


@njit(cache=True, nogil=True)
def yearly_slope(x: Array, year: int, years: int, least: int, first: int, a: int, b: int, out: Array) -> None:
    """Slope per year of the values at t, t - year, .. (at most `years` of them), over the mean of their sizes."""
    for t in range(first, x.shape[0]):
        for j in range(a, b):
            n = 0
            st = 0.0
            sx = 0.0
            stt = 0.0
            stx = 0.0
            size = 0.0
            for k in range(years):
                at = t - k * year
                if at < 0:
                    break
                value = x[at, j]
                if value == value:
                    n += 1
                    st -= k
                    sx += value
                    stt += k * k
                    stx -= k * value
                    size += abs(value)
            if n < least or size == 0.0:
                out[t - first, j] = np.nan
            else:
                out[t - first, j] = (stx - st * sx / n) / (stt - st * st / n) / (size / n)


@njit(cache=True, nogil=True)
def market_returns(returns: Array, caps: Array, mask: NDArray[np.bool_], out: Array) -> None:
    """Cap-weighted return of each row, weights and universe given row by row (those of the day before)."""
    for t in range(returns.shape[0]):
        total = 0.0
        weight = 0.0
        for j in range(returns.shape[1]):
            if mask[t, j] and returns[t, j] == returns[t, j]:
                total += caps[t, j] * returns[t, j]
                weight += caps[t, j]
        out[t] = total / weight if weight > 0.0 else np.nan
