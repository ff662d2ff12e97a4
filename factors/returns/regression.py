"""Cross-sectional factor returns: weighted least squares of returns on exposures, date by date."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError
from factors.factor_model.settings import RegressionSettings
from factors.numeric.threads import count_threads, spread
from factors.panel.memberships import NO_SHARES, sector_rows
from factors.panel.panel import Array
from factors.returns.dates import Fits, Observations, Rule, gather, regress_dates
from factors.returns.kernels import DEFICIENT, constraint_of, subtract_fit, winsorized

CONSTRAINTS = {"none": 0, "unweighted": 1, "cap_weighted": 2}


@dataclass(frozen=True)
class CrossSections:
    """The factor returns of a range of dates, K = 1 + n_sectors + n_styles.

    Attributes
    ----------
    factor_returns, standard_errors : float64 [n_dates, K]
        Standard errors are those of weighted least squares, NaN where a factor has no members that day.
    r2 : float64 [n_dates]
        1 - sum w e^2 / sum w r^2 (USE4 Methodology Notes).
    n_obs : int64 [n_dates]
        Names in the regression.
    status : int8 [n_dates]
        0 no names (factor returns 0), 1 solved, 2 rank deficient (minimum-norm answer).
    vif : float64 [n_dates, n_styles]
        Weighted variance inflation factor of each style given everything else; with two stages, of the second stage:
        given the other styles, about zero.
    residuals : float64 [n_dates, n_assets]
        Returns, not winsorised, less their factor part: returns = X f + residuals holds exactly. NaN without a return.
    """

    factor_returns: Array
    standard_errors: Array
    r2: Array
    n_obs: NDArray[np.int64]
    status: NDArray[np.int8]
    vif: Array
    residuals: Array


class CrossSectionalRegression:
    """Market, sector and style returns from one cross-section a day.

    Parameters
    ----------
    settings : RegressionSettings
        One regression (Barra) or two stages (toraniko); the sector constraint; Huber; thin sectors.
    threads : int, optional
        Dates are shared among them; the answer does not depend on it.

    Notes
    -----
    f minimises ``sum_i w_i (r_i - f_market - f_sector(i) - x_i . f_styles)^2`` subject to ``sum_s c_s f_s = 0``, c_s
    the cap of the sector (USE4) or 1 (toraniko), over sectors that have members. A factor without members returns 0.
    """

    def __init__(self, settings: RegressionSettings | None = None, *, threads: int | None = 1) -> None:
        self.settings = settings or RegressionSettings()
        self.threads = count_threads(threads)

    def fit(
        self,
        returns: Array,
        weights: Array,
        caps: Array,
        codes: NDArray[np.int16],
        styles: Array,
        mask: NDArray[np.bool_],
        n_sectors: int,
        *,
        shares: Array = NO_SHARES,
        residuals_where: NDArray[np.bool_] | None = None,
    ) -> CrossSections:
        """Estimate factor returns.

        Parameters
        ----------
        returns, weights, caps : float64 [n_dates, n_assets]
            Weights and caps known before the returns.
        codes : int16 [n_dates, n_assets]
            Sector of each asset, -1 for none; from `n_sectors` on a row of `shares`.
        styles : float64 [n_dates, n_styles, n_assets]
            NaN counts as 0, the market's average.
        mask : bool [n_dates, n_assets]
            The estimation universe.
        shares : float64 [n_memberships, n_sectors]
            Exposures to sectors of names that are in several.
        residuals_where : bool [n_dates, n_assets], optional
            Where residuals are given (the coverage universe); elsewhere NaN.

        Raises
        ------
        FactorError
            Shapes that do not agree, or a sector code that is none of the `n_sectors`.
        """
        shape = returns.shape
        if weights.shape != shape or caps.shape != shape or codes.shape != shape or mask.shape != shape:
            raise FactorError(
                f"weights, caps, codes and mask must have the shape of the returns {shape}", field="weights"
            )
        if styles.ndim != 3 or (styles.shape[0], styles.shape[2]) != shape:
            raise FactorError(f"styles are [n_dates, n_styles, n_assets] with the returns' {shape}", field="styles")
        # The kernels index by the code without asking.
        most = n_sectors + len(shares)
        if codes.size and (codes.max() >= most or codes.min() < -1):
            raise FactorError(f"sector codes must be -1 to {most - 1}", field="codes")
        days = Observations(returns, weights, caps, codes, styles, mask, n_sectors, shares)
        rule, fits = self._rule(), Fits.empty(days)
        spread(lambda begin, end: regress_dates(days, rule, begin, end, fits), shape[0], self.threads, 8)
        out = CrossSections(*fits)
        for t in np.flatnonzero(out.status == DEFICIENT):
            self._minimum_norm(int(t), days, out)
        if residuals_where is not None:
            out.residuals[~residuals_where] = np.nan
        return out

    def _rule(self) -> Rule:
        s = self.settings
        return Rule(
            winsor=-1.0 if s.winsor_factor is None else s.winsor_factor,
            constraint=CONSTRAINTS[s.sector_constraint],
            stages=2 if s.design == "two_stage" else 1,
            residualize=s.residualize_styles,
            thin=s.thin_sector_names,
            huber=s.huber or 0.0,
        )

    def mimicking_weights(
        self,
        weights: Array,
        caps: Array,
        codes: NDArray[np.int16],
        styles: Array,
        mask: NDArray[np.bool_],
        n_sectors: int,
        shares: Array = NO_SHARES,
    ) -> Array:
        """Give the portfolios whose returns are the factor returns, for one date.

        Parameters are those of `fit` without the date axis. Without winsorising, Huber and two stages,
        ``P @ returns`` equals the factor returns.

        Returns
        -------
        float64 [K, n_assets]
            P = R (R'X'WXR)^+ R'X'W; the columns of assets outside the universe are 0.
        """
        at = np.flatnonzero(mask & np.isfinite(weights) & (weights > 0.0))
        P = np.zeros((1 + n_sectors + len(styles), len(mask)))
        if len(at):
            X, Z = self._design(weights[at], caps[at], codes[at], styles[:, at], n_sectors, shares)
            root = np.sqrt(weights[at])
            penalty = self._penalty_rows(weights[at], X, n_sectors)
            system = np.vstack([root[:, None] * X, penalty]) @ Z
            P[:, at] = Z @ np.linalg.pinv(system)[:, : len(at)] * root
        return P

    def condition_number(
        self,
        weights: Array,
        caps: Array,
        codes: NDArray[np.int16],
        styles: Array,
        mask: NDArray[np.bool_],
        n_sectors: int,
        shares: Array = NO_SHARES,
    ) -> float:
        """Give the condition number of sqrt(W) X R with columns of unit length, for one date; NaN without names."""
        at = np.flatnonzero(mask & np.isfinite(weights) & (weights > 0.0))
        if not len(at):
            return float("nan")
        X, Z = self._design(weights[at], caps[at], codes[at], styles[:, at], n_sectors, shares)
        system = np.sqrt(weights[at])[:, None] * X @ Z
        return float(np.linalg.cond(system / np.sqrt((system**2).sum(axis=0))))

    def _design(
        self, weights: Array, caps: Array, codes: NDArray[np.int16], styles: Array, n_sectors: int, shares: Array
    ) -> tuple[Array, Array]:
        """X [n, K] and an orthonormal basis Z [K, q] of what the constraint and empty factors leave free."""
        n, K = len(weights), 1 + n_sectors + len(styles)
        X = np.zeros((n, K))
        X[:, 0] = 1.0
        X[:, 1 : 1 + n_sectors] = sector_rows(codes, n_sectors, shares)
        X[:, 1 + n_sectors :] = np.nan_to_num(styles.T)
        c = np.zeros(K)
        constraint_of(CONSTRAINTS[self.settings.sector_constraint], weights, caps, codes, n_sectors, shares, c)
        Z = np.eye(K)[:, X.any(axis=0)]
        row = c @ Z
        if row.any():
            _, _, Vt = np.linalg.svd(row[None, :])
            Z = Z @ Vt[1:].T
        return X, Z

    def _penalty_rows(self, weights: Array, X: Array, n_sectors: int) -> Array:
        least, K = self.settings.thin_sector_names, X.shape[1]
        rows = []
        for s in range(n_sectors if least > 0.0 else 0):
            w = (weights * X[:, 1 + s])[X[:, 1 + s] > 0.0]
            names = w.sum() ** 2 / (w**2).sum() if len(w) else least
            if names < least:
                row = np.zeros(K)
                row[1 + s] = np.sqrt((least - names) * w.sum() / names)
                rows.append(row)
        return np.array(rows).reshape(-1, K)

    def _minimum_norm(self, t: int, days: Observations, out: CrossSections) -> None:
        """Fill date t with the factor returns of least norm among those that fit best and keep the constraint."""
        returns, weights, caps, codes, mask = (
            array[t] for array in (days.returns, days.weights, days.caps, days.codes, days.mask)
        )
        styles, n_sectors, shares = days.styles[t], days.n_sectors, days.shares
        at = np.empty(len(returns), dtype=np.int64)
        at = at[: gather(returns, weights, mask, at)]
        y = returns[at]
        s = self.settings
        if s.winsor_factor is not None:
            y = winsorized(y, s.winsor_factor)
        w = weights[at]
        root = np.sqrt(w)
        X, Z = self._design(w, caps[at], codes[at], styles[:, at], n_sectors, shares)
        penalty = self._penalty_rows(w, X, n_sectors)
        system = np.vstack([root[:, None] * X, penalty])
        target = np.concatenate([root * y, np.zeros(len(penalty))])
        if s.design == "two_stage":
            m = 1 + n_sectors
            first = Z[:, ~Z[m:].any(axis=0)]
            f = first @ np.linalg.lstsq(system @ first, target, rcond=None)[0]
            rest = target - (system @ f if s.residualize_styles else 0.0)
            f[m:] = np.linalg.lstsq(system[:, m:], rest, rcond=None)[0]
        else:
            f = Z @ np.linalg.lstsq(system @ Z, target, rcond=None)[0]
        out.factor_returns[t] = f
        e = y - X @ f
        spare = len(y) - Z.shape[1]
        if spare > 0:
            spread_of = np.diag(Z @ np.linalg.pinv((system @ Z).T @ (system @ Z)) @ Z.T)
            members = X.any(axis=0)
            out.standard_errors[t, members] = np.sqrt(float(w @ e**2) / spare * np.maximum(spread_of, 0.0))[members]
        total = float(w @ y**2)
        out.r2[t] = 1.0 - float(w @ e**2) / total if total > 0.0 else np.nan
        # As on every other date: a matrix product would round by the number of assets.
        out.residuals[t] = returns
        subtract_fit(f, codes, styles, n_sectors, shares, out.residuals[t])
