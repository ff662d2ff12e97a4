"""Rolling and cross-sectional kernels over wide arrays.

Every kernel sums over a window or a cross-section in one fixed order and skips what is missing, so that a day computed
alone, a longer panel and a panel with more (empty) assets give the same bits. None uses fastmath. Rolling kernels work
on a range of columns so that callers can share the columns among threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]

TILE = 256


@njit(cache=True, nogil=True)
def rolling_product(x: Array, weights: Array, lag: int, least: int, first: int, a: int, b: int, out: Array) -> None:
    """Product over the window of (1 + w_k x), less 1; toraniko's momentum.

    Row t uses rows t - lag - n + 1 .. t - lag; `weights` [n] ends with the latest. NaN counts as no return; fewer than
    `least` values, or a window that begins before row 0, give NaN. Writes out[t - first, a:b] for t >= first.
    """
    n = len(weights)
    product = np.empty(TILE)
    count = np.empty(TILE)
    for start in range(a, b, TILE):
        width = min(TILE, b - start)
        for t in range(first, x.shape[0]):
            begin = t - lag - n + 1
            if begin < 0:
                out[t - first, start : start + width] = np.nan
                continue
            product[:width] = 1.0
            count[:width] = 0.0
            for k in range(n):
                w = weights[k]
                row = x[begin + k, start : start + width]
                for j in range(width):
                    valid = row[j] == row[j]
                    product[j] *= 1.0 + (w * row[j] if valid else 0.0)
                    count[j] += 1.0 if valid else 0.0
            for j in range(width):
                out[t - first, start + j] = product[j] - 1.0 if count[j] >= least else np.nan


@njit(cache=True, nogil=True)
def rolling_sum(
    x: Array, weights: Array, lag: int, least: int, mean: bool, first: int, a: int, b: int, out: Array
) -> None:
    """Sum over the window of w_k x_k, or the weighted mean of what is there.

    The window of row t is rows max(0, t - lag - n + 1) .. t - lag; `weights` [n] ends with the latest. Fewer than
    `least` values give NaN.
    """
    n = len(weights)
    total = np.empty(TILE)
    weight = np.empty(TILE)
    count = np.empty(TILE)
    for start in range(a, b, TILE):
        width = min(TILE, b - start)
        for t in range(first, x.shape[0]):
            total[:width] = 0.0
            weight[:width] = 0.0
            count[:width] = 0.0
            begin = t - lag - n + 1
            for k in range(max(0, -begin), n):
                w = weights[k]
                row = x[begin + k, start : start + width]
                for j in range(width):
                    valid = row[j] == row[j]
                    total[j] += w * row[j] if valid else 0.0
                    weight[j] += w if valid else 0.0
                    count[j] += 1.0 if valid else 0.0
            for j in range(width):
                if count[j] < least or count[j] == 0.0:
                    out[t - first, start + j] = np.nan
                elif mean:
                    out[t - first, start + j] = total[j] / weight[j]
                else:
                    out[t - first, start + j] = total[j]


@njit(cache=True, nogil=True)
def any_infinite(x: Array) -> bool:
    """Say whether x [n_dates, n_assets] holds an infinity; several times faster than numpy on one day."""
    found = 0
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            # No early exit, so that the loop runs on the processor's vectors.
            found += abs(x[t, j]) == np.inf
    return found > 0


@njit(cache=True, nogil=True)
def forward_fill(x: Array, last: Array) -> None:
    """Replace NaN by the asset's last value, in place; `last` [n_assets] is the state, read and written."""
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            if x[t, j] == x[t, j]:
                last[j] = x[t, j]
            else:
                x[t, j] = last[j]


@njit(cache=True, nogil=True, inline="always")
def _lerp(low: float, high: float, t: float) -> float:
    # numpy's linear interpolation of a percentile, in its two forms, so that ties and ends agree with numpy.
    if t >= 0.5:
        return high - (high - low) * (1.0 - t)
    return low + (high - low) * t


@njit(cache=True, nogil=True)
def select(values: Array, n: int, k: int) -> float:
    """Give the k-th smallest of values[:n], reordering them so that smaller ones lie before it (Hoare)."""
    left, right = 0, n - 1
    while left < right:
        middle = (left + right) >> 1
        a, b, c = values[left], values[middle], values[right]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = left, right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            right = j
        elif k >= i:
            left = i
        else:
            break
    found: float = values[k]
    return found


@njit(cache=True, nogil=True)
def percentile(values: Array, n: int, fraction: float) -> float:
    """Give numpy's linear percentile of values[:n] (finite, reordered in place); NaN when n is 0."""
    if n == 0:
        return np.nan
    at = fraction * (n - 1)
    k = min(int(np.floor(at)), n - 1)
    low = select(values, n, k)
    if k == n - 1:
        return low
    high = values[k + 1]
    for i in range(k + 2, n):
        high = min(high, values[i])
    return _lerp(low, high, at - k)


@njit(cache=True, nogil=True)
def winsor_bounds(values: Array, n: int, fraction: float) -> tuple[float, float]:
    """Give the symmetric percentiles of values[:n], reordered in place."""
    return percentile(values, n, fraction), percentile(values, n, 1.0 - fraction)


@njit(cache=True, nogil=True)
def winsorize_rows(x: Array, mask: NDArray[np.bool_], fraction: float) -> None:
    """Clip each row of x [n_dates, n_assets], in place, to the percentiles of its finite values inside the mask."""
    buffer = np.empty(x.shape[1])
    for t in range(x.shape[0]):
        n = 0
        for j in range(x.shape[1]):
            if mask[t, j] and np.isfinite(x[t, j]):
                buffer[n] = x[t, j]
                n += 1
        low, high = winsor_bounds(buffer, n, fraction)
        for j in range(x.shape[1]):
            if x[t, j] < low:
                x[t, j] = low
            elif x[t, j] > high:
                x[t, j] = high


@njit(cache=True, nogil=True)
def clip_deviations(x: Array, mask: NDArray[np.bool_], limit: float) -> None:
    """Clip each row, in place, to mean +- `limit` deviations of its values inside the mask."""
    for t in range(x.shape[0]):
        mean, deviation, n = _moments(x[t], mask[t])
        if n < 2:
            continue
        low, high = mean - limit * deviation, mean + limit * deviation
        for j in range(x.shape[1]):
            if x[t, j] < low:
                x[t, j] = low
            elif x[t, j] > high:
                x[t, j] = high


@njit(cache=True, nogil=True)
def _moments(row: Array, mask: NDArray[np.bool_]) -> tuple[float, float, int]:
    total = 0.0
    n = 0
    for j in range(len(row)):
        if mask[j] and row[j] == row[j]:
            total += row[j]
            n += 1
    if n < 2:
        return (total if n else np.nan), 0.0, n
    mean = total / n
    square = 0.0
    for j in range(len(row)):
        if mask[j] and row[j] == row[j]:
            square += (row[j] - mean) ** 2
    return mean, np.sqrt(square / (n - 1)), n


@njit(cache=True, nogil=True)
def standardize_rows(x: Array, caps: Array, mask: NDArray[np.bool_], center: bool, scale: bool, by_cap: bool) -> None:
    """Centre and scale each row in place: mean 0 by cap (or equally) weighted, equal-weighted deviation 1, on the mask.

    A row whose values do not differ becomes 0 where it has a value: it explains nothing.
    """
    for t in range(x.shape[0]):
        mean, deviation, n = _moments(x[t], mask[t])
        if n == 0:
            x[t] = np.nan
            continue
        level = abs(mean)
        if by_cap:
            total = 0.0
            weight = 0.0
            for j in range(x.shape[1]):
                if mask[t, j] and x[t, j] == x[t, j]:
                    total += caps[t, j] * x[t, j]
                    weight += caps[t, j]
            if weight > 0.0:
                mean = total / weight
        shift = mean if center else 0.0
        if not scale:
            deviation = 1.0
        elif deviation <= 1e-14 * level or deviation == 0.0:
            for j in range(x.shape[1]):
                if x[t, j] == x[t, j]:
                    x[t, j] = 0.0
            continue
        for j in range(x.shape[1]):
            x[t, j] = (x[t, j] - shift) / deviation


@njit(cache=True, nogil=True)
def score_rows(
    x: Array, caps: Array, mask: NDArray[np.bool_], fraction: float, limit: float, center: bool, scale: bool,
    by_cap: bool,
) -> None:  # fmt: skip
    """Blank each row outside the coverage universe, clip and standardise it, in place.

    Clipped at the `fraction` percentiles, or at `limit` deviations where `fraction` is negative.
    """
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            if not (np.isfinite(caps[t, j]) and caps[t, j] > 0.0):
                x[t, j] = np.nan
    if fraction >= 0.0:
        winsorize_rows(x, mask, fraction)
    else:
        clip_deviations(x, mask, limit)
    standardize_rows(x, caps, mask, center, scale, by_cap)


@njit(cache=True, nogil=True)
def add_part(part: Array, share: float, total: Array, weight: Array) -> None:
    """Add share x part to the total, and the share to the weight, where the part has a value."""
    for t in range(part.shape[0]):
        for j in range(part.shape[1]):
            there = part[t, j] == part[t, j]
            total[t, j] += share * part[t, j] if there else 0.0
            weight[t, j] += share if there else 0.0


@njit(cache=True, nogil=True)
def mean_of_parts(total: Array, weight: Array) -> None:
    """Divide the total by the weight, in place; NaN without any."""
    for t in range(total.shape[0]):
        for j in range(total.shape[1]):
            total[t, j] = total[t, j] / weight[t, j] if weight[t, j] > 0.0 else np.nan


@njit(cache=True, nogil=True)
def exposure_rows(scores: Array, caps: Array, codes: NDArray[np.int16], shares: Array, out: Array) -> None:
    """Fill the exposures of one date, out [n_assets, 1 + n_sectors + n_styles], which comes as zeros.

    Market 1, the sector's 1 (of a code above them its row of shares [n_memberships, n_sectors]), scores
    [n_styles, n_assets] with 0 for a missing one; rows without a cap are NaN.
    """
    n_styles = len(scores)
    first = out.shape[1] - n_styles
    for j in range(len(caps)):
        if not (np.isfinite(caps[j]) and caps[j] > 0.0):
            out[j] = np.nan
            continue
        out[j, 0] = 1.0
        if codes[j] >= first - 1:
            out[j, 1:first] = shares[codes[j] - first + 1]
        elif codes[j] >= 0:
            out[j, 1 + codes[j]] = 1.0
        for k in range(n_styles):
            if scores[k, j] == scores[k, j]:
                out[j, first + k] = scores[k, j]


@njit(cache=True, nogil=True)
def top_rows(caps: Array, eligible: NDArray[np.bool_], top_n: int, out: NDArray[np.bool_]) -> None:
    """Mark, in each row, the `top_n` largest caps among the eligible; ties at the border go to the earlier asset."""
    buffer = np.empty(caps.shape[1])
    for t in range(caps.shape[0]):
        n = 0
        for j in range(caps.shape[1]):
            out[t, j] = eligible[t, j]
            if eligible[t, j]:
                buffer[n] = caps[t, j]
                n += 1
        if n <= top_n:
            continue
        border = select(buffer, n, n - top_n)
        room = top_n
        for j in range(caps.shape[1]):
            if eligible[t, j] and caps[t, j] > border:
                room -= 1
        for j in range(caps.shape[1]):
            if not eligible[t, j] or caps[t, j] > border:
                continue
            out[t, j] = caps[t, j] == border and room > 0
            if out[t, j]:
                room -= 1
