"""One cross-section of weighted least squares on market, sectors and styles, and a loop over dates.

Notation: y [n] returns, w [n] weights, X = [1, one-hot sectors, styles] [n, K] with K = 1 + S + L, A = X'WX, b = X'Wy.
Sectors are one-hot, so their part of A is accumulated by segment sums and X is never formed. A code of S or more is a
membership in several sectors, the row `code - S` of the table `shares` [P, S]: names of one membership are a segment
too, whose sums count in each of its sectors. The constraint sum_s c_s f_s = 0 removes one sector: f = R g.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factors.numeric.kernels import percentile, winsor_bounds

Array = NDArray[np.float64]

# A pivot of the scaled normal matrix below this says that its column follows from the ones before it.
SINGULAR = 1e-11
EMPTY, SOLVED, DEFICIENT = 0, 1, 2
HUBER_STEPS = 50


@njit(cache=True, nogil=True)
def dot(a: Array, b: Array) -> float:
    """Sum of products in eight running sums, so that the processor need not wait for one before the next."""
    n = len(a)
    whole = n - n % 8
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for i in range(0, whole, 8):
        s0 += a[i] * b[i]
        s1 += a[i + 1] * b[i + 1]
        s2 += a[i + 2] * b[i + 2]
        s3 += a[i + 3] * b[i + 3]
        s4 += a[i + 4] * b[i + 4]
        s5 += a[i + 5] * b[i + 5]
        s6 += a[i + 6] * b[i + 6]
        s7 += a[i + 7] * b[i + 7]
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for i in range(whole, n):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True)
def normal_equations(
    y: Array, w: Array, codes: NDArray[np.int16], x: Array, n_sectors: int, shares: Array, A: Array, b: Array
) -> None:
    """Accumulate A [K, K] and b [K] from y [n], w [n], codes [n] (-1: none), styles x [L, n] and shares [P, S]."""
    n_styles, n = x.shape
    first = 1 + n_sectors
    A[:] = 0.0
    ones = np.ones(n)
    A[0, 0] = dot(w, ones)
    b[:] = 0.0
    b[0] = dot(w, y)
    segment = np.zeros(n_sectors + len(shares) + 1)
    product = np.empty(n)
    for k in range(-2, n_styles):
        # Segment sums of w, w y and w x_k; the last segment collects assets without a sector.
        if k >= 0:
            for i in range(n):
                product[i] = w[i] * x[k, i]
            A[0, first + k] = dot(product, ones)
            b[first + k] = dot(product, y)
            for m in range(k, n_styles):
                A[first + k, first + m] = dot(product, x[m])
        elif k == -1:
            for i in range(n):
                product[i] = w[i] * y[i]
        else:
            product[:] = w
        if n_sectors == 0:
            continue
        segment[:] = 0.0
        for i in range(n):
            segment[codes[i]] += product[i]
        for s in range(n_sectors):
            if k == -2:
                A[1 + s, 1 + s] = segment[s]
                A[0, 1 + s] = segment[s]
            elif k == -1:
                b[1 + s] = segment[s]
            else:
                A[1 + s, first + k] = segment[s]
        for p in range(len(shares)):
            if segment[n_sectors + p] != 0.0:
                add_membership(k, segment[n_sectors + p], shares[p], first, A, b)
    for k in range(A.shape[0]):
        for m in range(k):
            A[k, m] = A[m, k]


@njit(cache=True, nogil=True)
def add_membership(k: int, total: float, share: Array, first: int, A: Array, b: Array) -> None:
    """Add the sum of a segment of one membership, share [S], to the upper half of A and to b; `k` as above."""
    for s in range(len(share)):
        if share[s] == 0.0:
            continue
        if k == -2:
            A[0, 1 + s] += share[s] * total
            for m in range(s, len(share)):
                A[1 + s, 1 + m] += share[s] * share[m] * total
        elif k == -1:
            b[1 + s] += share[s] * total
        else:
            A[1 + s, first + k] += share[s] * total


@njit(cache=True, nogil=True)
def reduce_constraint(A: Array, b: Array, c: Array, removed: int, G: Array, h: Array) -> None:
    """Put f_removed = -sum_s (c_s / c_removed) f_s into A f = b: G = R'AR and h = R'b, `removed` an index of f.

    c [K] is zero outside the sectors. The row of `removed` becomes the identity.
    """
    K = A.shape[0]
    cr = c[removed]
    for k in range(K):
        rk = -c[k] / cr
        h[k] = b[k] + rk * b[removed]
        for m in range(K):
            rm = -c[m] / cr
            G[k, m] = A[k, m] + rm * A[k, removed] + rk * A[removed, m] + rk * rm * A[removed, removed]
    G[removed, :] = 0.0
    G[:, removed] = 0.0
    G[removed, removed] = 1.0
    h[removed] = 0.0


@njit(cache=True, nogil=True)
def cholesky_inverse(G: Array, inverse: Array) -> bool:
    """Invert a symmetric positive definite G through a Cholesky factor of its unit-diagonal scaling; False if singular.

    A zero column (a factor without members) gets a zero row and column in the inverse: the minimum-norm answer for it.
    """
    K = G.shape[0]
    scale = np.empty(K)
    L = np.zeros((K, K))
    for k in range(K):
        scale[k] = 1.0 / np.sqrt(G[k, k]) if G[k, k] > 0.0 else 0.0
    for k in range(K):
        for m in range(k + 1):
            total = G[k, m] * scale[k] * scale[m]
            for i in range(m):
                total -= L[k, i] * L[m, i]
            if k != m:
                L[k, m] = total / L[m, m]
            elif scale[k] == 0.0:
                L[k, k] = 1.0
            elif total > SINGULAR:
                L[k, k] = np.sqrt(total)
            else:
                return False
    _invert_lower(L)
    for k in range(K):
        for m in range(k + 1):
            total = 0.0
            for i in range(k, K):
                total += L[i, k] * L[i, m]
            inverse[k, m] = total * scale[k] * scale[m]
            inverse[m, k] = inverse[k, m]
    return True


@njit(cache=True, nogil=True)
def _invert_lower(L: Array) -> None:
    K = L.shape[0]
    for k in range(K):
        L[k, k] = 1.0 / L[k, k]
        for m in range(k):
            total = 0.0
            for i in range(m, k):
                total += L[k, i] * L[i, m]
            L[k, m] = -total * L[k, k]


@njit(cache=True, nogil=True)
def solve(A: Array, b: Array, c: Array, f: Array, V: Array) -> bool:
    """Solve the constrained normal equations for f [K]; V [K, K] becomes R (R'AR)^-1 R'. False if rank deficient."""
    K = len(b)
    removed = -1
    for k in range(K):
        if c[k] > 0.0 and (removed < 0 or A[k, k] > A[removed, removed]):
            removed = k
    G = A.copy()
    h = b.copy()
    if removed >= 0:
        reduce_constraint(A, b, c, removed, G, h)
    inverse = np.empty((K, K))
    if not cholesky_inverse(G, inverse):
        return False
    if removed >= 0:
        inverse[removed, :] = 0.0
        inverse[:, removed] = 0.0
        for k in range(K):
            total = 0.0
            for m in range(K):
                if c[m] != 0.0 and m != removed:
                    total -= c[m] / c[removed] * inverse[m, k]
            V[removed, k] = total
            V[k, removed] = total
        corner = 0.0
        for m in range(K):
            if c[m] != 0.0 and m != removed:
                corner -= c[m] / c[removed] * V[removed, m]
        for k in range(K):
            if k == removed:
                continue
            for m in range(K):
                if m != removed:
                    V[k, m] = inverse[k, m]
        V[removed, removed] = corner
        inverse[removed, removed] = 0.0
    else:
        V[:] = inverse
    for k in range(K):
        total = 0.0
        for m in range(K):
            total += inverse[k, m] * h[m]
        f[k] = total
    if removed >= 0:
        total = 0.0
        for m in range(K):
            if m != removed:
                total -= c[m] / c[removed] * f[m]
        f[removed] = total
    return True


@njit(cache=True, nogil=True)
def subtract_fit(f: Array, codes: NDArray[np.int16], x: Array, n_sectors: int, shares: Array, e: Array) -> None:
    """Take f_market + f_sector + x . f_styles from e [n], in place; x is [L, n], NaN exposures count as 0."""
    n = len(e)
    for i in range(n):
        if codes[i] < n_sectors:
            e[i] -= f[0] + (f[1 + codes[i]] if codes[i] >= 0 else 0.0)
        else:
            part = f[0]
            for s in range(n_sectors):
                part += shares[codes[i] - n_sectors, s] * f[1 + s]
            e[i] -= part
    for k in range(x.shape[0]):
        fk = f[1 + n_sectors + k]
        if fk != 0.0:
            for i in range(n):
                e[i] -= fk * x[k, i] if x[k, i] == x[k, i] else 0.0


@njit(cache=True, nogil=True)
def constraint_of(
    kind: int, w: Array, caps: Array, codes: NDArray[np.int16], n_sectors: int, shares: Array, c: Array
) -> None:
    """Fill c [K]: 0 none, 1 one for each sector with members, 2 the sector's cap among the members."""
    c[:] = 0.0
    if kind == 0:
        return
    for i in range(len(w)):
        s = codes[i]
        if s >= n_sectors and w[i] > 0.0:
            for m in range(n_sectors):
                if shares[s - n_sectors, m] > 0.0:
                    c[1 + m] = 1.0 if kind == 1 else c[1 + m] + shares[s - n_sectors, m] * caps[i]
        elif s >= 0 and w[i] > 0.0:
            if kind == 1:
                c[1 + s] = 1.0
            else:
                c[1 + s] += caps[i]


@njit(cache=True, nogil=True)
def shrink_thin_sectors(
    w: Array, codes: NDArray[np.int16], n_sectors: int, shares: Array, least: float, A: Array
) -> None:
    """Add to each sector with fewer than `least` effective names as many dummy names with sector return 0.

    The effective number of names is (sum w)^2 / sum w^2; a dummy has the sector's average weight. A name of several
    sectors counts in each with its share of its weight.
    """
    if least <= 0.0:
        return
    total = np.zeros(n_sectors)
    square = np.zeros(n_sectors)
    for i in range(len(w)):
        if codes[i] >= n_sectors:
            for s in range(n_sectors):
                part = shares[codes[i] - n_sectors, s] * w[i]
                total[s] += part
                square[s] += part * part
        elif codes[i] >= 0:
            total[codes[i]] += w[i]
            square[codes[i]] += w[i] * w[i]
    for s in range(n_sectors):
        if square[s] > 0.0:
            names = total[s] * total[s] / square[s]
            if names < least:
                A[1 + s, 1 + s] += (least - names) * total[s] / names


@njit(cache=True, nogil=True)
def huber_weights(residual: Array, w: Array, k: float, out: Array) -> float:
    """Scale w by Huber's weights of the standardised residuals sqrt(w) e / s, s = median |.| / 0.6745; give s."""
    n = len(w)
    size = np.empty(n)
    for i in range(n):
        size[i] = np.sqrt(w[i]) * abs(residual[i])
    scale = percentile(size.copy(), n, 0.5) / 0.674489750196081743
    for i in range(n):
        out[i] = w[i] * (k * scale / size[i]) if size[i] > k * scale else w[i]
    return scale


@njit(cache=True, nogil=True)
def _solve_weighted(
    y: Array,
    w: Array,
    codes: NDArray[np.int16],
    x: Array,
    c: Array,
    n_sectors: int,
    shares: Array,
    thin: float,
    A: Array,
    f: Array,
    V: Array,
) -> bool:
    b = np.empty(len(f))
    normal_equations(y, w, codes, x, n_sectors, shares, A, b)
    shrink_thin_sectors(w, codes, n_sectors, shares, thin, A)
    return solve(A, b, c, f, V)


@njit(cache=True, nogil=True)
def cross_section(
    y: Array, w: Array, codes: NDArray[np.int16], x: Array, c: Array, n_sectors: int, shares: Array, thin: float,
    huber: float, A: Array, f: Array, V: Array, e: Array,
) -> bool:  # fmt: skip
    """Fit one cross-section; fills A, f [K], V [K, K] and residuals e [n]; `huber` > 0 is the tuning constant.

    w is replaced by the final weights. Gives False when the system is rank deficient (nothing is then filled).
    """
    base = w.copy()
    before = np.zeros(len(f))
    for step in range(HUBER_STEPS if huber > 0.0 else 1):
        if not _solve_weighted(y, w, codes, x, c, n_sectors, shares, thin, A, f, V):
            return False
        e[:] = y
        subtract_fit(f, codes, x, n_sectors, shares, e)
        if huber <= 0.0:
            break
        change = np.max(np.abs(f - before))
        if step > 0 and change <= 1e-10 * max(np.max(np.abs(f)), 1e-12):
            break
        before[:] = f
        if huber_weights(e, base, huber, w) == 0.0:
            break
    return True


@njit(cache=True, nogil=True)
def winsorized(y: Array, fraction: float) -> Array:
    """Give a copy of y [n] clipped to symmetric percentiles."""
    low, high = winsor_bounds(y.copy(), len(y), fraction)
    return np.minimum(np.maximum(y, low), high)
