"""The factor model: from a panel to exposures, factor returns, factor covariance and specific risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.errors import EmptyFrameError, FactorError, SettingsError, StageError
from factors.factor_model.frames import factor_returns_frame, features_panel, residuals_frame, scores_frame
from factors.factor_model.latest import Latest
from factors.factor_model.peeked import PeekedDay
from factors.factor_model.recipe import Recipe
from factors.factor_model.risk_stage import FACTOR_WEIGHTS, SPECIFIC_WEIGHTS
from factors.factor_model.settings import ModelSettings
from factors.factor_model.shown import ShownModel
from factors.factor_model.state import ModelState
from factors.factor_model.steps import LAST, Steps
from factors.panel.admission import admitted, blank_fields
from factors.panel.door import Door
from factors.panel.intake import Policy
from factors.panel.panel import Array, Panel, position_of
from factors.panel.quality.report import QualityReport
from factors.risk.covariance import FactorCovariance
from factors.risk.experts import Expert
from factors.risk.linked import Linked
from factors.risk.specific import SpecificRisk

E = TypeVar("E")


class FactorModel(ShownModel):
    """A Barra-style factor model: market, sectors and styles.

    `fit` runs the whole workflow on a panel; the stages can also be run one by one. `update` adds days at a cost that
    does not depend on the history, with the same bits as a fit on the longer panel (its names in the same order: one
    that joins stands at the end), because a fit is the same kernels over more rows.

    Parameters
    ----------
    settings : ModelSettings, optional

    Attributes
    ----------
    panel_ : Panel
        As given.
    dates_, symbols_, factor_names_, style_names_, sector_names_
    scores_ : float64 [n_dates, n_styles, n_assets]
    factor_returns_ : float64 [n_dates, K]
        Daily; row 0 is NaN when exposures are lagged, and 0 with a NaN error is a factor that was not estimated.
    standard_errors_, t_stats_ : float64 [n_dates, K]
    r2_, n_obs_, status_ : [n_dates]
    vif_ : float64 [n_dates, n_styles]
    residuals_ : float64 [n_dates, n_assets]
    coverage_universe_, estimation_universe_, investment_universe_ : bool [n_dates, n_assets]
    factor_covariance_ : float64 [K, K], daily
    specific_variance_ : float64 [n_assets], daily
    warnings_ : list of str
    quality_ : QualityReport
    recipe_ : Recipe

    Notes
    -----
    Menchero, Orr and Wang, "The Barra US Equity Model (USE4)", Methodology Notes (2011). With settings
    ``ModelSettings.toraniko()`` the conventions are toraniko's.
    """

    def __init__(self, settings: ModelSettings | None = None) -> None:
        self.settings = settings or ModelSettings()
        self.recipe_ = Recipe(
            to_fill=tuple(self.settings.fill_features),
            to_smooth=dict(self.settings.smooth_features),
            top_n=self.settings.top_n_by_mkt_cap,
        )
        self._steps: Steps | None = None
        self._door = Door(self.settings.read_as)

    def set_panel(self, panel: Panel, policy: Policy | None = None, whole: Panel | None = None) -> Self:
        """Hold a panel and forget what was estimated; the stages then run on it.

        `policy` is that of its quality report, by default the intake's. It may be the beginning of a `whole` panel.

        Raises
        ------
        FactorError
            The panel is empty, lacks returns or market_cap, holds what `admission.admitted` refuses, or, under the
            policy "strict", has an error in its quality report.
        """
        if panel.n_dates == 0 or panel.n_assets == 0:
            raise EmptyFrameError("the panel has no dates or no assets", field="panel")
        panel, door = Door(self.settings.read_as).take(admitted(panel), policy)
        self._steps, self._door = Steps(self.settings, self.recipe_, panel), door
        for sentence in blank_fields(whole or panel):
            self._steps.note(sentence)
        return self

    def set_features(self, feature_data: Any, sector_encodings: Any = None) -> Self:
        """Hold long tables of any library, read as `settings.intake` says; see `frames.features_panel`."""
        return self.set_panel(features_panel(feature_data, sector_encodings, self.settings))

    def clean_features(
        self,
        to_winsorize: Mapping[str, float] | None = None,
        to_fill: Sequence[str] | None = None,
        to_smooth: Mapping[str, int] | None = None,
    ) -> Self:
        """Record how features are cleaned: clipped per date, carried forward, averaged over a window, in this order.

        What was estimated is forgotten. New days are cleaned the same way. Arguments left out keep what was recorded.

        Raises
        ------
        FactorError
            A fraction or window outside its range, or a field that the panel does not have.
        """
        held = self.recipe_
        recipe = replace(
            held,
            to_winsorize=held.to_winsorize if to_winsorize is None else dict(to_winsorize),
            to_fill=held.to_fill if to_fill is None else tuple(to_fill),
            to_smooth=held.to_smooth if to_smooth is None else dict(to_smooth),
        )
        return self._with_recipe(recipe)

    def reduce_universe_by_market_cap(self, top_n: int = 2000) -> Self:
        """Record that the estimation universe of a date is its `top_n` largest assets by cap."""
        return self._with_recipe(replace(self.recipe_, top_n=int(top_n)))

    def proxy_idio_cov(self, method: Literal["market_cap", "ledoit_wolf", "inverse_specific_variance"]) -> Self:
        """Choose what stands for the inverse of the specific covariance: the regression's weights.

        "market_cap" weighs by the square root of the cap; "inverse_specific_variance" by the exponentially weighted
        variance of first-pass residuals; "ledoit_wolf" by the diagonal of the Ledoit-Wolf covariance of the first-pass
        residuals of the last year. All are known the day before.
        """
        if method not in ("market_cap", "ledoit_wolf", "inverse_specific_variance"):
            raise SettingsError(f"proxy_idio_cov does not know {method!r}", field="method")
        self.settings = replace(self.settings, proxy_for_idio_cov=method)
        if self._steps is not None:
            self._steps.change_settings(self.settings)
        return self

    def fit(self, panel: Any = None) -> Self:
        """Run the whole workflow on a panel, on a long table (see `set_features`), or on the panel held."""
        if isinstance(panel, Panel):
            self.set_panel(panel)
        elif panel is not None:
            self.set_features(panel)
        self.estimate_style_scores()
        self.estimate_factor_returns()
        self._held.estimate_risk()
        return self

    def estimate_style_scores(self) -> Self:
        """Clean the features, mark the universes and score the styles on every date."""
        self._held.estimate_scores()
        return self

    def estimate_factor_returns(self) -> Self:
        """Regress returns on exposures on every date; needs the scores."""
        self._held.estimate_factor_returns()
        return self

    def estimate_covariance(self) -> Self:
        """Estimate the factor covariance; needs the factor returns."""
        self._held.estimate_covariance()
        return self

    def estimate_specific_risk(self) -> Self:
        """Estimate specific variances; needs the factor returns."""
        self._held.estimate_specific_risk()
        return self

    def risk_model(self) -> Latest:
        """Estimate covariance and specific risk where missing and give the risk model of the last date."""
        steps = self._held
        if not steps.has_scores:
            self.estimate_style_scores()
        if not steps.has_factor_returns:
            self.estimate_factor_returns()
        if steps.risk.covariance is None:
            self.estimate_covariance()
        if steps.risk.specific is None:
            self.estimate_specific_risk()
        return self.latest()

    def update(self, day: Any, policy: Policy | None = None, followed_by: int = 0) -> Self:
        """Add one or more new days: a panel, or a long table that is read as the first one was.

        Assets new to the model are appended; an asset of the model that the day lacks is missing that day. One that the
        day calls by another symbol under the same `asset_id` is called so from then on, in the same place. A sector
        that the model does not know puts the asset outside every sector, with a warning. `policy` as in `set_panel`.
        `followed_by` more days come before anybody asks for risk: what would be out of date by then is not computed.

        Raises
        ------
        FactorError
            The days do not come after the model's last, lack a field that the model uses, or hold what
            `admission.admitted` refuses.
        """
        if not isinstance(day, Panel):
            day = features_panel(day, None, self.settings)
        day, names, door = self._door.take_next(day, self.symbols_, policy)
        self._held.update(day, names, followed_by)
        self._door = door
        return self

    def peek(self, day: Panel) -> PeekedDay:
        """Give what `update` of one day would add, to the bit, and leave the model as it is.

        Parameters
        ----------
        day : Panel
            One date; its asset axis begins with the model's, names that are new stand at the end.

        Raises
        ------
        FactorError
            As `update`; or the model lacks scores or factor returns.
        """
        return self._held.peek(self.admitted(day))

    def admitted(self, day: Panel) -> Panel:
        """Give a next day as `update` would take it: looked at, and adjusted for corporate actions."""
        return self._door.take_next(day, self.symbols_)[0]

    @property
    def door_(self) -> Door:
        """What the next days come in through."""
        return self._door

    def forget(self, days: int = 1) -> Self:
        """Drop what is kept by day but the last days, so that a model that only grows takes no more memory.

        New days get the same bits as before; panel, scores, returns and residuals then cover the days that are left.
        """
        self._held.forget(days)
        return self

    @property
    def _held(self) -> Steps:
        if self._steps is None:
            raise StageError("the model has no panel yet: call fit or set_panel", field="panel")
        return self._steps

    def _with_recipe(self, recipe: Recipe) -> Self:
        if self._steps is not None:
            missing = [name for name in recipe.fields if name not in self._steps.field_names]
            defaults = set(self.settings.smooth_features) | set(self.settings.fill_features)
            missing = [name for name in missing if name not in defaults]
            if missing:
                raise FactorError(f"the panel has no field {missing[0]!r} to clean", field=recipe.named_by(missing[0]))
            self._steps = Steps(self.settings, recipe, self._steps.panel())
        self.recipe_ = recipe
        return self

    @property
    def panel_(self) -> Panel:
        """The panel as given, joined with the days added since."""
        return self._held.panel()

    @property
    def dates_(self) -> NDArray[np.datetime64]:
        """datetime64[D] [n_dates]."""
        return self._held.dates

    @property
    def symbols_(self) -> tuple[str, ...]:
        """The asset axis."""
        return self._held.symbols

    @property
    def style_names_(self) -> tuple[str, ...]:
        """The styles, last on the factor axis."""
        return self._held.style_names

    @property
    def sector_names_(self) -> tuple[str, ...]:
        """The sectors, in the middle of the factor axis."""
        return self._held.sector_names

    @property
    def factor_names_(self) -> tuple[str, ...]:
        """("market", *sectors, *styles)."""
        return self._held.factor_names

    @property
    def factor_returns_(self) -> Array:
        """float64 [n_dates, K], daily."""
        return self._held.array("factor_returns", "estimate_factor_returns")

    @property
    def standard_errors_(self) -> Array:
        """float64 [n_dates, K]."""
        return self._held.array("standard_errors", "estimate_factor_returns")

    @property
    def t_stats_(self) -> Array:
        """float64 [n_dates, K], NaN where a factor has no members."""
        errors = self.standard_errors_
        return np.divide(self.factor_returns_, errors, out=np.full_like(errors, np.nan), where=errors > 0.0)

    @property
    def scores_(self) -> Array:
        """float64 [n_dates, n_styles, n_assets]."""
        return self._held.array("scores", "estimate_style_scores")

    @property
    def residuals_(self) -> Array:
        """float64 [n_dates, n_assets]: specific returns."""
        return self._held.array("residuals", "estimate_factor_returns")

    @property
    def r2_(self) -> Array:
        """float64 [n_dates]."""
        return self._held.array("r2", "estimate_factor_returns")

    @property
    def n_obs_(self) -> NDArray[np.int64]:
        """int64 [n_dates]: names in the regression."""
        return self._held.array("n_obs", "estimate_factor_returns")

    @property
    def status_(self) -> NDArray[np.int8]:
        """int8 [n_dates]: 0 no names, 1 solved, 2 rank deficient."""
        return self._held.array("status", "estimate_factor_returns")

    @property
    def vif_(self) -> Array:
        """float64 [n_dates, n_styles]."""
        return self._held.array("vif", "estimate_factor_returns")

    @property
    def coverage_universe_(self) -> NDArray[np.bool_]:
        """Bool [n_dates, n_assets]: assets with a positive cap get scores, residuals and risk."""
        return self._held.coverage()

    @property
    def estimation_universe_(self) -> NDArray[np.bool_]:
        """Bool [n_dates, n_assets]: what means, deviations and regressions are taken over.

        Covered assets with a sector, where the panel's field `estimation_universe` (if it has one) is above 0, the
        largest `top_n_by_mkt_cap` of them.
        """
        return self._held.array("estimation", "estimate_style_scores")

    @property
    def investment_universe_(self) -> NDArray[np.bool_]:
        """Bool [n_dates, n_assets]: covered assets where the panel's field `investment_universe` is above 0.

        Without the field, the coverage universe.
        """
        return self._held.investment()

    @property
    def factor_covariance_(self) -> Array:
        """float64 [K, K], daily, symmetric positive semidefinite."""
        return self._estimator(self._held.risk.covariance, "estimate_covariance").covariance_

    @property
    def specific_variance_(self) -> Array:
        """float64 [n_assets], daily."""
        return self._estimator(self._held.risk.specific, "estimate_specific_risk").specific_variance_

    @property
    def factor_expert_weights_(self) -> Array:
        """float64 [n_dates, E]: what each of `covariance_estimator_.experts_` weighs at the end of each date.

        None of them (E = 0) where the half-life is a number.
        """
        return self._weights(FACTOR_WEIGHTS, self.covariance_estimator_.experts_)

    @property
    def specific_expert_weights_(self) -> Array:
        """float64 [n_dates, E]: what each of `specific_estimator_.experts_` weighs at the end of each date."""
        return self._weights(SPECIFIC_WEIGHTS, self.specific_estimator_.experts_)

    def _weights(self, name: str, experts: tuple[Expert, ...]) -> Array:
        return self._held.array(name, "fit") if experts else np.empty((len(self.dates_), 0))

    @property
    def covariance_estimator_(self) -> FactorCovariance:
        """The estimator behind factor_covariance_."""
        return self._estimator(self._held.risk.covariance, "estimate_covariance")

    @property
    def specific_estimator_(self) -> SpecificRisk:
        """The estimator behind specific_variance_."""
        return self._estimator(self._held.risk.specific, "estimate_specific_risk")

    @property
    def warnings_(self) -> list[str]:
        """What was not as it should be, a sentence each."""
        return self._held.warnings() + self._door.lines(self.symbols_, self._held.category_names)

    @property
    def quality_(self) -> QualityReport:
        """What looked wrong in what came in: kinds, rows, effects and remedies."""
        return self._door.report(self.symbols_, self._held.category_names)

    @staticmethod
    def _estimator(estimator: E | None, stage: str) -> E:
        if estimator is None:
            raise StageError(f"call {stage} first", field=stage)
        return estimator

    def exposures(self, date: Any = None) -> Array:
        """Give the exposures known at the end of a date, by default the last, float64 [n_assets, K].

        Rows of assets without a cap on the date are NaN: the model does not cover them. A missing score of a covered
        asset counts as 0, the market's average.
        """
        return self._held.exposures(self._row_of(date))

    def linked(self, date: Any = None) -> Linked:
        """Give the correlations of specific returns of assets of one issuer, as known at the end of a date.

        The panel's category `issuer` says whose assets are; without it nothing is linked. `portfolio_risk` takes it.
        """
        return self._held.linked(self._row_of(date))

    def mimicking_weights(self, date: Any = None, *, investable: bool = False) -> Array:
        """Give the factor-mimicking portfolios known at the end of a date, float64 [K, n_assets].

        Those of the estimation universe are what the regression holds. With `investable` they are the same regression's
        over the investment universe: unit exposure to their factor and none to the others with names that may be held.
        """
        return self._held.mimicking_weights(self._row_of(date), investable=investable)

    def next_weights(self) -> Array:
        """Give the weights of the next day's regression, float64 [n_assets]; 0 outside of the estimation universe."""
        return self._held.next_weights()

    def _row_of(self, date: Any) -> int:
        row = LAST if date is None else position_of(self._held.dates, date)
        return LAST if row == len(self._held.dates) - 1 else row

    def condition_numbers(self) -> Array:
        """Give the condition number of the weighted, constrained design on each date, float64 [n_dates]."""
        return self._held.condition_numbers()

    def scores_frame(self) -> pl.DataFrame:
        """Give the scores as a long frame: date, symbol and a column for each style (`score_col`)."""
        return scores_frame(
            self.settings, self.dates_, self.symbols_, self.style_names_, self.scores_, self.coverage_universe_
        )

    def factor_returns_frame(self) -> pl.DataFrame:
        """Give the factor returns as a frame: date, the market (`mkt_factor_col`), sectors and styles."""
        return factor_returns_frame(self.settings, self.dates_, self.factor_names_, self._told())

    def residuals_frame(self) -> pl.DataFrame:
        """Give the specific returns as a long frame: date, symbol and `res_ret_col`."""
        return residuals_frame(self.settings, self.dates_, self.symbols_, self.residuals_)

    def latest(self) -> Latest:
        """Give everything that requests about the last date need."""
        steps = self._held
        caps = steps.tail("fields/market_cap")
        return Latest(
            date=steps.dates_of(1)[0],
            symbols=steps.symbols,
            factor_names=steps.factor_names,
            style_names=steps.style_names,
            sector_names=steps.sector_names,
            exposures=self.exposures(),
            covered=np.isfinite(caps) & (caps > 0.0),
            market_cap=caps,
            factor_covariance=self.factor_covariance_,
            specific_variance=self.specific_variance_,
            linked=self.linked(),
        )

    def state(self, last: int | None = None) -> ModelState:
        """Give the model as arrays; with `last`, only that many days of what is kept by day."""
        state = self._held.state(last)
        return replace(state, latest={**state.latest, **self._door.state()})

    @classmethod
    def from_state(cls, settings: ModelSettings | None, state: ModelState) -> FactorModel:
        """Rebuild a model; with None the settings are those of the state."""
        model = cls(settings or ModelSettings.from_dict(state.settings))
        model.recipe_ = Recipe.from_dict(state.recipe)
        model._steps = Steps.from_state(model.settings, model.recipe_, state)
        model._door = Door.restored(model.settings.read_as, state.latest)
        return model

    def save(self, folder: str | Path) -> None:
        """Write the model into a folder that is empty or does not exist."""
        self.state().save(folder)

    @classmethod
    def load(cls, folder: str | Path) -> FactorModel:
        """Read a model that `save` wrote."""
        return cls.from_state(None, ModelState.load(folder))
