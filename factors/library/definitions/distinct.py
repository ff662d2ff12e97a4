"""Which factors are really different: rank correlations of every pair, and the clusters they form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

THRESHOLDS = (0.999, 0.99, 0.95)
MIN_NAMES = 100
MIN_DATES = 250
MIN_COVERAGE = 0.5
_EXACT_ABOVE = 0.98


@dataclass(frozen=True)
class Similarity:
    """Mean absolute daily cross-sectional rank correlation of every pair of factors.

    Attributes
    ----------
    ids : tuple of str
    correlation : float64 [n_factors, n_factors]
        Mean over the dates of ``|rho|``, Spearman over the names that both have; NaN where too few dates allow it.
    n_dates : int32 [n_factors, n_factors]
        Dates with enough common names on which neither is constant.
    """

    ids: tuple[str, ...]
    correlation: Array
    n_dates: NDArray[np.int32]

    def pairs(self, threshold: float) -> list[tuple[str, str, float]]:
        """Give the pairs above a threshold, the most alike first."""
        rows, columns = np.nonzero(np.triu(np.nan_to_num(self.correlation), 1) > threshold)
        found = [(self.ids[i], self.ids[j], float(self.correlation[i, j])) for i, j in zip(rows, columns, strict=True)]
        return sorted(found, key=lambda pair: -pair[2])

    def clusters(self, threshold: float) -> dict[str, list[tuple[str, float]]]:
        """Give the factors kept, in order, each with those that it stands for.

        A factor is kept unless an earlier kept one is above the threshold with it; then it joins the kept one that is
        most like it. The number of keys is the count of distinct factors at the threshold.
        """
        kept: list[int] = []
        members: dict[str, list[tuple[str, float]]] = {}
        for i, name in enumerate(self.ids):
            alike = [j for j in kept if self.correlation[i, j] > threshold]
            if alike:
                nearest = max(alike, key=lambda j: self.correlation[i, j])
                members[self.ids[nearest]].append((name, float(self.correlation[i, nearest])))
            else:
                kept.append(i)
                members[name] = []
        return members


def similarity(values: Mapping[str, Array], *, min_names: int = MIN_NAMES, min_dates: int = MIN_DATES) -> Similarity:
    """Compare every pair of factors by rank on every date.

    A first pass ranks each factor among its own names and correlates those ranks over the common names by matrix
    products, in float32, which holds ranks exactly and is twice as fast; pairs that come near a threshold are then
    ranked anew over their common names in float64, which is Spearman's rho.

    Parameters
    ----------
    values : mapping of id to float64 [n_dates, n_assets]
        The dates compared, in the order of the catalogue.
    min_names : int
        Names that both factors have on a date for it to count.
    min_dates : int
        Dates that a pair needs; below it the correlation is NaN.

    Returns
    -------
    Similarity
    """
    ids = tuple(values)
    panels = [values[name] for name in ids]
    n_factors = len(ids)
    total = np.zeros((n_factors, n_factors))
    dates = np.zeros((n_factors, n_factors), dtype=np.int32)
    for day in range(panels[0].shape[0] if panels else 0):
        rho = pearson_of_ranks(np.stack([panel[day] for panel in panels]), min_names, np.float32)
        defined = np.isfinite(rho)
        total += np.where(defined, np.abs(rho), 0.0)
        dates += defined
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(dates >= min_dates, total / dates, np.nan)
    rows, columns = np.nonzero(np.triu(np.nan_to_num(correlation), 1) > _EXACT_ABOVE)
    for i, j in zip(rows, columns, strict=True):
        correlation[i, j] = correlation[j, i] = rank_correlation(panels[i], panels[j], min_names)
    return Similarity(ids, correlation, dates)


def rank_correlation(x: Array, y: Array, min_names: int = MIN_NAMES) -> float:
    """Mean absolute Spearman correlation over the dates on which enough names have both.

    Parameters
    ----------
    x, y : float64 [n_dates, n_assets]

    Returns
    -------
    float
        NaN where no date allows it.
    """
    both = np.isfinite(x) & np.isfinite(y)
    rho = [_spearman(x[day, both[day]], y[day, both[day]]) for day in np.flatnonzero(both.sum(axis=1) >= min_names)]
    defined = [abs(value) for value in rho if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")


def average_ranks(values: Array) -> Array:
    """Ranks 1..n of a vector without NaN, ties averaged."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    group = np.cumsum(first) - 1
    bounds = np.append(np.flatnonzero(first), len(values))
    mean_rank = (bounds[:-1] + bounds[1:] + 1) / 2.0
    ranks = np.empty(len(values))
    ranks[order] = mean_rank[group]
    return ranks


def ranks_of_rows(values: Array) -> Array:
    """Ranks 1..n of each row over its finite values, ties averaged; NaN for the others.

    Parameters
    ----------
    values : float64 [n_rows, n]
    """
    known = np.where(np.isfinite(values), values, np.nan)
    order = np.argsort(known, axis=1)  # NaN comes last
    ordered = np.take_along_axis(known, order, axis=1)
    n = values.shape[1]
    place = np.arange(n)
    begins = np.ones(values.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    ends = np.ones(values.shape, dtype=bool)
    ends[:, :-1] = begins[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, n)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2.0 + 1.0, axis=1)
    return np.where(np.isfinite(values), ranks, np.nan)


def _spearman(x: Array, y: Array) -> float:
    dx, dy = average_ranks(x), average_ranks(y)
    dx -= dx.mean()
    dy -= dy.mean()
    scale = np.sqrt((dx @ dx) * (dy @ dy))
    return float(dx @ dy / scale) if scale > 0.0 else float("nan")


def pearson_of_ranks(rows: Array, min_names: int, dtype: type[np.floating[Any]] = np.float64) -> Array:
    """Correlate the ranks of all pairs of one date over their common names; NaN where too few or constant.

    Parameters
    ----------
    rows : float64 [n_factors, n_assets]
    min_names : int
    dtype : type
        Of the matrix products.
    """
    mask = np.isfinite(rows)
    # The mean of 1..n, ties averaged or not, is (n + 1) / 2.
    centred = ranks_of_rows(rows) - (mask.sum(axis=1, keepdims=True) + 1) / 2.0
    ranks = np.where(mask, centred, 0.0).astype(dtype)
    weight = mask.astype(dtype)
    n, sum_x, square_x, cross = (
        np.asarray(a @ b.T, np.float64)
        for a, b in ((weight, weight), (ranks, weight), (ranks * ranks, weight), (ranks, ranks))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = cross - sum_x * sum_x.T / n
        variance = square_x - sum_x * sum_x / n
        scale = variance * variance.T
        flat = variance <= np.maximum(1e-9 * n, 64 * np.finfo(dtype).eps * square_x)
        usable = (n >= min_names) & ~flat & ~flat.T
        return np.where(usable, np.clip(covariance / np.sqrt(np.where(usable, scale, 1.0)), -1.0, 1.0), np.nan)
