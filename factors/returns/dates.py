"""The cross-sectional regression over a range of dates, on wide arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factors.panel.memberships import NO_SHARES
from factors.returns.kernels import (
    DEFICIENT,
    EMPTY,
    SOLVED,
    cholesky_inverse,
    constraint_of,
    cross_section,
    dot,
    subtract_fit,
    winsorized,
)

Array = NDArray[np.float64]
Codes = NDArray[np.int16]
Mask = NDArray[np.bool_]


@njit(cache=True, nogil=True)
def gather(y: Array, w: Array, mask: Mask, at: NDArray[np.int64]) -> int:
    """List in `at` the assets that enter: inside the mask, with a return and a positive weight."""
    n = 0
    for j in range(len(y)):
        if mask[j] and np.isfinite(y[j]) and np.isfinite(w[j]) and w[j] > 0.0:
            at[n] = j
            n += 1
    return n


class Observations(NamedTuple):
    """What is regressed on what, date by date.

    Attributes
    ----------
    returns, weights, caps : float64 [n_dates, n_assets]
        The weights are those of the regression.
    codes : int16 [n_dates, n_assets]
        Sector of each asset, -1 for none; from `n_sectors` on a row of `shares`.
    styles : float64 [n_dates, n_styles, n_assets]
        NaN counts as 0.
    mask : bool [n_dates, n_assets]
        The estimation universe.
    n_sectors : int
    shares : float64 [n_memberships, n_sectors]
        Of names in several sectors; see `factors.panel.memberships`.
    """

    returns: Array
    weights: Array
    caps: Array
    codes: Codes
    styles: Array
    mask: Mask
    n_sectors: int
    shares: Array = NO_SHARES


class Rule(NamedTuple):
    """How a date is regressed: the settings as numbers, which compiled code takes.

    Attributes
    ----------
    winsor : float
        Fraction clipped at each end of the returns, negative for none.
    constraint : int
        0 none, 1 unweighted, 2 by cap.
    stages : int
        1 one regression, 2 toraniko's market and sectors first, then styles.
    residualize : bool
        With two stages, whether styles explain the residual of the first stage.
    thin, huber : float
        Least effective names of a sector, Huber's constant; 0 for off.
    """

    winsor: float = -1.0
    constraint: int = 1
    stages: int = 1
    residualize: bool = False
    thin: float = 0.0
    huber: float = 0.0


class Fits(NamedTuple):
    """What a regression of dates fills in, K = 1 + n_sectors + n_styles.

    Attributes
    ----------
    factor_returns, standard_errors : float64 [n_dates, K]
    r2 : float64 [n_dates]
    n_obs : int64 [n_dates]
    status : int8 [n_dates]
        EMPTY, SOLVED or DEFICIENT.
    vif : float64 [n_dates, n_styles]
    residuals : float64 [n_dates, n_assets]
        Of the returns as they are.
    """

    factor_returns: Array
    standard_errors: Array
    r2: Array
    n_obs: NDArray[np.int64]
    status: NDArray[np.int8]
    vif: Array
    residuals: Array

    @classmethod
    def empty(cls, days: Observations) -> Fits:
        """Make room for the fits of some dates."""
        (n_dates, n_assets), n_styles = days.returns.shape, days.styles.shape[1]
        K = 1 + days.n_sectors + n_styles
        return cls(
            np.zeros((n_dates, K)),
            np.full((n_dates, K), np.nan),
            np.full(n_dates, np.nan),
            np.zeros(n_dates, dtype=np.int64),
            np.zeros(n_dates, dtype=np.int8),
            np.full((n_dates, n_styles), np.nan),
            np.full((n_dates, n_assets), np.nan),
        )


def regress_dates(days: Observations, rule: Rule, begin: int, end: int, out: Fits) -> None:
    """Fit dates begin..end-1."""
    _fit(*days, *rule, *out, begin, end)  # type: ignore[arg-type]  # mypy joins the types of three unpacked tuples


# Flat, in the order of the fields above: numba's cache on disk would name the classes, and fail to read when one moved.
@njit(cache=True, nogil=True)
def _fit(
    y: Array, w: Array, caps: Array, codes: Codes, styles: Array, mask: Mask, n_sectors: int, shares: Array,
    winsor: float, constraint: int, stages: int, residualize: bool, thin: float, huber: float,
    f: Array, se: Array, r2: Array, n_obs: NDArray[np.int64], status: NDArray[np.int8], vif: Array, residuals: Array,
    begin: int, end: int,
) -> None:  # fmt: skip
    n_assets = y.shape[1]
    n_styles = styles.shape[1]
    K = 1 + n_sectors + n_styles
    at = np.empty(n_assets, dtype=np.int64)
    c = np.zeros(K)
    A = np.empty((K, K))
    V = np.empty((K, K))
    for t in range(begin, end):
        n = gather(y[t], w[t], mask[t], at)
        n_obs[t] = n
        f[t] = 0.0
        se[t] = np.nan
        vif[t] = np.nan
        r2[t] = np.nan
        if n == 0:
            status[t] = EMPTY
            continue
        ys = np.empty(n)
        ws = np.empty(n)
        cs = np.empty(n)
        codes_s = np.empty(n, dtype=np.int16)
        xs = np.empty((n_styles, n))
        for i in range(n):
            ys[i] = y[t, at[i]]
            ws[i] = w[t, at[i]]
            cs[i] = caps[t, at[i]]
            codes_s[i] = codes[t, at[i]]
        for k in range(n_styles):
            for i in range(n):
                value = styles[t, k, at[i]]
                xs[k, i] = value if value == value else 0.0
        if winsor >= 0.0:
            ys = winsorized(ys, winsor)
        constraint_of(constraint, ws, cs, codes_s, n_sectors, shares, c)
        e = np.empty(n)
        if stages == 1:
            solved = cross_section(ys, ws, codes_s, xs, c, n_sectors, shares, thin, huber, A, f[t], V, e)
        else:
            solved = _two_stages(ys, ws, codes_s, xs, c, n_sectors, shares, thin, huber, residualize, A, f[t], V, e)
        if not solved:
            f[t] = 0.0
            status[t] = DEFICIENT
            continue
        status[t] = SOLVED
        _statistics(ys, ws, e, A, V, n_sectors, constraint > 0, t, se, r2, vif)
        residuals[t] = y[t]
        subtract_fit(f[t], codes[t], styles[t], n_sectors, shares, residuals[t])


@njit(cache=True, nogil=True)
def _two_stages(
    y: Array, w: Array, codes: Codes, x: Array, c: Array, n_sectors: int, shares: Array, thin: float, huber: float,
    residualize: bool, A: Array, f: Array, V: Array, e: Array,
) -> bool:  # fmt: skip
    """Toraniko's order: market and sectors, then styles on the residual, or on the returns themselves."""
    n_styles, n = x.shape
    m = 1 + n_sectors
    A[:] = 0.0
    V[:] = 0.0
    first = w.copy()
    A1 = np.empty((m, m))
    V1 = np.empty((m, m))
    if not cross_section(y, first, codes, np.empty((0, n)), c[:m], n_sectors, shares, thin, huber, A1, f[:m], V1, e):
        return False
    A[:m, :m] = A1
    V[:m, :m] = V1
    if n_styles == 0:
        w[:] = first
        return True
    # The styles have no intercept of their own: the first column, the market, is left out of the second stage.
    target = e.copy() if residualize else y.copy()
    A2 = np.zeros((n_styles, n_styles))
    b2 = np.zeros(n_styles)
    for k in range(n_styles):
        wx = w * x[k]
        b2[k] = dot(wx, target)
        for q in range(k, n_styles):
            A2[k, q] = dot(wx, x[q])
            A2[q, k] = A2[k, q]
    V2 = np.empty((n_styles, n_styles))
    if not _plain_solve(A2, b2, f[m:], V2):
        return False
    A[m:, m:] = A2
    V[m:, m:] = V2
    for k in range(n_styles):
        e -= f[m + k] * x[k]
    return True


@njit(cache=True, nogil=True)
def _plain_solve(A: Array, b: Array, f: Array, V: Array) -> bool:
    from_inverse = cholesky_inverse(A, V)
    if not from_inverse:
        return False
    for k in range(len(b)):
        total = 0.0
        for m in range(len(b)):
            total += V[k, m] * b[m]
        f[k] = total
    return True


@njit(cache=True, nogil=True)
def _statistics(
    y: Array, w: Array, e: Array, A: Array, V: Array, n_sectors: int, constrained: bool, t: int,
    se: Array, r2: Array, vif: Array,
) -> None:  # fmt: skip
    """Standard errors sqrt(s2 diag V) with s2 = sum w e^2 / (n - p); R2 = 1 - sum w e^2 / sum w y^2 (USE4); VIF."""
    n = len(y)
    K = A.shape[0]
    error = dot(w * e, e)
    total = dot(w * y, y)
    r2[t] = 1.0 - error / total if total > 0.0 else np.nan
    p = 1
    any_sector = False
    for k in range(1, K):
        if A[k, k] > 0.0:
            p += 1
            any_sector = any_sector or k <= n_sectors
    # The constraint takes one sector's freedom.
    if any_sector and constrained:
        p -= 1
    for k in range(K):
        if n > p and A[k, k] > 0.0:
            se[t, k] = np.sqrt(max(error / (n - p) * V[k, k], 0.0))
    m = 1 + n_sectors
    for k in range(m, K):
        mean = A[0, k] / A[0, 0]
        spread = A[k, k] - mean * A[0, k]
        if spread > 0.0:
            vif[t, k - m] = spread * V[k, k]
