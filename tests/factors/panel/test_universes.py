"""Who is in the model on a date: coverage, estimation, investment; assets that come, go and pause; and the future."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from factors import FactorModel, ModelSettings, Panel, sample_market
from factors.panel.fundamentals import with_fundamentals
from factors.panel.panel import Categories

N_DATES, CUT = 320, 300
ESTIMATES = ("scores_", "factor_returns_", "standard_errors_", "residuals_", "r2_", "vif_", "estimation_universe_")


@pytest.fixture(scope="module")
def market():
    return sample_market(50, N_DATES, seed=9)


@pytest.fixture(scope="module")
def panel(market):
    return market.panel


def same(a, b):
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def test_the_three_universes_are_masks_each_inside_coverage(panel):
    rng = np.random.default_rng(1)
    estimation, investment = (rng.random(panel.shape).round() for _ in range(2))
    estimation[:, 3] = np.nan
    marked = panel.with_fields(estimation_universe=estimation, investment_universe=investment)
    model = FactorModel(ModelSettings(top_n_by_mkt_cap=15)).fit(marked)
    coverage = model.coverage_universe_
    assert np.array_equal(coverage, panel.fields["market_cap"] > 0.0)
    assert np.array_equal(model.investment_universe_, coverage & (investment == 1.0))
    inside = model.estimation_universe_
    assert not inside[:, 3].any()
    assert not (inside & ~coverage).any()
    assert not inside[estimation == 0.0].any()
    assert (inside.sum(axis=1) <= 15).all()
    assert inside.sum() > 10 * N_DATES
    # Covered names outside the estimation universe have scores, residuals and risk all the same.
    assert np.isfinite(model.scores_[-1, model.style_names_.index("size")][coverage[-1]]).all()
    assert np.isfinite(model.residuals_[-1, 3])
    assert model.specific_variance_[3] > 0.0


def test_without_marks_every_covered_asset_may_be_held(panel):
    model = FactorModel().set_panel(panel).estimate_style_scores()
    assert np.array_equal(model.investment_universe_, model.coverage_universe_)


def test_means_and_deviations_are_those_of_the_estimation_universe(panel):
    marks = np.ones(panel.shape)
    marks[:, ::3] = 0.0
    model = FactorModel().set_panel(panel.with_fields(estimation_universe=marks)).estimate_style_scores()
    caps, inside = model.state().day_asset["clean/market_cap"][-1], model.estimation_universe_[-1]
    for name in ("size", "liquidity", "leverage"):
        score = model.scores_[-1, model.style_names_.index(name)]
        known = inside & np.isfinite(score)
        assert np.average(score[known], weights=caps[known]) == pytest.approx(0.0, abs=1e-12), name
        assert score[known].std(ddof=1) == pytest.approx(1.0, rel=1e-12), name
        everyone = np.isfinite(score)
        assert abs(np.average(score[everyone], weights=caps[everyone])) > 1e-4, name


def test_investable_mimicking_portfolios_hold_investable_names_and_are_pure(panel):
    investment = np.ones(panel.shape)
    investment[:, ::4] = 0.0
    model = FactorModel().fit(panel.with_fields(investment_universe=investment))
    P = model.mimicking_weights(investable=True)
    assert not P[:, ~model.investment_universe_[-1]].any()
    X = np.nan_to_num(model.exposures())  # nothing is held outside coverage
    first = 1 + len(model.sector_names_)
    live = np.flatnonzero(P[first:].any(axis=1))
    assert len(live) >= 9
    np.testing.assert_allclose((P @ X)[first:, first:][np.ix_(live, live)], np.eye(len(live)), atol=1e-9)
    # A style portfolio is net of the market and of every sector.
    np.testing.assert_allclose((P @ X)[first + live][:, :first], 0.0, atol=1e-9)
    held = FactorModel().fit(panel).mimicking_weights()
    assert held[:, ~model.investment_universe_[-1]].any()


def test_an_asset_that_enters_counts_from_its_first_day_and_one_that_leaves_until_its_last(panel):
    listed = panel.fields["market_cap"] > 0.0
    late = int(np.flatnonzero(~listed[0] & listed[-1])[0])
    gone = int(np.flatnonzero(listed[0] & ~listed[-1])[0])
    model = FactorModel().fit(panel)
    first, last = int(listed[:, late].argmax()), int(np.flatnonzero(listed[:, gone])[-1])
    size = model.scores_[:, model.style_names_.index("size")]
    for universe in (model.coverage_universe_, model.estimation_universe_, np.isfinite(size)):
        assert not universe[:first, late].any()
        assert universe[first, late]
        assert universe[last, gone]
        assert not universe[last + 1 :, gone].any()
    # Exposures are lagged: a residual needs a cap the day before.
    assert np.isnan(model.residuals_[: first + 1, late]).all()
    assert np.isnan(model.residuals_[last + 2 :, gone]).all()
    assert np.isnan(model.exposures()[gone]).all()


def test_a_suspended_asset_keeps_its_place_and_has_no_residual_while_it_rests(panel):
    fields = {name: values.copy() for name, values in panel.fields.items()}
    listed = (fields["market_cap"] > 0.0).all(axis=0) & np.isfinite(fields["returns"][1:]).all(axis=0)
    j = int(np.flatnonzero(listed)[0])
    pause = slice(280, 290)
    for name in ("returns", "volume", "open", "high", "low", "close", "vwap"):
        fields[name][pause, j] = np.nan
    model = FactorModel().fit(Panel(panel.dates, panel.symbols, fields, panel.categories))
    assert np.isnan(model.residuals_[pause, j]).all()
    assert np.isfinite(model.residuals_[290:, j]).all()
    assert model.coverage_universe_[pause, j].all()
    for name in ("size", "beta", "residual_volatility"):
        assert np.isfinite(model.scores_[pause, model.style_names_.index(name), j]).all(), name


def perturbed(panel, kind, rng):
    """Change everything of one kind from the cut on."""
    fields = {name: values.copy() for name, values in panel.fields.items()}
    categories = dict(panel.categories)
    shape = fields["returns"][CUT:].shape
    fundamental = ("book", "sales", "cash_flow", "earnings", "debt", "assets", "dividends", "book_price", "cf_price")
    if kind == "returns":
        fields["returns"][CUT:] = rng.normal(0.0, 0.05, shape)
    if kind == "caps":
        fields["market_cap"][CUT:] *= np.exp(rng.normal(0.0, 1.0, shape))
        fields["market_cap"][CUT:, :6] = np.nan
    if kind == "fundamentals":
        for name in fundamental:
            fields[name][CUT:] *= np.exp(rng.normal(0.0, 1.0, shape))
    if kind == "prices and volume":
        for name in ("open", "high", "low", "close", "vwap", "volume", "shares"):
            fields[name][CUT:] *= np.exp(rng.normal(0.0, 1.0, shape))
    if kind in ("sectors", "a new sector"):
        sector = panel.categories["sector"]
        codes, names = sector.codes.copy(), sector.names
        if kind == "sectors":
            codes[CUT:] = rng.integers(0, len(names), shape)
        else:
            codes[CUT:, :9], names = len(names), (*names, "Space")
        categories["sector"] = Categories(codes, names)
    if kind == "everything is missing":
        for values in fields.values():
            values[CUT:] = np.nan
    return Panel(panel.dates, panel.symbols, fields, categories)


@pytest.fixture(scope="module")
def untouched(panel):
    return FactorModel().fit(panel), FactorModel().fit(panel.select(dates=slice(0, CUT)))


KINDS = ("returns", "caps", "fundamentals", "prices and volume", "sectors", "a new sector", "everything is missing")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_changed_in_the_future_changes_nothing_in_the_past(panel, untouched, kind):
    model, early = untouched
    changed = FactorModel().fit(perturbed(panel, kind, np.random.default_rng(3)))
    n_sectors = len(model.sector_names_)
    for name in ESTIMATES:
        before, after = getattr(model, name)[:CUT], getattr(changed, name)[:CUT]
        if kind == "a new sector" and name in ("factor_returns_", "standard_errors_"):
            assert not np.nan_to_num(after[:, 1 + n_sectors]).any()
            after = np.delete(after, 1 + n_sectors, axis=1)
        assert same(before, after), name
    assert any(
        getattr(model, name)[CUT:].shape != getattr(changed, name)[CUT:].shape
        or not same(getattr(model, name)[CUT:], getattr(changed, name)[CUT:])
        for name in ESTIMATES
    )
    # And the past alone says the same, so that nothing is scaled by what comes later.
    for name in ESTIMATES:
        assert same(getattr(early, name), getattr(model, name)[:CUT]), name


def test_statements_count_from_the_day_they_are_available_and_later_ones_change_nothing_before(market):
    bare = market.panel.select(fields=["returns", "market_cap", "close", "shares"])
    items = ["symbol", "period_end", "available_at", "earnings", "dividends", "debt", "assets"]
    statements = market.statements.select(items)
    cut = bare.dates[CUT]
    later = pl.col("available_at") >= pl.lit(cut.astype("datetime64[D]").item())
    changed = statements.with_columns(
        [pl.when(later).then(pl.col(name) * 50.0).otherwise(pl.col(name)).alias(name) for name in items[3:]]
    )
    one, other = (FactorModel().fit(with_fundamentals(bare, frame)) for frame in (statements, changed))
    for name in ESTIMATES:
        assert same(getattr(one, name)[:CUT], getattr(other, name)[:CUT]), name
    column = one.style_names_.index("earnings_yield")
    assert not same(one.scores_[CUT:, column], other.scores_[CUT:, column])


def test_rows_with_available_at_are_scored_when_they_became_known(market):
    frame = market.panel.select(dates=slice(0, 60), fields=["returns", "market_cap", "earnings"]).to_frame()
    known = frame.with_columns(available_at=pl.col("date") + pl.duration(days=14))
    late = FactorModel().set_panel(Panel.from_frame(known)).estimate_style_scores()
    prompt = FactorModel().set_panel(Panel.from_frame(frame)).estimate_style_scores()
    column = late.style_names_.index("earnings_yield")
    assert np.isnan(late.scores_[:10, column]).all()  # ten weekdays are fourteen days
    assert np.isfinite(late.scores_[10, column]).sum() > 30
    assert same(late.scores_[:, late.style_names_.index("size")], prompt.scores_[:, prompt.style_names_.index("size")])


def test_marks_of_new_days_are_kept_as_a_fit_keeps_them(panel):
    marks = np.random.default_rng(2).random(panel.shape).round()
    marked = panel.with_fields(estimation_universe=marks, investment_universe=1.0 - marks)
    whole = FactorModel().fit(marked)
    grown = FactorModel().fit(marked.select(dates=slice(0, N_DATES - 3))).update(marked.last(3))
    for name in (*ESTIMATES, "coverage_universe_", "investment_universe_"):
        assert same(getattr(whole, name), getattr(grown, name)), name
    assert same(whole.mimicking_weights(investable=True), grown.mimicking_weights(investable=True))
