"""The factor covariance: estimated from a panel or one day at a time, with the same bits."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError
from factors.numeric import deadline
from factors.numeric.blas import one_blas_thread
from factors.risk.arrays import FloatArray, as_matrix, pad_last_axes
from factors.risk.carried import Carried
from factors.risk.eigenfactor import (
    BATCH_BYTES,
    Drawn,
    Products,
    adjust_spectrum,
    draw,
    ratios_together,
    simulate_variance_ratios,
)
from factors.risk.ewma import decay, ewma_update, window_update
from factors.risk.factor_experts import excess_kurtosis, experts_update, mixed_second_moments
from factors.risk.newey_west import lag_inflation, newey_west_covariance, newey_west_variances
from factors.risk.nonlinear import shrunk_correlations
from factors.risk.psd import from_spectrum, nearest_psd, symmetrize
from factors.risk.settings import FactorCovarianceSettings
from factors.risk.shrinkage import shrunk_covariance


class _Close(NamedTuple):
    """What the covariance of a close needs beside the ratios of its draws, which are made later."""

    day: int
    drawn: Drawn | FloatArray
    base: FloatArray
    spectrum: tuple[FloatArray, FloatArray]
    never: NDArray[np.bool_]
    multiplier: float


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
    def fit(self, factor_returns: FloatArray, products: Products | None = None) -> Self:
        """Start again from `[n_dates, K]` daily factor returns, NaN for missing; dates in order.

        `products` as in `path`.

        Raises
        ------
        FactorError
            For a wrong shape or infinite values.
        """
        self._state = {}
        return self.update(factor_returns, products=products)

    @one_blas_thread
    def update(self, factor_returns: FloatArray, followed_by: int = 0, products: Products | None = None) -> Self:
        """Add one day `[K]` or several `[n_dates, K]`; more columns than before are new factors.

        `followed_by` says how many days are added next before anybody asks: draws that will have left by then are not
        made. `products` as in `path`.

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
        waiting: list[_Close] = []
        for t in range(n_simulated, rows.shape[0]):
            deadline.check()
            self._accumulate(rows[t : t + 1], self._losses_by_day[t : t + 1])
            if products is None:
                self._simulate()
                continue
            waiting.append(self._close())
            if _bytes_of(waiting) > BATCH_BYTES:
                self._keep(waiting, products)
                waiting = []
        if products is not None and waiting:
            self._keep(waiting, products)
        self._covariance = None
        return self

    @one_blas_thread
    def path(self, factor_returns: FloatArray, products: Products | None = None) -> FloatArray:
        """Add days and return the covariance at the close of each, `[n_dates, K, K]`.

        Parameters
        ----------
        factor_returns
            `[n_dates, K]` as for `update`.
        products
            Makes the products of the eigenfactor draws, for many days at once; default: each day's are made here. See
            `factors.risk.eigenfactor.ratios_together` for what an error of it does.
        """
        rows = as_matrix("factor_returns", factor_returns)
        out = np.empty((rows.shape[0], rows.shape[1], rows.shape[1]))
        if products is None or not self.settings.eigenfactor_simulations:
            for t in range(rows.shape[0]):
                deadline.check()
                out[t] = self.update(rows[t]).covariance_
            return out
        self._grow(rows.shape[1])
        self._losses_by_day = np.empty((rows.shape[0], len(self.experts_)))
        waiting: list[_Close] = []
        begin = 0
        for t in range(rows.shape[0]):
            deadline.check()
            self._accumulate(rows[t : t + 1], self._losses_by_day[t : t + 1])
            waiting.append(self._close())
            if t + 1 == rows.shape[0] or _bytes_of(waiting) > BATCH_BYTES:
                self._keep(waiting, products, out[begin : t + 1])
                waiting, begin = [], t + 1
        self._covariance = None
        return out

    @property
    @one_blas_thread
    def covariance_(self) -> FloatArray:
        """`[K, K]` daily covariance, symmetric positive semidefinite."""
        if self._covariance is None:
            ratios = self._ratios()
            if ratios is None:
                base = self._base()
            else:
                base = self._adjusted(self._decomposed(), ratios, self._fitted()["counts"][1:] == 0.0)
            self._covariance = base * self._multiplier()
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
        ring, (eigenvalues, _) = self._state["ratios"], self._decomposed()
        ratios = simulate_variance_ratios(eigenvalues, self.effective_observations_, *self._share())
        ring[self.n_observations_ % ring.shape[0]] = ratios

    def _close(self) -> _Close:
        """Make today's share of the draws, whose products `_keep` makes."""
        base = self._base()
        self._spectrum = np.linalg.eigh(base)
        drawn = draw(self._spectrum[0], self.effective_observations_, *self._share())
        never = self._fitted()["counts"][1:] == 0.0
        return _Close(self.n_observations_, drawn, base, self._spectrum, never, self._multiplier())

    def _share(self) -> tuple[int, np.random.Generator]:
        """Return how many draws a day makes, and today's source of randomness."""
        settings = self.settings
        share = -(-settings.eigenfactor_simulations // settings.eigenfactor_spread_days)
        return share, np.random.default_rng([settings.eigenfactor_seed, self.n_observations_])

    def _keep(self, closes: list[_Close], products: Products, out: FloatArray | None = None) -> None:
        """Put the ratios of closes into the ring, one after the other; and the covariance at each into `out`."""
        made = iter(ratios_together([c.drawn for c in closes if isinstance(c.drawn, Drawn)], products))
        ring = self._state["ratios"]
        for i, close in enumerate(closes):
            ring[close.day % ring.shape[0]] = next(made) if isinstance(close.drawn, Drawn) else close.drawn
            if out is not None:
                ratios = self._ratios()
                base = close.base if ratios is None else self._adjusted(close.spectrum, ratios, close.never)
                out[i] = base * close.multiplier

    def _adjusted(
        self, spectrum: tuple[FloatArray, FloatArray], ratios: FloatArray, never: NDArray[np.bool_]
    ) -> FloatArray:
        """Return the base covariance with its eigenfactors adjusted; `never` are factors that were not observed."""
        eigenvalues, eigenvectors = spectrum
        base = from_spectrum(adjust_spectrum(eigenvalues, ratios, self.settings.eigenfactor_scale), eigenvectors)
        # The spectrum leaves rounding where nothing was ever observed.
        base[never, :] = base[:, never] = 0.0
        return base

    def _multiplier(self) -> float:
        """Return what variances are multiplied by; a mixture of experts holds their multipliers already."""
        multiplier = 1.0 if self._experts else self.regime_multiplier_
        return multiplier * multiplier

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


def _bytes_of(closes: list[_Close]) -> int:
    """Return what closes hold until their products are made."""
    return sum(2 * c.base.nbytes + (c.drawn.factors.nbytes if isinstance(c.drawn, Drawn) else 0) for c in closes)
