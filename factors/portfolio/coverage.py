"""What becomes of holdings that the model does not cover: refused, left out by name, or stood in for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from factors.errors import FactorError, NonFiniteError
from factors.panel.memberships import NO_SHARES, sector_rows
from factors.risk.arrays import BoolArray, FloatArray, IntArray

Policy = Literal["refuse", "warn", "proxy"]
StandIn = Callable[[IntArray], tuple[FloatArray, FloatArray]]
"""From positions to exposures `[n, K]` and specific variances `[n]` that stand in for theirs."""
SIZE_SLOPE_ASSETS = 30
"""Covered assets below which specific risk is not regressed on size: their median stands for it."""


@dataclass(frozen=True, slots=True)
class Stand:
    """What uncovered assets are stood in for with; `N` assets, `S` styles.

    Attributes
    ----------
    scores
        `[S, N]` style scores, NaN where missing.
    known
        `[N]` covered assets.
    sectors
        `[N]` sector codes, -1 for none; from `n_sectors` on a row of `shares`.
    n_sectors
        Number of sectors.
    caps
        `[N]` the last known capitalisation of each asset, NaN where there never was one.
    variance
        `[N]` specific variances.
    shares
        `[n_memberships, n_sectors]` of assets in several sectors.
    """

    scores: FloatArray
    known: BoolArray
    sectors: IntArray
    n_sectors: int
    caps: FloatArray
    variance: FloatArray
    shares: FloatArray = field(default_factory=lambda: NO_SHARES)

    def __call__(self, columns: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return what stands in for the exposures and specific variances of assets."""
        return self.exposures(columns), self.specific_variance(columns)

    def exposures(self, columns: IntArray) -> FloatArray:
        """Return exposures `[n_columns, 1 + n_sectors + S]`: the market, the own sectors, their mean styles.

        Means are weighted over the covered assets of a sector by capitalisation, times the share of each in the sector;
        those of an asset in several are weighted by its shares. Of an asset without a sector they are over all covered
        assets. A sector without covered assets has the mean 0, the market's.
        """
        members = sector_rows(self.sectors.astype(np.int16), self.n_sectors, self.shares)
        caps = np.where(self.known, np.nan_to_num(self.caps), 0.0)
        scores = np.nan_to_num(self.scores)
        out = np.zeros((len(columns), 1 + self.n_sectors + len(self.scores)))
        out[:, 0] = 1.0
        for row, own in zip(out, members[columns], strict=True):
            row[1 : 1 + self.n_sectors] = own
            held = np.flatnonzero(own)
            pools = [(own[s], caps * members[:, s]) for s in held] if len(held) else [(1.0, caps)]
            for share, weights in pools:
                total = weights.sum()
                if total > 0.0:
                    row[1 + self.n_sectors :] += share * (scores @ (weights / total))
        return out

    def specific_variance(self, columns: IntArray) -> FloatArray:
        """Return the variances `[n_columns]` that the size of assets implies.

        The log variances of covered assets are regressed on their log capitalisation. An asset whose capitalisation was
        never known takes the median.
        """
        used = self.known & (self.variance > 0.0) & (self.caps > 0.0)
        if not used.any():
            raise FactorError("no covered asset has specific risk that could stand for others", field="uncovered")
        logs = np.log(self.variance[used])
        out = np.full(len(columns), float(np.exp(np.median(logs))))
        if np.count_nonzero(used) < SIZE_SLOPE_ASSETS:
            return out
        size = np.log(self.caps[used])
        centred = size - size.mean()
        slope = float(centred @ logs) / float(centred @ centred) if np.ptp(size) > 0.0 else 0.0
        caps = self.caps[columns]
        sized = caps > 0.0
        fitted = logs.mean() + slope * (np.log(np.where(sized, caps, 1.0)) - size.mean())
        return np.where(sized, np.exp(np.clip(fitted, logs.min(), logs.max())), out)


@dataclass(frozen=True, slots=True)
class Covered:
    """A book with what is not covered dealt with, fit for `portfolio_risk`.

    Attributes
    ----------
    weights
        `[P, N]`; under `warn` those of uncovered assets are 0.
    exposures, specific_variance
        `[N, K]` and `[N]`; under `proxy` with the rows of uncovered assets filled.
    uncovered
        Positions of held assets that the model does not cover, ascending.
    share
        `[P]` the share of gross weight that they are.
    """

    weights: FloatArray
    exposures: FloatArray
    specific_variance: FloatArray
    uncovered: IntArray
    share: FloatArray


def cover(
    weights: FloatArray,
    X: FloatArray,
    specific_variance: FloatArray,
    policy: Policy = "warn",
    *,
    stand: StandIn | None = None,
    symbols: Sequence[str] | None = None,
    field: str = "portfolio_weights",
) -> Covered:
    """Deal with held assets that have no exposures or no specific risk.

    Parameters
    ----------
    weights
        `[P, N]`, finite.
    X
        `[N, K]`, NaN rows for assets outside coverage.
    specific_variance
        `[N]`, NaN where unknown.
    policy
        `refuse` raises; `warn` leaves them out (their weight then bears no risk: the caller has to say so); `proxy`
        stands in for them with `stand`.
    stand
        What `proxy` takes, such as a `Stand`.
    symbols
        Names of the assets, for the error.
    field
        What the weights are called in an error.

    Raises
    ------
    NonFiniteError
        Under `refuse`; and under `warn` where a portfolio holds nothing else, as its risk would be 0.
    FactorError
        `proxy` without a stand.
    """
    unknown: BoolArray = np.isnan(X).any(axis=1) | np.isnan(specific_variance)
    held = unknown & (weights != 0.0).any(axis=0)
    columns = np.flatnonzero(held)
    size = np.abs(weights)
    gross = size.sum(axis=1)
    lost = size[:, columns].sum(axis=1)
    share = np.divide(lost, gross, out=np.zeros_like(gross), where=gross > 0.0)
    if not columns.size:
        return Covered(weights, X, specific_variance, columns, share)
    nothing_else = bool(((share >= 1.0) & (gross > 0.0)).any())
    if policy == "refuse" or (policy == "warn" and nothing_else):
        named = [symbols[int(i)] if symbols is not None else str(i) for i in columns]
        said = (
            "holds nothing that the model covers" if policy == "warn" else "holds assets that the model does not cover"
        )
        raise NonFiniteError(
            f"{field} {said} on the date: {', '.join(named[:10])}{' ...' if len(named) > 10 else ''}",
            field=field,
            n_rows=len(named),
        )
    if policy == "warn":
        kept = weights.copy()
        kept[:, columns] = 0.0
        return Covered(kept, X, specific_variance, columns, share)
    if stand is None:
        raise FactorError("proxies need scores, sectors and capitalisations", field="uncovered")
    X, specific_variance = X.copy(), specific_variance.copy()
    X[columns], specific_variance[columns] = stand(columns)
    return Covered(weights, X, specific_variance, columns, share)
