"""The factor covariance: estimated from a panel or one day at a time, with the same bits."""

from typing import Self

import numpy as np

from factors.errors import FactorError
from factors.numeric import deadline
from factors.numeric.blas import one_blas_thread
from factors.risk.arrays import FloatArray, as_matrix, pad_last_axes
from factors.risk.carried import Carried
from factors.risk.eigenfactor import adjust_spectrum, simulate_variance_ratios
from factors.risk.ewma import decay, ewma_update, window_update
from factors.risk.factor_experts import excess_kurtosis, experts_update, mixed_second_moments
from factors.risk.newey_west import lag_inflation, newey_west_covariance, newey_west_variances
from factors.risk.nonlinear import shrunk_correlations
from factors.risk.psd import from_spectrum, nearest_psd, symmetrize
from factors.risk.settings import FactorCovarianceSettings
from factors.risk.shrinkage import shrunk_covariance


class FactorCovariance(Carried):
    r"""Covariance of daily factor returns.

    For `ewma`, :math:`F = \lambda_F^2 \, E(D C D)`: volatilities `D` and correlations `C` (which may be shrunk) are
    Newey-West sums of exponentially weighted (auto)covariances with half-lives of their own, `E` is the eigenfactor
    adjustment and :math:`\lambda_F` the volatility regime multiplier. With a `volatility_half_life` of "adaptive",
    :math:`\lambda_F^2 D C D` is the mean over experts (`experts_`: half-lives, with and without the multiplier) at
    `expert_weights_`. Returns are not demeaned: over these half-lives the mean of a daily return is noise. `sample`,
    `ledoit_wolf` and `oas` estimate the last `window` days instead of `D C D`.

    `fit` is `update` in a loop, so the two agree bit for bit, and a day costs the same after any history. The Monte
    Carlo of the eigenfactor adjustment is spread over the days: each adds `simulations / spread_days` draws at that
    day's spectrum, and the adjustment averages those of the last `spread_days` days.

    Parameters
    ----------
    settings : FactorCovarianceSettings, optional
        Defaults are the USE4S values.

    Notes
    -----
    USE4 Methodology Notes (2011), sections 3 and 4. A factor that was never observed has variance 0 and
    `observed_` False.
    """

    def __init__(self, settings: FactorCovarianceSettings | None = None) -> None:
        self.settings = settings or FactorCovarianceSettings()
        super().__init__(self.settings)
        self._forget_answers()

    def _forget_answers(self) -> None:
        self._covariance: FloatArray | None = None
        self._spectrum: tuple[FloatArray, FloatArray] | None = None

    @one_blas_thread
    def fit(self, factor_returns: FloatArray) -> Self:
        """Start again from `[n_dates, K]` daily factor returns, NaN for missing; dates in order.

        Raises
        ------
        FactorError
            For a wrong shape or infinite values.
        """
        self._state = {}
        return self.update(factor_returns)

    @one_blas_thread
    def update(self, factor_returns: FloatArray, followed_by: int = 0) -> Self:
        """Add one day `[K]` or several `[n_dates, K]`; more columns than before are new factors.

        `followed_by` says how many days are added next before anybody asks: draws that will have left by then are not
        made.

        Raises
        ------
        FactorError
            For fewer factors than before or infinite values.
        """
        rows = as_matrix("factor_returns", factor_returns)
        self._grow(rows.shape[1])
        settings = self.settings
        n_simulated = rows.shape[0]
        if settings.eigenfactor_simulations:
            # Draws of earlier days would have left the ring by the last day.
            n_drawn = max(settings.eigenfactor_spread_days - followed_by, 0)
            n_simulated = max(rows.shape[0] - n_drawn, 0)
        self._losses_by_day = np.empty((rows.shape[0], len(self.experts_)))
        self._accumulate(rows[:n_simulated], self._losses_by_day[:n_simulated])
        for t in range(n_simulated, rows.shape[0]):
            deadline.check()
            self._accumulate(rows[t : t + 1], self._losses_by_day[t : t + 1])
            self._simulate()
        self._covariance = None
        return self

    @property
    @one_blas_thread
    def covariance_(self) -> FloatArray:
        """`[K, K]` daily covariance, symmetric positive semidefinite."""
        if self._covariance is None:
            ratios = self._ratios()
            if ratios is None:
                base = self._base()
            else:
                eigenvalues, eigenvectors = self._decomposed()
                adjusted = adjust_spectrum(eigenvalues, ratios, self.settings.eigenfactor_scale)
                base = from_spectrum(adjusted, eigenvectors)
                # The spectrum leaves rounding where nothing was ever observed.
                never = self._fitted()["counts"][1:] == 0.0
                base[never, :] = base[:, never] = 0.0
            # The mixture of experts holds their multipliers already.
            multiplier = 1.0 if self._experts else self.regime_multiplier_
            self._covariance = base * (multiplier * multiplier)
            self._covariance.setflags(write=False)
        return self._covariance

    @property
    def n_observations_(self) -> int:
        """Days seen."""
        return int(self._fitted()["counts"][0])

    @property
    def effective_observations_(self) -> float:
        """Days of equal weight that carry as much information on correlations as the weighted ones.

        With adaptive half-lives, days of normal returns without lags: lags and fat tails take from what a day tells.
        """
        if self.settings.method != "ewma":
            return float(min(self.n_observations_, self.settings.window))
        total, squares = self._fitted()["squared_weights"]
        days = float(total * total / squares) if squares > 0.0 else 0.0
        if self._experts:
            days /= lag_inflation(self.settings.correlation_lags) * (1.0 + excess_kurtosis(self._fitted()))
        return days

    @property
    def observed_(self) -> FloatArray:
        """`[K]` days on which each factor was observed."""
        return self._fitted()["counts"][1:].copy()

    def _new_state(self) -> dict[str, FloatArray]:
        settings = self.settings
        state = {"counts": np.zeros(1), "regime": np.zeros(3)}
        if settings.method == "ewma":
            slots = max(settings.volatility_lags, settings.correlation_lags) + 1
            n_half_lives, n_experts = len(self._experts.half_lives), len(self.experts_)
            half_lives = (n_half_lives,) if n_experts else ()
            state["volatility_sums"] = np.zeros((*half_lives, settings.volatility_lags + 1, 0))
            state["volatility_weights"] = np.zeros((*half_lives, 0))
            if n_experts:
                slots = max(slots, settings.horizon_days)
                state["regime"] = np.zeros((n_half_lives, 3))
                state["losses"] = np.zeros(n_experts)
                state["fourth_sums"] = np.zeros(0)
                state["pending"] = np.full((settings.horizon_days, n_experts, 0), np.nan)
            state["correlation_sums"] = np.zeros((settings.correlation_lags + 1, 0, 0))
            state["correlation_weights"] = np.zeros((0, 0))
            state["squared_weights"] = np.zeros(2)
        else:
            slots = settings.window
        state["recent"] = np.full((slots, 0), np.nan)
        if settings.eigenfactor_simulations:
            state["ratios"] = np.full((settings.eigenfactor_spread_days, 0), np.nan)
        return state

    def _grow(self, n_factors: int) -> None:
        if not self._state:
            self._state = self._new_state()
        state = self._state
        known = state["counts"].size - 1
        if n_factors < known:
            raise FactorError(
                f"factor_returns must have at least the {known} factors seen before, got {n_factors}",
                field="factor_returns",
            )
        if n_factors == known:
            return
        state["counts"] = pad_last_axes(state["counts"], n_factors + 1, 0.0)
        state["recent"] = pad_last_axes(state["recent"], n_factors, np.nan)
        if "ratios" in state:
            # The spectrum of another number of factors says nothing about this one.
            state["ratios"] = np.full((state["ratios"].shape[0], n_factors), np.nan)
        if self.settings.method == "ewma":
            state["volatility_sums"] = pad_last_axes(state["volatility_sums"], n_factors, 0.0)
            state["volatility_weights"] = pad_last_axes(state["volatility_weights"], n_factors, 0.0)
            if "pending" in state:
                state["fourth_sums"] = pad_last_axes(state["fourth_sums"], n_factors, 0.0)
                state["pending"] = pad_last_axes(state["pending"], n_factors, np.nan)
            state["correlation_sums"] = pad_last_axes(state["correlation_sums"], n_factors, 0.0, n_axes=2)
            state["correlation_weights"] = pad_last_axes(state["correlation_weights"], n_factors, 0.0, n_axes=2)

    def _accumulate(self, rows: FloatArray, losses_by_day: FloatArray) -> None:
        self._spectrum = None
        settings, state = self.settings, self._state
        regime_decay = decay(settings.regime_half_life) if settings.regime_half_life > 0.0 else 0.0
        minimum = float(max(settings.regime_min_observations, 1))
        if settings.method != "ewma":
            window_update(rows, state["counts"], state["recent"], state["regime"], regime_decay, minimum)
            return
        if self._experts:
            experts_update(
                rows,
                state["counts"],
                state["recent"],
                state["volatility_sums"],
                state["volatility_weights"],
                state["correlation_sums"],
                state["correlation_weights"],
                state["squared_weights"],
                state["fourth_sums"],
                state["regime"],
                state["pending"],
                state["losses"],
                self._experts.decays,
                np.array([decay(settings.correlation_half_life), regime_decay, self._experts.loss_decay]),
                self._experts.bounds,
                settings.market_asymmetry,
                losses_by_day,
            )
            return
        decays = np.array(
            [decay(float(settings.volatility_half_life)), decay(settings.correlation_half_life), regime_decay]
        )
        ewma_update(
            rows,
            state["counts"],
            state["recent"],
            state["volatility_sums"],
            state["volatility_weights"],
            state["correlation_sums"],
            state["correlation_weights"],
            state["squared_weights"],
            state["regime"],
            decays,
            minimum,
            settings.market_asymmetry,
        )

    def _base(self) -> FloatArray:
        """Return the covariance before the eigenfactor and regime adjustments."""
        state = self._fitted()
        if self.settings.method != "ewma":
            return shrunk_covariance(self._window(), self.settings.method)
        covariance = newey_west_covariance(state["correlation_sums"], state["correlation_weights"])
        scale = np.diag(covariance)
        if self._experts:
            inverse = np.sqrt(np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0))
            moments = mixed_second_moments(state, self._expert_scales())
            base = symmetrize(covariance * inverse[:, None] * inverse[None, :] * moments)
        else:
            variances = newey_west_variances(state["volatility_sums"], state["volatility_weights"])
            ratio = np.sqrt(np.divide(variances, scale, out=np.zeros_like(scale), where=scale > 0.0))
            base = symmetrize(covariance * ratio[:, None] * ratio[None, :])
        # Days missing for some factors only make the pairwise estimate indefinite.
        missing = np.any(state["counts"][1:] != state["counts"][0])
        base = nearest_psd(base) if missing else base
        if self.settings.correlation_shrinkage == "none":
            return base
        return shrunk_correlations(base, self.effective_observations_ * self.settings.correlation_observations)

    def _window(self) -> FloatArray:
        recent, n_days = self._fitted()["recent"], self.n_observations_
        if n_days < recent.shape[0]:
            return recent[:n_days]
        return np.roll(recent, -(n_days % recent.shape[0]), axis=0)

    def _simulate(self) -> None:
        """Make today's share of the eigenfactor draws."""
        settings, ring = self.settings, self._state["ratios"]
        day = self.n_observations_
        share = -(-settings.eigenfactor_simulations // settings.eigenfactor_spread_days)
        rng = np.random.default_rng([settings.eigenfactor_seed, day])
        eigenvalues, _ = self._decomposed()
        ring[day % ring.shape[0]] = simulate_variance_ratios(eigenvalues, self.effective_observations_, share, rng)

    def _decomposed(self) -> tuple[FloatArray, FloatArray]:
        """Return eigenvalues and eigenvectors of the base covariance, decomposed once a day."""
        if self._spectrum is None:
            self._spectrum = np.linalg.eigh(self._base())
        return self._spectrum

    def _ratios(self) -> FloatArray | None:
        """Return the mean of the draws in the ring, `[K]`; None where there are none."""
        ring = self._fitted().get("ratios")
        if ring is None:
            return None
        drawn = ~np.isnan(ring).any(axis=1)
        if not drawn.any():
            return None
        mean: FloatArray = ring[drawn].mean(axis=0)
        return mean
