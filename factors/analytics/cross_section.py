"""Ranks and correlations across assets, one date at a time."""

import numpy as np
from numba import njit

from factors.risk.arrays import FloatArray

# With fewer assets than this a correlation is not an estimate of anything.
MIN_ASSETS = 3


@njit(cache=True)
def _average_ranks(values: FloatArray, ranks: FloatArray) -> None:
    """Write the ranks (1 the lowest, ties averaged) of values without NaN into `ranks`."""
    order = np.argsort(values)
    n = values.size
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and values[order[stop]] == values[order[start]]:
            stop += 1
        for i in range(start, stop):
            ranks[order[i]] = 0.5 * (start + stop + 1)
        start = stop


@njit(cache=True)
def _pearson(a: FloatArray, b: FloatArray) -> float:
    n = a.size
    mean_a, mean_b = a.mean(), b.mean()
    cross = square_a = square_b = 0.0
    for i in range(n):
        cross += (a[i] - mean_a) * (b[i] - mean_b)
        square_a += (a[i] - mean_a) ** 2
        square_b += (b[i] - mean_b) ** 2
    # A spread that is rounding of the level is no spread.
    if square_a <= n * (1e-14 * mean_a) ** 2 or square_b <= n * (1e-14 * mean_b) ** 2:
        return np.nan
    return float(cross / np.sqrt(square_a * square_b))


@njit(cache=True)
def rank_rows(values: FloatArray) -> FloatArray:
    """Return the rank of each asset among those present, `[n_dates, n_assets]`; 1 the lowest, ties averaged."""
    ranks = np.full(values.shape, np.nan)
    for t in range(values.shape[0]):
        present = np.flatnonzero(~np.isnan(values[t]))
        held = np.empty(present.size)
        _average_ranks(values[t][present], held)
        ranks[t][present] = held
    return ranks


@njit(cache=True)
def row_correlations(a: FloatArray, b: FloatArray, ranked: bool) -> FloatArray:
    """Return `[n_dates]` correlations across assets over those present in both; NaN for fewer than three.

    With `ranked` both are ranked among these assets first (Spearman).
    """
    result = np.full(a.shape[0], np.nan)
    for t in range(a.shape[0]):
        both = np.flatnonzero(~(np.isnan(a[t]) | np.isnan(b[t])))
        if both.size < MIN_ASSETS:
            continue
        left, right = a[t][both], b[t][both]
        if ranked:
            left_ranks, right_ranks = np.empty(both.size), np.empty(both.size)
            _average_ranks(left, left_ranks)
            _average_ranks(right, right_ranks)
            left, right = left_ranks, right_ranks
        result[t] = _pearson(left, right)
    return result
