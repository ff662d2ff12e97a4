"""Kernels of single descriptors over a trailing window; see `kernels` for the rules that they keep."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factors.kernels import TILE

Array = NDArray[np.float64]

MONTH = 21
MONTHS = 12


@njit(cache=True, nogil=True)
def rolling_market_fit(
    x: Array, market: Array, fit_weights: Array, spread_weights: Array, least: int, first: int, a: int, b: int,
    beta: Array, sigma: Array, spread: Array,
) -> None:  # fmt: skip
    """Weighted regression of each asset on the market, and the weighted deviation of its returns.

    beta and sigma (the weighted deviation of the regression's residuals) use `fit_weights` [n], spread (DASTD) uses
    `spread_weights` [n] (of another length: not asked for, NaN); both windows end at row t. Days on which either return
    is missing are left out.
    """
    n = len(fit_weights)
    deviations = len(spread_weights) == n
    sums = np.empty((10, TILE))
    for start in range(a, b, TILE):
        width = min(TILE, b - start)
        for t in range(first, x.shape[0]):
            sums[:, :width] = 0.0
            begin = t - n + 1
            s0, s1, s2, s3, s4 = sums[0], sums[1], sums[2], sums[3], sums[4]
            s5, s6, s7, s8, s9 = sums[5], sums[6], sums[7], sums[8], sums[9]
            for k in range(max(0, -begin), n):
                m = market[begin + k]
                if m != m:
                    continue
                w = fit_weights[k]
                wm = w * m
                wmm = wm * m
                u = spread_weights[k] if deviations else 0.0
                row = x[begin + k, start : start + width]
                for j in range(width):
                    valid = row[j] == row[j]
                    r = row[j] if valid else 0.0
                    v = 1.0 if valid else 0.0
                    s0[j] += w * v
                    s1[j] += w * r
                    s2[j] += wm * v
                    s3[j] += wm * r
                    s4[j] += wmm * v
                    s5[j] += w * r * r
                    s9[j] += v
                if not deviations:
                    continue
                for j in range(width):
                    valid = row[j] == row[j]
                    r = row[j] if valid else 0.0
                    s6[j] += u * r
                    s7[j] += u * r * r
                    s8[j] += u if valid else 0.0
            for j in range(width):
                _finish_fit(sums[:, j], least, t - first, start + j, beta, sigma, spread)


@njit(cache=True, nogil=True)
def _finish_fit(s: Array, least: int, row: int, column: int, beta: Array, sigma: Array, spread: Array) -> None:
    beta[row, column] = np.nan
    sigma[row, column] = np.nan
    spread[row, column] = np.nan
    if s[9] < max(least, 3):
        return
    mean_r, mean_m = s[1] / s[0], s[2] / s[0]
    vm = s[4] - mean_m * s[2]
    cov = s[3] - mean_m * s[1]
    vr = max(s[5] - mean_r * s[1], 0.0)
    if s[8] > 0.0:
        spread[row, column] = np.sqrt(max(s[7] - s[6] * s[6] / s[8], 0.0) / s[8])
    if vm <= 0.0:
        return
    slope = cov / vm
    beta[row, column] = slope
    sigma[row, column] = np.sqrt(max(vr - slope * cov, 0.0) / s[0])


@njit(cache=True, nogil=True)
def cumulative_range(logs: Array, first: int, a: int, b: int, out: Array) -> None:
    """CMRA: the range of the cumulative log return over the last 1, 2 .. 12 months of 21 days.

    With Z(T) the compounded return of the last T months, ln(1 + Z_max) - ln(1 + Z_min) (USE4). A missing day counts as
    0; half of the 252 days must be there.
    """
    total = np.empty(TILE)
    count = np.empty(TILE)
    high = np.empty(TILE)
    low = np.empty(TILE)
    for start in range(a, b, TILE):
        width = min(TILE, b - start)
        for t in range(first, logs.shape[0]):
            total[:width] = 0.0
            count[:width] = 0.0
            high[:width] = -np.inf
            low[:width] = np.inf
            for k in range(MONTH * MONTHS):
                if t - k < 0:
                    break
                row = logs[t - k, start : start + width]
                for j in range(width):
                    valid = row[j] == row[j]
                    total[j] += row[j] if valid else 0.0
                    count[j] += 1.0 if valid else 0.0
                if (k + 1) % MONTH == 0:
                    for j in range(width):
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
