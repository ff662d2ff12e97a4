"""Long-only weights whose risk contributions are given shares, on the factored form of the asset covariance."""

import numpy as np
from numba import njit

from factors.errors import FactorError
from factors.risk.arrays import FloatArray, IntArray, as_matrix, as_vector
from factors.risk.linked import Linked

MOST_SWEEPS = 2000
TOLERANCE = 1e-10


@njit(cache=True, nogil=True)
def _descend(
    X: FloatArray,
    XF: FloatArray,
    variance: FloatArray,
    starts: IntArray,
    others: IntArray,
    shared: FloatArray,
    budgets: FloatArray,
    x: FloatArray,
) -> int:
    r"""Minimise x'Vx / 2 - sum b log x, one name after another; gives the sweeps it took, or -1.

    Each step solves its quadratic exactly; the factor exposures X'x are carried, so a sweep costs N K.
    """
    n_assets, n_factors = X.shape
    exposed = np.zeros(n_factors)
    own = np.empty(n_assets)
    for i in range(n_assets):
        own[i] = variance[i]
        for k in range(n_factors):
            exposed[k] += X[i, k] * x[i]
            own[i] += XF[i, k] * X[i, k]
    for sweep in range(MOST_SWEEPS):
        worst = 0.0
        for i in range(n_assets):
            gradient = variance[i] * x[i]
            for k in range(n_factors):
                gradient += XF[i, k] * exposed[k]
            for at in range(starts[i], starts[i + 1]):
                gradient += shared[at] * x[others[at]]
            rest = gradient - own[i] * x[i]
            value = (-rest + np.sqrt(rest * rest + 4.0 * own[i] * budgets[i])) / (2.0 * own[i])
            change = value - x[i]
            if abs(change) > worst * x[i]:
                worst = abs(change) / x[i]
            for k in range(n_factors):
                exposed[k] += X[i, k] * change
            x[i] = value
        if worst < TOLERANCE:
            return sweep + 1
    return -1


def risk_budget(
    X: FloatArray,
    F: FloatArray,
    specific_variance: FloatArray,
    budgets: FloatArray | None = None,
    linked: Linked | None = None,
) -> FloatArray:
    r"""Return the weights `[N]`, summing to 1, whose contributions to risk are the budgets.

    The minimum of :math:`x'Vx/2 - \sum_i b_i \ln x_i` has :math:`x_i (Vx)_i = b_i` (Spinu 2013, "An Algorithm for
    Computing Risk Parity Weights"); it is found by cyclical coordinate descent (Griveau-Billion, Richard and Roncalli
    2013). It exists and is unique for positive budgets.

    Parameters
    ----------
    X
        `[N, K]` exposures.
    F
        `[K, K]` factor covariance.
    specific_variance
        `[N]`, above 0.
    budgets
        `[N]` shares of risk, not negative, in any unit; equal by default. A name with no budget, or that the model does
        not cover, has weight 0.
    linked
        Assets of one issuer.

    Raises
    ------
    FactorError
        Budgets that are negative or all 0, a budget for a name that the model does not cover, or no convergence.
    """
    matrix = as_matrix("exposures", X)
    n_assets = matrix.shape[0]
    variance = as_vector("specific_variance", specific_variance, length=n_assets)
    covariance = as_matrix("factor_covariance", F, columns=matrix.shape[1], finite=True)
    covered = ~np.isnan(matrix).any(axis=1) & (variance > 0.0)
    shares = (
        covered.astype(np.float64) if budgets is None else as_vector("budgets", budgets, length=n_assets, finite=True)
    )
    if (shares < 0.0).any() or not shares.any():
        raise FactorError("budgets must not be negative, and one must be above 0", field="budgets")
    lost = (shares > 0.0) & ~covered
    if lost.any():
        raise FactorError(
            f"{int(lost.sum())} names with a budget have no exposures or specific risk, the first at "
            f"{np.flatnonzero(lost)[0]}",
            field="budgets",
            n_rows=int(lost.sum()),
        )
    columns = np.flatnonzero(shares > 0.0)
    held = np.ascontiguousarray(matrix[columns])
    own = variance[columns]
    starts, others, shared = _neighbours((linked or Linked()).among(columns), own)
    b = shares[columns] / shares[columns].sum()
    exposed = held @ covariance
    volatility = np.sqrt(np.einsum("nk,nk->n", exposed, held) + own)
    x = np.sqrt(b) / volatility
    if _descend(held, np.ascontiguousarray(exposed), own, starts, others, shared, b, x) < 0:
        raise FactorError("the risk budgets were not met within the limit of sweeps", field="budgets")
    weights = np.zeros(n_assets)
    weights[columns] = x / x.sum()
    return weights


def _neighbours(linked: Linked, variance: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Give, for each name, which others share its issuer and their specific covariance, row by row."""
    rows: list[list[tuple[int, float]]] = [[] for _ in variance]
    for group, correlation in zip(linked.groups, linked.correlations, strict=True):
        for a, i in enumerate(group):
            rows[i] += [
                (int(j), float(correlation[a, b] * np.sqrt(variance[i] * variance[j])))
                for b, j in enumerate(group)
                if a != b
            ]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    flat = [pair for row in rows for pair in row]
    return starts, np.array([j for j, _ in flat], np.int64), np.array([c for _, c in flat], np.float64)
