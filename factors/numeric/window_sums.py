"""Sums over long windows, weighted by age, at a cost for each day that does not depend on the window.

Rows fall into blocks of BLOCK_DAYS calendar days, wherever the data begin. A window is the end of its oldest block (a
suffix, summed backwards once per block), the whole blocks between, each summed once, and the beginning of the current
block (a running sum). Nothing is ever subtracted, so nothing drifts and a missing value leaves with its row. What is
kept between days only saves work: a window's value depends on its own rows and dates, so that a day computed alone, a
batch and any other start give the same bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factors.numeric.kernels import TILE
from factors.numeric.threads import spread

Array = NDArray[np.float64]
Days = NDArray[np.int64]

BLOCK_DAYS = 32
SLOTS = 16
"""Blocks whose sums are kept; a year of trading days lies in 13. More (a year of weekly rows) are summed again."""
MEAN, FIT = 0, 1
N_SUMS = (2, 10)
# Where `keys` holds the block of the running sum, of the suffixes, of the middle's neighbours, and of each kept sum.
RUN, HEAD, MID_HEAD, MID_RUN, SLOT = 0, 1, 2, 3, 4
NONE = np.iinfo(np.int64).min


class WindowSums:
    """Sums over the last `len(powers)` rows, with what is kept of them from day to day.

    Parameters
    ----------
    kind : MEAN or FIT
        MEAN: value and count, giving the mean. FIT: the moments of a regression on a market and the spread.
    powers : float64 [n_sums, n + 1]
        Weight of each sum by age in rows, the k-th power of its decay; n is more than BLOCK_DAYS.
    least : int
        Values that a window must hold.
    n_answers : int
        Arrays of answers.
    """

    def __init__(self, kind: int, powers: Array, least: int, n_answers: int) -> None:
        self._kind, self._powers, self._least, self._n_answers = kind, powers, least, n_answers
        self.reset()

    def reset(self) -> None:
        """Forget what was kept: the rows of the next call do not follow those of the last."""
        self._keys = np.full(SLOT + SLOTS, NONE, dtype=np.int64)
        self._kept = np.empty((2 + SLOTS + BLOCK_DAYS, N_SUMS[self._kind], 0))

    def compute(
        self, x: Array, market: Array, days: Days, n_new: int, threads: int, least_columns: int, *, keep: bool = True
    ) -> Array:
        """Give the answers for the last rows, float64 [n_answers, n_new, n_assets].

        Parameters
        ----------
        x : float64 [n_rows, n_assets]
            At least the rows of the windows, or all there are.
        market : float64 [n_rows]
            Read by FIT.
        days : int64 [n_rows]
            Days since the epoch.
        keep : bool
            Whether the rows are taken: else the next call goes on from where this one did.
        """
        n_assets = x.shape[1]
        if self._kept.shape[2] != n_assets:
            self.reset()
            self._kept = np.empty((*self._kept.shape[:2], n_assets))
        out = np.empty((self._n_answers, n_new, n_assets))
        keys = self._keys.copy()
        run, of = self._kept[0].copy() if not keep else self._kept[0], self._keys[RUN]

        def work(a: int, b: int) -> None:
            window_sums(
                self._kind, x, market, days, self._powers, self._least, len(x) - n_new, a, b,
                self._keys, keys, self._kept, out,
            )  # fmt: skip

        spread(work, n_assets, threads, least_columns)
        self._keys = keys
        if not keep:
            # What is kept of whole blocks is named by its blocks; the running sum is without the rows again.
            self._kept[0], self._keys[RUN] = run, of
        return out


@njit(cache=True, nogil=True)
def _add(kind: int, row: Array, m: float, fade: Array, weight: Array, to: Array) -> None:
    """Make to[s] = fade[s] to[s] + weight[s] c[s], c the row's share of each sum; to [n_sums, width]."""
    width = len(row)
    for s in range(to.shape[0]):
        g, f, z = fade[s], weight[s], to[s]
        if kind == FIT:
            if m != m:
                f = 0.0
            elif s == 2 or s == 3:
                f *= m
            elif s == 4:
                f *= m * m
        # The count, the value or its square.
        count = s in (0, 2, 4, 8, 9) if kind == FIT else s == 1
        square = kind == FIT and (s in (5, 7))
        for j in range(width):
            there = row[j] == row[j]
            r = row[j] if there else 0.0
            if count:
                r = 1.0 if there else 0.0
            elif square:
                r *= r
            z[j] = g * z[j] + f * r


@njit(cache=True, nogil=True)
def _last_of_block(days: Days, r: int) -> int:
    block = days[r] // BLOCK_DAYS
    while r + 1 < len(days) and days[r + 1] // BLOCK_DAYS == block:
        r += 1
    return r


@njit(cache=True, nogil=True)
def window_sums(
    kind: int, x: Array, market: Array, days: Days, powers: Array, least: int, first: int, a: int, b: int,
    keys: Days, keys_after: Days, kept: Array, out: Array,
) -> None:  # fmt: skip
    """Answers of rows first.. in columns a..b-1; see `WindowSums`.

    kept [2 + SLOTS + BLOCK_DAYS, n_sums, n_assets]: running sum, middle, sums of blocks, suffixes by day.
    """
    n = powers.shape[1] - 1
    n_sums = powers.shape[0]
    ones = np.ones(n_sums)
    total = np.empty((n_sums, TILE))
    key = np.empty(len(keys), dtype=np.int64)
    for start in range(a, b, TILE):
        stop = min(start + TILE, b)
        key[:] = keys
        run = kept[0, :, start:stop]
        for t in range(first, x.shape[0]):
            block = days[t] // BLOCK_DAYS
            begin = t
            while begin > 0 and days[begin - 1] // BLOCK_DAYS == block:
                begin -= 1
            if key[RUN] != block:
                if key[RUN] != NONE:
                    slot = key[RUN] % SLOTS
                    kept[2 + slot, :, start:stop] = run
                    key[SLOT + slot] = key[RUN]
                run[:] = 0.0
                for r in range(begin, t):
                    _add(kind, x[r, start:stop], market[r], powers[:, 1], ones, run)
                key[RUN] = block
            _add(kind, x[t, start:stop], market[t], powers[:, 1], ones, run)
            old = max(t - n + 1, 0)
            if old >= begin:
                for s in range(n_sums):
                    total[s, : stop - start] = run[s]
            else:
                _whole(kind, x, market, days, powers, old, begin, t, start, stop, key, kept, total)
            _finish(kind, total, least, t - first, start, stop, out)
        keys_after[:] = key


@njit(cache=True, nogil=True)
def _whole(
    kind: int, x: Array, market: Array, days: Days, powers: Array, old: int, begin: int, t: int, start: int, stop: int,
    key: Days, kept: Array, total: Array,
) -> None:  # fmt: skip
    """Put suffix, middle and running sum together for a window that begins before the current block."""
    n_sums = powers.shape[0]
    ones = np.ones(n_sums)
    head = days[old] // BLOCK_DAYS
    end = _last_of_block(days, old)
    first_head = 2 + SLOTS
    if key[HEAD] != head:
        for r in range(end, old - 1, -1):
            here = kept[first_head + days[r] % BLOCK_DAYS, :, start:stop]
            if r == end:
                here[:] = 0.0
            else:
                here[:] = kept[first_head + days[r + 1] % BLOCK_DAYS, :, start:stop]
            _add(kind, x[r, start:stop], market[r], ones, powers[:, end - r], here)
        key[HEAD] = head
    mid = kept[1, :, start:stop]
    if key[MID_HEAD] != head or key[MID_RUN] != key[RUN]:
        mid[:] = 0.0
        r = end + 1
        while r < begin:
            block = days[r] // BLOCK_DAYS
            last = _last_of_block(days, r)
            slot = block % SLOTS
            one = kept[2 + slot, :, start:stop]
            if key[SLOT + slot] != block:
                one[:] = 0.0
                for q in range(r, last + 1):
                    _add(kind, x[q, start:stop], market[q], powers[:, 1], ones, one)
                key[SLOT + slot] = block
            for s in range(n_sums):
                p = powers[s, begin - 1 - last]
                for j in range(stop - start):
                    mid[s, j] += p * one[s, j]
            r = last + 1
        key[MID_HEAD], key[MID_RUN] = head, key[RUN]
    suffix = kept[first_head + days[old] % BLOCK_DAYS, :, start:stop]
    for s in range(n_sums):
        p, q = powers[s, t - begin + 1], powers[s, begin - 1 - end]
        for j in range(stop - start):
            total[s, j] = kept[0, s, start + j] + p * (mid[s, j] + q * suffix[s, j])


@njit(cache=True, nogil=True)
def _finish(kind: int, total: Array, least: int, row: int, start: int, stop: int, out: Array) -> None:
    for j in range(stop - start):
        if kind == MEAN:
            enough = total[1, j] >= max(least, 1)
            out[0, row, start + j] = total[0, j] / total[1, j] if enough else np.nan
        else:
            _finish_fit(total[:, j], least, row, start + j, out)


@njit(cache=True, nogil=True)
def _finish_fit(s: Array, least: int, row: int, column: int, out: Array) -> None:
    """Slope, weighted deviation of the residuals, and weighted deviation with the other weights.

    s: with the weights of the fit, sums of 1, r, m, m r, m^2, r^2; with those of the spread, of r, r^2, 1; the count.
    """
    out[:, row, column] = np.nan
    if s[9] < max(least, 3):
        return
    mean_r, mean_m = s[1] / s[0], s[2] / s[0]
    vm = s[4] - mean_m * s[2]
    cov = s[3] - mean_m * s[1]
    vr = max(s[5] - mean_r * s[1], 0.0)
    if s[8] > 0.0:
        out[2, row, column] = np.sqrt(max(s[7] - s[6] * s[6] / s[8], 0.0) / s[8])
    if vm <= 0.0:
        return
    slope = cov / vm
    out[0, row, column] = slope
    out[1, row, column] = np.sqrt(max(vr - slope * cov, 0.0) / s[0])
