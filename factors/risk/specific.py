"""Specific risk: estimated from a panel or one day at a time, with the same bits."""

from typing import Self

import numpy as np

from factors.errors import FactorError
from factors.numeric.blas import one_blas_thread
from factors.risk.arrays import BoolArray, FloatArray, IntArray, as_matrix, pad_last_axes
from factors.risk.bayes import bayes_shrunk, group_means, size_groups
from factors.risk.carried import Carried
from factors.risk.events import event_multipliers
from factors.risk.ewma import decay
from factors.risk.newey_west import bartlett_weights
from factors.risk.settings import SpecificRiskSettings
from factors.risk.specific_experts import experts_update
from factors.risk.specific_sums import specific_update, window_mean_squares
from factors.risk.structural import structural_volatility

NOT_BY_ASSET = {"days", "regime", "forecast_scales", "losses", "event_learnt"}
NEW_ASSET = {"recent": np.nan, "last_cap": np.nan, "event_age": np.inf}


class SpecificRisk(Carried):
    """Variance of each asset's specific return.

    In order: exponentially weighted variance; Newey-West ratio; blend with the structural model (or the mean of the
    size group) for short histories; Bayesian shrinkage by size group; volatility regime multiplier. Specific returns
    are taken to have mean zero. With a `half_life` of "adaptive" the first step is instead the mean over experts
    (`experts_`: half-lives, with and without the multiplier) at `expert_weights_`, the regime's step is part of it, and
    a name after an event has its variance times what followed events before (`factors.risk.events`).

    `fit` is `update` in a loop, so the two agree bit for bit, and a day costs the same after any history.

    Parameters
    ----------
    settings : SpecificRiskSettings, optional
        Defaults are the USE4S values.

    Notes
    -----
    USE4 Methodology Notes (2011), section 5. Every asset gets a variance as soon as any asset has one: with no history
    of its own it is the structural forecast or the mean of its size group, and `history_` says so with a 0.
    """

    def __init__(self, settings: SpecificRiskSettings | None = None) -> None:
        self.settings = settings or SpecificRiskSettings()
        super().__init__(self.settings)
        self._forget_answers()

    def _forget_answers(self) -> None:
        self._variance: FloatArray | None = None

    @one_blas_thread
    def fit(
        self, residuals: FloatArray, market_cap: FloatArray | None = None, exposures: FloatArray | None = None
    ) -> Self:
        """Start again from a panel of specific returns.

        Parameters
        ----------
        residuals
            `[n_dates, n_assets]` daily specific returns, NaN for missing; dates in order.
        market_cap
            `[n_dates, n_assets]`, or `[n_assets]` for all dates; without it assets weigh alike and form one group.
        exposures
            `[n_assets, K]` of the last date, for the structural model.

        Raises
        ------
        FactorError
            For a wrong shape or infinite values.
        """
        self._state = {}
        return self.update(residuals, market_cap, exposures)

    @one_blas_thread
    def update(
        self, residuals: FloatArray, market_cap: FloatArray | None = None, exposures: FloatArray | None = None
    ) -> Self:
        """Add one day `[n_assets]` or several `[n_dates, n_assets]`; more assets than before are new ones.

        The regime statistic of a day is weighted by the capitalisations given with the day before. `exposures`, where
        given, replace those held.
        """
        rows = as_matrix("residuals", residuals)
        n_dates, n_assets = rows.shape
        caps = self._caps(market_cap, n_dates, n_assets)
        held = None if exposures is None else as_matrix("exposures", exposures)
        if held is not None and held.shape[0] != n_assets:
            raise FactorError(f"exposures must have {n_assets} rows, got {held.shape[0]}", field="exposures")
        self._grow(n_assets)
        if held is not None:
            self._state["exposures"] = held
        self._losses_by_day = np.empty((n_dates, len(self.experts_)))
        self._accumulate(rows, caps)
        self._variance = None
        return self

    @property
    @one_blas_thread
    def specific_variance_(self) -> FloatArray:
        """`[n_assets]` daily specific variances; NaN only where no asset has any history."""
        if self._variance is None:
            # The mixture of experts holds their multipliers already.
            volatility = self._volatility() * (1.0 if self._experts else self.regime_multiplier_)
            state = self._fitted()
            if "event_learnt" in state:
                near = event_multipliers(state["event_age"], state["event_learnt"], self.settings.horizon_days)
                volatility = volatility * np.sqrt(near)
            self._variance = volatility * volatility
            self._variance.setflags(write=False)
        return self._variance

    @property
    def specific_volatility_(self) -> FloatArray:
        """`[n_assets]` daily specific volatilities."""
        volatility: FloatArray = np.sqrt(self.specific_variance_)
        return volatility

    @property
    def n_observations_(self) -> int:
        """Days seen."""
        return int(self._fitted()["days"][0])

    @property
    def history_(self) -> FloatArray:
        """`[n_assets]` days on which each asset was observed."""
        return self._fitted()["history"].copy()

    def _caps(self, market_cap: FloatArray | None, n_dates: int, n_assets: int) -> FloatArray:
        if market_cap is None:
            return np.ones((n_dates, n_assets))
        caps = as_matrix("market_cap", market_cap, columns=n_assets)
        if np.ndim(market_cap) == 1:
            return np.ascontiguousarray(np.broadcast_to(caps, (n_dates, n_assets)))
        if caps.shape[0] != n_dates:
            raise FactorError(f"market_cap must have {n_dates} rows, got {caps.shape[0]}", field="market_cap")
        return caps

    def _grow(self, n_assets: int) -> None:
        settings = self.settings
        if not self._state:
            slots = settings.window if settings.method == "sample" else settings.newey_west_lags + 1
            n_half_lives, n_experts = len(self._experts.half_lives), len(self.experts_)
            half_lives = (n_half_lives,) if n_experts else ()
            self._state = {
                "days": np.zeros(1),
                "regime": np.zeros((*half_lives, 3)),
                "history": np.zeros(0),
                "last_cap": np.zeros(0),
                "recent": np.zeros((max(slots, settings.newey_west_lags + 1), 0)),
                "sums": np.zeros((*half_lives, 0)),
                "weights": np.zeros((*half_lives, 0)),
                "lagged_sums": np.zeros((settings.newey_west_lags + 1, 0)),
            }
            if n_experts:
                self._state |= {
                    "forecast": np.zeros((n_half_lives, 0)),
                    "forecast_scales": np.ones(n_half_lives),
                    "outcome": np.zeros((2, 0)),
                    "losses": np.zeros(n_experts),
                }
            if n_experts and settings.event_days:
                self._state |= {"event_age": np.zeros(0), "event_learnt": np.zeros((2, settings.event_days))}
        known = self._state["history"].size
        if n_assets < known:
            raise FactorError(
                f"residuals must have at least the {known} assets seen before, got {n_assets}", field="residuals"
            )
        for name, array in self._state.items():
            if name == "exposures":
                # New assets have none until the next ones are given.
                self._state[name] = pad_last_axes(array.T, n_assets, np.nan).T
            elif name not in NOT_BY_ASSET:
                self._state[name] = pad_last_axes(array, n_assets, NEW_ASSET.get(name, 0.0))

    def _accumulate(self, rows: FloatArray, caps: FloatArray) -> None:
        settings, state = self.settings, self._state
        regime_decay = decay(settings.regime_half_life) if settings.regime_half_life > 0.0 else 0.0
        if self._experts:
            experts_update(
                rows,
                caps,
                state["days"],
                state["history"],
                state["last_cap"],
                state["recent"],
                state["sums"],
                state["weights"],
                state["lagged_sums"],
                state["regime"],
                state["forecast"],
                state["forecast_scales"],
                state["outcome"],
                state["losses"],
                state.get("event_age", np.zeros(0)),
                state.get("event_learnt", np.zeros((2, 0))),
                self._experts.decays,
                np.array(
                    [
                        decay(settings.newey_west_half_life),
                        regime_decay,
                        self._experts.loss_decay**settings.horizon_days,
                    ]
                ),
                self._experts.bounds,
                np.array([settings.expert_learning_rate, settings.expert_even_share, settings.event_deviations]),
                settings.horizon_days,
                self._losses_by_day,
            )
            return
        specific_update(
            rows,
            caps,
            state["days"],
            state["history"],
            state["last_cap"],
            state["recent"],
            state["sums"],
            state["weights"],
            state["lagged_sums"],
            state["regime"],
            np.array([decay(float(settings.half_life)), decay(settings.newey_west_half_life), regime_decay]),
            float(max(settings.regime_min_observations, 1)),
        )

    def _own_variance(self) -> FloatArray:
        """Return `[n_assets]` variances from each asset's own history, NaN without one."""
        settings, state = self.settings, self._fitted()
        if settings.method == "sample":
            variance = window_mean_squares(state["recent"])
        else:
            weights = state["weights"]
            variance = np.divide(state["sums"], weights, out=np.full_like(weights, np.nan), where=weights > 0.0)
            if self._experts:
                variance = _mixed(self._expert_scales(), variance)
        if settings.newey_west_lags:
            kernel = bartlett_weights(settings.newey_west_lags)
            kernel[1:] *= 2.0
            lagged = state["lagged_sums"]
            ratio = np.divide(_mixed(kernel, lagged), lagged[0], out=np.ones_like(variance), where=lagged[0] > 0.0)
            variance = variance * np.clip(ratio, *settings.newey_west_clip)
        return variance

    def _volatility(self) -> FloatArray:
        """Return `[n_assets]` volatilities before the regime multiplier."""
        settings, state = self.settings, self._fitted()
        volatility: FloatArray = np.sqrt(self._own_variance())
        caps = state["last_cap"]
        observed = ~np.isnan(volatility)
        if not observed.any():
            return volatility
        # A name that is on the axis and was never seen, as one that lists later, is no part of any group: the others'
        # groups would be cut elsewhere because of it, and a day's risk would depend on days after it.
        seen = (state["history"] > 0.0) | ~np.isnan(caps)
        groups = size_groups(caps, settings.bayes_groups, seen)
        blended = self._blend(volatility, groups, observed)
        return bayes_shrunk(blended, caps, groups, settings.bayes_shrinkage)

    def _blend(self, volatility: FloatArray, groups: IntArray, observed: BoolArray) -> FloatArray:
        """Return volatilities in which short histories lean on the structural model or the size group."""
        settings, state = self.settings, self._fitted()
        history, caps = state["history"], state["last_cap"]
        low, high = settings.blend_history
        # On a panel shorter than `high` days the longest history counts as full.
        high_days = min(float(high), history[observed].max())
        low_days = low * high_days / high if high > 0 else 0.0
        mature = observed & (history >= high_days)
        if mature.all():
            return volatility
        prior = group_means(volatility, caps, groups, mature)[np.maximum(groups, 0)]
        if settings.structural and "exposures" in state:
            forecast = structural_volatility(volatility, state["exposures"], caps, mature)
            prior = np.where(np.isnan(forecast), prior, forecast)
        own_share = np.where(mature, 1.0, 0.0)
        young = observed & ~mature
        own_share[young] = np.clip((history[young] - low_days) / (high_days - low_days), 0.0, 1.0)
        blended: FloatArray = own_share * np.where(observed, volatility, 0.0) + (1.0 - own_share) * prior
        return blended


def _mixed(shares: FloatArray, rows: FloatArray) -> FloatArray:
    """Return `[n_assets]` sums of rows by their shares, each with the same bits beside any number of other assets.

    BLAS adds what is left over behind its blocks in another order, so that a name's last bit hung on the axis.
    """
    total: FloatArray = shares[0] * rows[0]
    for share, row in zip(shares[1:], rows[1:], strict=True):
        total = total + share * row
    return total
