"""Test portfolios, formed on each date from what is known at its end."""

import numpy as np

from factors.risk.arrays import BoolArray, FloatArray, IntArray


def cap_weighted(caps: FloatArray, alive: BoolArray) -> FloatArray:
    """Return cap weights `[N]` of the assets alive."""
    held = np.where(alive & (caps > 0.0), caps, 0.0)
    total = held.sum()
    weights: FloatArray = held / total if total > 0.0 else held
    return weights


def sector_portfolios(caps: FloatArray, alive: BoolArray, codes: IntArray, n_sectors: int) -> FloatArray:
    """Return the cap-weighted portfolio of each sector, `[n_sectors, N]`; a sector without assets alive is empty."""
    weights = np.zeros((n_sectors, caps.size))
    for sector in range(n_sectors):
        weights[sector] = cap_weighted(caps, alive & (codes == sector))
    return weights


def random_priorities(n_portfolios: int, n_assets: int, seed: int) -> FloatArray:
    """Return `[n_portfolios, n_assets]` random numbers that fix the random portfolios for the whole run."""
    return np.random.default_rng(seed).random((n_portfolios, n_assets))


def random_portfolios(priorities: FloatArray, alive: BoolArray, n_held: int) -> FloatArray:
    """Return equal-weighted portfolios `[P, N]` of the `n_held` assets alive with the lowest priorities.

    A portfolio changes only when one of its assets is no longer alive.
    """
    n_held = min(n_held, int(alive.sum()))
    weights = np.zeros(priorities.shape)
    if n_held:
        ranked = np.argsort(np.where(alive, priorities, np.inf), axis=1, kind="stable")[:, :n_held]
        np.put_along_axis(weights, ranked, 1.0 / n_held, axis=1)
    return weights


def minimum_variance(X: FloatArray, F: FloatArray, variance: FloatArray, alive: BoolArray) -> FloatArray:
    """Return the fully invested portfolio of least predicted risk, `[N]`, short positions allowed.

    Solves `(A A' + D) w = 1` by Woodbury's identity with `F = L L'`, `A = X L`, so that a singular `F` does no harm and
    the asset covariance is never formed.
    """
    usable = alive & (variance > 0.0)
    weights = np.zeros(alive.size)
    if not usable.any():
        return weights
    eigenvalues, eigenvectors = np.linalg.eigh(F)
    A = X[usable] @ (eigenvectors * np.sqrt(np.maximum(eigenvalues, 0.0)))
    inverse = 1.0 / variance[usable]
    inner = np.eye(A.shape[1]) + A.T @ (A * inverse[:, None])
    solved = inverse - inverse * (A @ np.linalg.solve(inner, A.T @ inverse))
    weights[usable] = solved / solved.sum()
    return weights
