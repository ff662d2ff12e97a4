r"""Specific risk of assets of one issuer: share classes have one issuer, and their specific returns move together.

The specific covariance is :math:`\Delta_{ij} = \rho_{ij} \sqrt{v_i v_j}` for assets of one issuer, 0 otherwise. It is
held as one small matrix an issuer, so it stays sparse, and a portfolio's risk stays factored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from factors.panel.meaning import MOST_OF_AN_ISSUER
from factors.risk.arrays import FloatArray, IntArray
from factors.risk.psd import nearest_psd

PRIOR = 0.9
"""What two share classes are taken to correlate before there are data: claims on the same cash flows."""
PRIOR_DAYS = 5.0
"""How many days of data the prior weighs."""
HALF_LIFE = 126.0
LINK_DAYS = 630
"""Days of specific returns that are read: five half-lives, beyond which a day weighs a thirtieth."""


@dataclass(frozen=True, slots=True)
class Linked:
    """Groups of assets whose specific returns are correlated.

    Attributes
    ----------
    groups
        Positions of each group's assets, `[n_g]` each.
    correlations
        `[n_g, n_g]` each, positive semidefinite with ones on the diagonal.
    """

    groups: tuple[IntArray, ...] = ()
    correlations: tuple[FloatArray, ...] = ()

    def times(self, weights: FloatArray, variance: FloatArray) -> FloatArray:
        r"""Return :math:`\Delta w` for weights `[P, N]` and specific variances `[N]`, `[P, N]`."""
        out = weights * variance
        root = np.sqrt(variance)
        for group, correlation in zip(self.groups, self.correlations, strict=True):
            scale = root[group]
            out[:, group] = ((weights[:, group] * scale) @ correlation) * scale
        return out

    def among(self, columns: IntArray) -> "Linked":
        """Return the same for a selection of assets, in the positions of that selection."""
        if not self.groups or not len(columns):
            return Linked()
        order = np.argsort(columns, kind="stable").astype(np.int64)
        ordered = np.asarray(columns)[order]
        groups, correlations = [], []
        for group, correlation in zip(self.groups, self.correlations, strict=True):
            at = np.searchsorted(ordered, group, side="right") - 1
            kept = np.flatnonzero((at >= 0) & (ordered[at] == group))
            if len(kept) > 1:
                groups.append(order[at[kept]])
                correlations.append(correlation[np.ix_(kept, kept)])
        return Linked(tuple(groups), tuple(correlations))


def issuer_groups(codes: IntArray) -> tuple[IntArray, ...]:
    """Return the positions of assets that share an issuer: 2 to `MOST_OF_AN_ISSUER`, no more can be classes.

    Parameters
    ----------
    codes
        `[N]` issuer of each asset, below 0 for none.
    """
    order = np.argsort(codes, kind="stable")
    found = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return tuple(np.sort(g).astype(np.int64) for g in found if 1 < len(g) <= MOST_OF_AN_ISSUER and codes[g[0]] >= 0)


def link(groups: Sequence[IntArray], residuals: FloatArray, half_life: float = HALF_LIFE) -> Linked:
    r"""Estimate the correlations of specific returns within groups.

    Exponentially weighted over the days on which both assets have a specific return, and shrunk towards `PRIOR` with
    the weight of `PRIOR_DAYS` days: :math:`\rho = (n \hat\rho + m \rho_0) / (n + m)` with the effective number of days
    `n`. The result is moved to the nearest matrix without negative eigenvalues.

    Parameters
    ----------
    groups
        See `issuer_groups`.
    residuals
        `[T, N]` specific returns, the newest last; NaN where there is none.
    half_life
        In days.
    """
    age = np.arange(len(residuals) - 1, -1, -1.0)
    day_weights = 0.5 ** (age / half_life)
    correlations = []
    for group in groups:
        rows = residuals[:, group]
        present = ~np.isnan(rows)
        rows = np.where(present, rows, 0.0)
        weighted = day_weights[:, None] * present
        products = (day_weights[:, None] * rows).T @ rows
        # Each pair's variances over the days that both have.
        squares = (day_weights[:, None] * rows**2).T @ present
        scale = np.sqrt(squares * squares.T)
        sample = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0.0)
        weight = weighted.T @ present.astype(np.float64)
        weight_squares = (weighted * day_weights[:, None]).T @ present.astype(np.float64)
        days = np.divide(weight**2, weight_squares, out=np.zeros_like(weight), where=weight_squares > 0.0)
        days[scale <= 0.0] = 0.0
        shrunk = (days * sample + PRIOR_DAYS * PRIOR) / (days + PRIOR_DAYS)
        np.fill_diagonal(shrunk, 1.0)
        correlations.append(nearest_psd(shrunk))
    return Linked(tuple(np.asarray(g, dtype=np.int64) for g in groups), tuple(correlations))
