"""Forecast risk day by day with what was known, and keep forecasts beside outcomes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.portfolio.margin import MarginSettings, margin
from factors.portfolio.risk import portfolio_risk
from factors.risk.arrays import BoolArray, FloatArray, IntArray
from factors.risk.covariance import FactorCovariance
from factors.risk.specific import SpecificRisk
from factors.setting import Count, Days, Flag, Seed, settings_class
from factors.validation.layers import Layer
from factors.validation.portfolios import (
    cap_weighted,
    minimum_variance,
    random_portfolios,
    random_priorities,
    sector_portfolios,
)
from factors.validation.specific_groups import SpecificGroups

VALUE_AT_RISK = MarginSettings(method="filtered_historical")
FAMILIES = ("factor", "eigenfactor", "sector", "random", "cap-weighted", "minimum-variance")


@settings_class
class BacktestSettings:
    """What is held fixed in a validation.

    Parameters
    ----------
    burn_in
        Dates before the first forecast.
    horizon
        Days of each forecast; forecasts follow one another without overlap.
    window
        Days behind the sample covariance.
    n_random, random_size, seed
        Random portfolios: how many, of how many assets each, and from which seed.
    tails
        Whether the last layer's losses at 99 % are forecast, too: nine tenths of the time that a backtest takes.
    """

    burn_in: Days = 504
    horizon: Days = 1
    window: Days = 252
    n_random: Count = 200
    random_size: Count = 100
    seed: Seed = 20140102
    tails: Flag = True


@dataclass(slots=True)
class LayerOutcome:
    """Forecasts and outcomes of one layer.

    Attributes
    ----------
    name
        Of the layer.
    volatility, returns
        By family of portfolios, `[n_periods, P]`: predicted over the horizon, and realised.
    value_at_risk, expected_shortfall
        By family, `[n_periods, P]`: the loss that filtered historical days put at 99 %, and their mean loss beyond it,
        of the layer that it was asked of.
    regime, specific_regime
        `[n_periods]` multipliers of the factor covariance and of specific risk.
    factor_weights, specific_weights
        `[n_periods, E]` weights of the experts that `factor_experts` and `specific_experts` name, where half-lives are
        adaptive.
    specific_groups
        Figures of specific risk by group of names, of the last layer over one day: `SpecificGroups.figures`.
    """

    name: str
    volatility: dict[str, FloatArray] = field(default_factory=dict)
    returns: dict[str, FloatArray] = field(default_factory=dict)
    value_at_risk: dict[str, FloatArray] = field(default_factory=dict)
    expected_shortfall: dict[str, FloatArray] = field(default_factory=dict)
    regime: FloatArray = field(default_factory=lambda: np.empty(0))
    specific_regime: FloatArray = field(default_factory=lambda: np.empty(0))
    factor_weights: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    specific_weights: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    factor_experts: tuple[str, ...] = ()
    specific_experts: tuple[str, ...] = ()
    specific_groups: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Market:
    """What the backtest reads of a fitted model, `T` dates.

    Attributes
    ----------
    returns, caps, residuals
        `[T, N]`.
    factor_returns
        `[T, K]`, NaN where a factor was not estimated.
    sector_codes
        `[T, N]`, -1 for none.
    n_sectors
        Number of sectors.
    exposures
        Gives `[N, K]` known at the end of a row.
    earnings
        `[T, N]` quarterly earnings as they were known, None where the panel has none.
    """

    returns: FloatArray
    caps: FloatArray
    residuals: FloatArray
    factor_returns: FloatArray
    sector_codes: IntArray
    n_sectors: int
    exposures: Callable[[int], FloatArray]
    earnings: FloatArray | None = None

    @classmethod
    def of(cls, model: FactorModel) -> "Market":
        """Read a model whose factor returns are estimated."""
        panel = model.panel_
        sector = panel.categories.get("sector")
        shape = panel.shape
        estimated = np.isfinite(model.standard_errors_)
        return cls(
            returns=panel.fields["returns"],
            caps=panel.fields["market_cap"],
            residuals=model.residuals_,
            factor_returns=np.where(estimated, model.factor_returns_, np.nan),
            sector_codes=np.full(shape, -1, np.int64) if sector is None else sector.codes.astype(np.int64),
            n_sectors=len(model.sector_names_),
            exposures=lambda row: model.exposures(model.dates_[row]),
            earnings=panel.fields.get("earnings_q"),
        )


@dataclass(frozen=True, slots=True)
class Occasion:
    """The end of a row at which forecasts are made, and what followed over the horizon of `h` days.

    Attributes
    ----------
    row
        Of the market.
    exposures
        `[N, K]`, NaN outside the coverage universe.
    alive
        `[N]` assets that portfolios may hold.
    held
        By family, the weights `[P, N]` of portfolios that do not depend on forecasts.
    following, factors
        `[h, N]` returns of assets and `[h, K]` of factors.
    """

    row: int
    exposures: FloatArray
    alive: BoolArray
    held: dict[str, FloatArray]
    following: FloatArray
    factors: FloatArray


def occasions(market: Market, settings: BacktestSettings) -> Iterator[Occasion]:
    """Give the rows at which forecasts are made, from the burn-in on, a horizon apart.

    Raises
    ------
    FactorError
        When the data end before the first forecast's horizon.
    """
    n_dates, n_assets = market.returns.shape
    made_at = range(settings.burn_in - 1, n_dates - settings.horizon, settings.horizon)
    if not made_at:
        raise FactorError(
            f"{n_dates} dates are too few for a burn-in of {settings.burn_in} and a horizon of {settings.horizon}",
            field="burn_in",
        )
    priorities = random_priorities(settings.n_random, n_assets, settings.seed)
    drawn_for: BoolArray | None = None
    for row in made_at:
        exposures, caps = market.exposures(row), market.caps[row]
        alive = (exposures[:, 0] == 1.0) & (caps > 0.0) & ~np.isnan(market.returns[row])
        if drawn_for is None or not np.array_equal(alive, drawn_for):
            drawn, drawn_for = random_portfolios(priorities, alive, settings.random_size), alive
        held = {
            "sector": sector_portfolios(caps, alive, market.sector_codes[row], market.n_sectors),
            "random": drawn,
            "cap-weighted": cap_weighted(caps, alive)[None, :],
        }
        ahead = slice(row + 1, row + 1 + settings.horizon)
        yield Occasion(row, exposures, alive, held, market.returns[ahead], market.factor_returns[ahead])


class _Runner:
    """One layer's estimators, carried through the dates."""

    def __init__(self, layer: Layer) -> None:
        self.outcome = LayerOutcome(layer.name)
        self.covariance = FactorCovariance(layer.covariance)
        self.specific = SpecificRisk(layer.specific)
        self.rows: dict[str, list[tuple[FloatArray, FloatArray]]] = {family: [] for family in FAMILIES}
        self.losses: dict[str, list[tuple[FloatArray, FloatArray]]] = {}
        self.multipliers: list[tuple[float, float]] = []
        self.weights: list[tuple[FloatArray, FloatArray]] = []

    def forecast(self, occasion: Occasion, past: FloatArray | None = None) -> None:
        """Forecast for every family and note what followed; with `past` factor returns, the tail of these days."""
        X = np.nan_to_num(occasion.exposures)  # portfolios hold covered assets only
        following, factors = occasion.following, occasion.factors
        F, variance = self.covariance.covariance_, self.specific.specific_variance_
        variance = np.where(np.isnan(variance), 0.0, variance)
        root = np.sqrt(following.shape[0])
        held = occasion.held | {"minimum-variance": minimum_variance(X, F, variance, occasion.alive)[None, :]}
        made = np.where(np.isnan(following), 0.0, following).sum(axis=0)
        for family, weights in held.items():
            risk = portfolio_risk(weights, X, F, variance, by_asset=False)
            self.rows[family].append((risk.total * root, weights @ made))
            if past is not None:
                tail = margin(weights, X, F, variance, past, VALUE_AT_RISK)
                self.losses.setdefault(family, []).append((tail.value_at_risk * root, tail.expected_shortfall * root))
        # A factor that was not estimated on a day has no outcome then.
        outcome = factors.sum(axis=0)
        self.rows["factor"].append((np.sqrt(np.diag(F)) * root, outcome))
        eigenvalues, eigenvectors = np.linalg.eigh(F)
        live = eigenvalues > 1e-8 * eigenvalues[-1]
        volatility = np.where(live, np.sqrt(np.maximum(eigenvalues, 0.0)), np.nan) * root
        # Without members on a day it moved nothing, so that it takes nothing from the eigenvectors that hold it.
        moved = np.where(np.isnan(factors), 0.0, factors).sum(axis=0)
        self.rows["eigenfactor"].append((volatility, eigenvectors.T @ moved))
        self.multipliers.append((self.covariance.regime_multiplier_, self.specific.regime_multiplier_))
        self.weights.append((self.covariance.expert_weights_, self.specific.expert_weights_))

    def finish(self) -> LayerOutcome:
        """Return what was collected, as arrays."""
        for family, pairs in self.rows.items():
            self.outcome.volatility[family] = np.array([volatility for volatility, _ in pairs])
            self.outcome.returns[family] = np.array([made for _, made in pairs])
        for family, losses in self.losses.items():
            self.outcome.value_at_risk[family] = np.array([at_risk for at_risk, _ in losses])
            self.outcome.expected_shortfall[family] = np.array([beyond for _, beyond in losses])
        self.outcome.regime, self.outcome.specific_regime = np.array(self.multipliers).T
        self.outcome.factor_weights = np.array([factor for factor, _ in self.weights])
        self.outcome.specific_weights = np.array([specific for _, specific in self.weights])
        self.outcome.factor_experts = tuple(str(expert) for expert in self.covariance.experts_)
        self.outcome.specific_experts = tuple(str(expert) for expert in self.specific.experts_)
        return self.outcome


def backtest(
    model: FactorModel, layers: list[Layer], settings: BacktestSettings
) -> tuple[IntArray, list[LayerOutcome]]:
    """Forecast with every layer from the burn-in to the end of the data.

    The forecast made at the end of row `t` uses exposures, caps, factor returns and residuals up to `t`, and is
    compared with the returns of `t + 1 .. t + horizon` at the weights of `t`.

    Parameters
    ----------
    model
        With factor returns estimated.
    layers
        See `factors.validation.layers.layers`.
    settings
        What is held fixed.

    Returns
    -------
    rows, outcomes
        The rows `[n_periods]` at whose end forecasts were made, and one outcome per layer.

    Raises
    ------
    FactorError
        When the data end before the first forecast's horizon.
    """
    market = Market.of(model)
    runners = [_Runner(layer) for layer in layers]
    first = 0
    made_at = []
    groups = SpecificGroups(market.residuals, market.earnings) if settings.horizon == 1 else None
    for occasion in occasions(market, settings):
        new = slice(first, occasion.row + 1)
        # A factor without members on a day moved nothing.
        past = np.nan_to_num(market.factor_returns[: occasion.row + 1])
        past = past[(past != 0.0).any(axis=1)]
        for runner in runners:
            runner.covariance.update(market.factor_returns[new])
            runner.specific.update(market.residuals[new], market.caps[new], occasion.exposures)
            runner.forecast(occasion, past if settings.tails and runner is runners[-1] else None)
        if groups is not None:
            groups.note(occasion.row, runners[-1].specific.specific_variance_, occasion.alive)
        first = occasion.row + 1
        made_at.append(occasion.row)
    finished = [runner.finish() for runner in runners]
    if groups is not None:
        finished[-1].specific_groups = groups.figures()
    return np.array(made_at, dtype=np.int64), finished
