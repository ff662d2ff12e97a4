"""A factor that was not estimated on a day has no return then; it is told as null, never as 0."""

import numpy as np
import pytest
from fixtures_actors import ask, start

from actors.workloads.factor_model_creation import FactorModelCreation
from actors.workloads.factor_returns_estimation import FactorReturnsEstimation
from actors.workloads.risk_model_construction import RiskModelConstruction
from actors.workloads.style_factor_calculation import StyleFactorCalculation
from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.frames import encode
from contracts.settings import settings
from factors import FactorModel, Panel, sample_market
from factors.panel.panel import Categories
from factors.returns.date_tally import returns_told

N_DAYS, LISTED, ENDED = 160, 90, 150
SECTOR, NAMES = "Newborn", slice(3, 7)


@pytest.fixture(scope="module")
def market():
    """A sector whose names are listed late and gone before the end; no name has fundamentals for a style of them."""
    panel = sample_market(n_assets=40, n_days=N_DAYS, seed=3).panel
    sector = panel.categories["sector"]
    codes = sector.codes.copy()
    codes[:, NAMES] = len(sector.names)
    fields = {name: values.copy() for name, values in panel.fields.items()}
    for values in fields.values():
        values[:LISTED, NAMES] = np.nan
        values[ENDED:, NAMES] = np.nan
    codes[:LISTED, NAMES] = codes[ENDED:, NAMES] = -1
    whole = Panel(panel.dates, panel.symbols, fields, {"sector": Categories(codes, (*sector.names, SECTOR))})
    return whole.to_frame(names={"returns": "asset_returns"})


@pytest.fixture(scope="module")
def fitted(market):
    return FactorModel().fit(Panel.from_frame(market))


@pytest.fixture(scope="module")
def created(tmp_path_factory, market):
    patch = pytest.MonkeyPatch()
    patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
    settings.cache_clear()
    writer = start(FactorModelCreation)
    yield ask(writer.create_model, rq.CreateModel(model_id="m", feature_data=encode(market), request_id="c1"))
    patch.undo()
    settings.cache_clear()


def told(fitted, name):
    """Say on which days the sector's names were in the regression."""
    return np.isfinite(fitted.standard_errors_[:, fitted.factor_names_.index(name)])


def test_the_sector_is_estimated_only_while_it_has_names(fitted):
    days = np.flatnonzero(told(fitted, SECTOR))
    assert days[0] >= LISTED
    assert days[-1] < ENDED + 1
    assert len(days) > 40


def test_a_model_tells_null_in_its_frames(fitted):
    column = fitted.factor_returns_frame()[SECTOR]
    assert column.is_null().to_list() == (~told(fitted, SECTOR)).tolist()
    ours = fitted.factors_frame().filter(factor=SECTOR).row(0, named=True)
    returns = fitted.factor_returns_[told(fitted, SECTOR), fitted.factor_names_.index(SECTOR)]
    year = fitted.factors_frame().filter(factor="market")["return_annual"][0]
    market = fitted.factor_returns_[1:, 0]
    per_year = year / market.mean()
    assert ours["return_annual"] == pytest.approx(returns.mean() * per_year)


def test_a_new_version_is_told_with_null(created, fitted):
    returns = returns_told(fitted.factor_returns_, fitted.standard_errors_)[-1]
    wanted = {name: None if np.isnan(x) else x for name, x in zip(fitted.factor_names_, returns.tolist(), strict=True)}
    assert wanted[SECTOR] is None
    assert created.values["factor_returns"] == wanted


def test_a_history_is_told_with_null(created, fitted):
    answer = ask(start(FactorReturnsEstimation).factor_returns, rq.FactorReturns(model_id="m"))
    assert answer.values[SECTOR] is None
    history = answer.details["history"]
    column = [row[history["columns"].index(SECTOR)] for row in history["data"]]
    assert [x is None for x in column] == (~told(fitted, SECTOR)).tolist()


def test_an_episode_says_of_which_factors_it_knows_nothing(created, fitted):
    risks = start(RiskModelConstruction)
    weights = {fitted.symbols_[0]: 0.5, fitted.symbols_[1]: 0.5}
    days = [day.item() for day in fitted.dates_]
    early, later = (days[5], days[30]), (days[LISTED + 10], days[LISTED + 20])
    asked = pq.Stress(model_id="m", portfolio_weights=weights, episodes={"early": early, "later": later})
    answer = ask(risks.stress, asked)
    assert SECTOR in answer.details["episodes"]["early"]["not_estimated"]
    assert SECTOR not in answer.details["episodes"]["later"].get("not_estimated", [])
    assert answer.values["early"]["factor_returns"][SECTOR] is None
    k = fitted.factor_names_.index(SECTOR)
    made = np.prod(1.0 + fitted.factor_returns_[LISTED + 10 : LISTED + 21, k]) - 1.0
    assert answer.values["later"]["factor_returns"][SECTOR] == pytest.approx(made)
    # The book has nothing of the sector; styles that look back for longer than the history was are said.
    assert not any(SECTOR in said or "later" in said for said in answer.details.get("warnings", ()))
    alive = days[ENDED - 5]
    of_it = pq.Stress(
        model_id="m",
        portfolio_weights={fitted.symbols_[NAMES.start]: 1.0},
        episodes={"early": early},
        date_requested=alive,
    )
    (said,) = ask(risks.stress, of_it).details["warnings"]
    assert SECTOR in said
    assert "no part in the return" in said


def test_signals_are_of_the_days_on_which_a_style_was_estimated(created, fitted):
    answer = ask(start(StyleFactorCalculation).factor_signals, rq.FactorSignals(model_id="m", window_days=21))
    first = len(fitted.factor_names_) - len(fitted.style_names_)
    series = returns_told(fitted.factor_returns_, fitted.standard_errors_)[:, first:]
    for k, name in enumerate(fitted.style_names_):
        recent, every = series[-21:, k], series[:, k]
        recent, every = recent[np.isfinite(recent)], every[np.isfinite(every)]
        got = answer.values["styles"][name]
        if not recent.size:
            assert got == {"return": None, "momentum_t": None, "trend": None}
            continue
        t = recent.mean() * np.sqrt(recent.size) / recent.std(ddof=1)
        wanted = {"return": np.prod(1.0 + recent) - 1.0, "momentum_t": t, "trend": recent.mean() - every.mean()}
        assert got == pytest.approx(wanted)


def test_what_is_told_keeps_returns_without_an_error():
    returns, errors = np.array([0.0, 0.01, 0.0, np.nan]), np.array([np.nan, np.nan, 0.2, np.nan])
    np.testing.assert_array_equal(returns_told(returns, errors), [np.nan, 0.01, 0.0, np.nan])
