"""Momentum, size and value of a panel on their own, in toraniko's conventions, as arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from factors.errors import MissingColumnError
from factors.factor_model.settings import MomentumSettings, SizeSettings, StyleSettings, ValueSettings
from factors.numeric.kernels import standardize_rows, winsorize_rows
from factors.panel.panel import Array, Panel
from factors.style.descriptors import Inputs, log_positive, momentum


def momentum_scores(panel: Panel, settings: MomentumSettings | None = None, *, n_last: int | None = None) -> Array:
    """Score momentum on the last `n_last` dates (all by default).

    A window of `trailing_days` dates that end `lag` dates back; `least_observations` of it must be there (1.0 is
    toraniko's rule). Clipped per date at `winsor_factor`, then standardised with equal weights.

    Returns
    -------
    float64 [n_last, n_assets]
    """
    s = settings or MomentumSettings()
    returns = _field(panel, "returns")
    n_new = panel.n_dates if n_last is None else min(n_last, panel.n_dates)
    windows = {"returns": returns}
    if s.formula == "log_sum":
        windows["log_return"] = np.log1p(np.where(returns > -1.0, returns, np.nan))
    scores = momentum(Inputs(windows, np.empty(0), n_new, StyleSettings(mom=s)))
    if s.winsor_factor is not None:
        winsorize_rows(scores, np.ones(scores.shape, dtype=np.bool_), s.winsor_factor)
    return _standardized(scores, s.center, s.standardize)


def size_scores(panel: Panel, settings: SizeSettings | None = None, *, n_last: int | None = None) -> Array:
    """Score size, small minus big, on the last `n_last` dates: minus log cap, standardised; cut between the deciles.

    Returns
    -------
    float64 [n_last, n_assets]
    """
    s = settings or SizeSettings()
    scores = _standardized(-log_positive(_tail(_field(panel, "market_cap"), n_last)), s.center, s.standardize)
    if s.lower_decile is not None and s.upper_decile is not None:
        cut_between(scores, s.lower_decile, s.upper_decile)
    return scores


def value_scores(panel: Panel, settings: ValueSettings | None = None, *, n_last: int | None = None) -> Array:
    """Score value on the last `n_last` dates: the mean of standardised log book, log sales and cash flow to price.

    A ratio that is missing is left out of the asset's mean.

    Returns
    -------
    float64 [n_last, n_assets]
    """
    s = settings or ValueSettings()
    shape = _tail(_field(panel, s.bp_col), n_last).shape
    total, known = np.zeros(shape), np.zeros(shape)
    for number, name in enumerate((s.bp_col, s.sp_col, s.cf_col)):
        raw = _tail(_field(panel, name), n_last).copy()
        if s.winsor_factor is not None:
            winsorize_rows(raw, np.ones(raw.shape, dtype=np.bool_), s.winsor_factor)
        raw = _standardized(raw if number == 2 else log_positive(raw), True, True)
        total += np.nan_to_num(raw)
        known += ~np.isnan(raw)
    mean = np.divide(total, known, out=np.full(shape, np.nan), where=known > 0.0)
    return _standardized(mean, s.center, s.standardize)


def cut_between(scores: Array, lower: float, upper: float, mask: NDArray[np.bool_] | None = None) -> None:
    """Set scores strictly between two (nearest) quantiles of their date to 0, in place, as toraniko does."""
    for t, row in enumerate(scores):
        inside = np.sort(row[~np.isnan(row) if mask is None else ~np.isnan(row) & mask[t]])
        if len(inside):
            low, high = (inside[int(np.floor(q * (len(inside) - 1) + 0.5))] for q in (lower, upper))
            row[(row > low) & (row < high)] = 0.0


def _field(panel: Panel, name: str) -> Array:
    if name not in panel.fields:
        raise MissingColumnError(f"the panel has no field {name!r}", field=name)
    return np.ascontiguousarray(panel.fields[name], dtype=np.float64)


def _tail(values: Array, n_last: int | None) -> Array:
    return values if n_last is None else values[max(len(values) - n_last, 0) :]


def _standardized(scores: Array, center: bool, scale: bool) -> Array:
    everything = np.ones(scores.shape, dtype=np.bool_)
    standardize_rows(scores, scores, everything, center, scale, False)
    return scores
