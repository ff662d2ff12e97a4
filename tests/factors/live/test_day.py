"""A live day foretells the update, bit for bit, and leaves the model as it is."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_models import EARLY_ASSETS, FIRST_CUT, N_DATES, differences, market, model_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factors import FactorError, FactorModel, ModelSettings, Panel, sample_market
from factors.errors import StageError
from factors.factor_model.settings import RegressionSettings, StyleSettings
from factors.live import LiveDay, LiveRow


def assert_foretold(values, model):
    """The values are those of the model's last date, to the bit."""
    for mine, theirs in (
        (values.scores, model.scores_[-1]),
        (values.exposures, model.exposures()),
        (values.estimation, model.estimation_universe_[-1]),
        (values.factor_returns, model.factor_returns_[-1]),
        (values.standard_errors, model.standard_errors_[-1]),
        (values.specific_returns, model.residuals_[-1]),
        (values.r2, model.r2_[-1]),
        (values.n_obs, model.n_obs_[-1]),
        (values.status, model.status_[-1]),
        (values.market_return, model.state(1).day["market_return"][-1]),
    ):
        np.testing.assert_array_equal(mine, theirs)


def row_of(day: Panel, columns):
    """What a tick of some columns of a panel of one day holds."""
    fields = {name: values[0, columns] for name, values in day.fields.items()}
    return fields | {name: category.codes[0, columns] for name, category in day.categories.items()}


def play(live: LiveDay, day: Panel, rng) -> None:
    """Tick names in some order, wrong at first, looking now and then; the row is the day's in the end."""
    live.peek()
    live.join(day.symbols)
    order = rng.permutation(day.n_assets)
    for part in np.array_split(order, 3):
        row = row_of(day, part)
        live.tick(part, {**row, "returns": row["returns"] * 0.5, "market_cap": row["market_cap"] * 1.01})
        live.peek()
        live.tick(part, row)
    live.peek()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chosen=model_settings(), cut=st.integers(FIRST_CUT, N_DATES - 8), seed=st.integers(0, 99))
def test_what_is_peeked_at_last_is_what_the_update_gives_for_any_settings(chosen, cut, seed):
    panel, rng = market(), np.random.default_rng(seed)
    early = panel.select(dates=slice(0, cut), symbols=panel.symbols[:EARLY_ASSETS])
    model, twin = FactorModel(chosen).fit(early), FactorModel(chosen).fit(early)
    for t in range(cut, cut + 4):
        day = panel.select(dates=slice(t, t + 1))
        before = model.state()
        live = LiveDay(model, day.dates[0] + rng.integers(0, 40))
        play(live, day, rng)
        live = LiveDay(model, day.dates[0])
        play(live, day, rng)
        values = live.peek()
        assert differences(before, model.state()) == []
        model.update(live.close())
        assert_foretold(values, model)
        twin.update(day)
        assert differences(twin.state(), model.state()) == []
        assert twin.symbols_ == model.symbols_
    batch = FactorModel(chosen).fit(Panel.concat([early, panel.select(dates=slice(cut, cut + 4))]))
    assert differences(batch.state(), model.state()) == []


def test_windows_of_a_year_are_foretold_while_they_move_on():
    """Long enough for a year's windows to leave blocks behind; looks at later dates must not be remembered."""
    panel, rng = sample_market(20, 340, seed=6).panel, np.random.default_rng(6)
    model = FactorModel().fit(panel.select(dates=slice(0, 290)))
    for t in range(290, 340):
        day = panel.select(dates=slice(t, t + 1))
        for date in (*(day.dates[0] + np.array([35, 70])), day.dates[0]):
            live = LiveDay(model, date)
            live.tick(np.arange(20), row_of(day, np.arange(20)) | {"returns": 0.01 * rng.standard_normal(20)})
            live.peek()
        live.tick(np.arange(20), row_of(day, np.arange(20)))
        values = live.peek()
        model.update(day)
        assert_foretold(values, model)
    assert differences(FactorModel().fit(panel).state(), model.state()) == []


@pytest.fixture(scope="module")
def sample():
    return sample_market(30, 120, seed=5).panel


@pytest.fixture(scope="module")
def model(sample):
    return FactorModel().fit(sample.select(dates=slice(0, 110)))


def test_custom_styles_and_actions_are_foretold_too(sample):
    split = np.full(sample.shape, np.nan)
    split[112, 4] = 2.0
    fields = {name: np.array(values) for name, values in sample.fields.items()}
    for name in ("open", "high", "low", "close", "vwap"):
        fields[name][112:, 4] /= 2.0
    fields["dividend"] = np.where(np.arange(120)[:, None] % 40 == 30, 0.1, np.nan) * np.ones(30)
    del fields["shares"]
    panel = Panel(sample.dates, sample.symbols, {**fields, "split_ratio": split}, sample.categories)
    chosen = ModelSettings(
        style_factors=StyleSettings(custom={"quick": "ema(close, 5) / sum(close, 70)", "rel": "rank(delta(close, 9))"})
    )
    rng = np.random.default_rng(3)
    model = FactorModel(chosen).fit(panel.select(dates=slice(0, 108), symbols=panel.symbols[:28]))
    for t in range(108, 116):
        day = panel.select(dates=slice(t, t + 1))
        live = LiveDay(model, day.dates[0])
        play(live, day, rng)
        before_peek = LiveDay(model, day.dates[0])
        before_peek.join(day.symbols)
        before_peek.tick(np.arange(30), row_of(day, np.arange(30)))
        values, adjusted = live.peek(), live.adjusted()
        for name, field in before_peek.adjusted().items():
            np.testing.assert_array_equal(field, adjusted[name], err_msg=name)
        model.update(day)
        assert_foretold(values, model)
        for name, field in adjusted.items():
            np.testing.assert_array_equal(field, model.panel_.fields[name][-1], err_msg=name)


def test_where_nothing_is_adjusted_the_librarys_fields_are_the_rows_own(sample, model):
    live = LiveDay(model, sample.dates[110])
    live.tick(
        np.arange(30),
        row_of(sample.select(dates=slice(110, 111), fields=["close", "returns", "market_cap"]), np.arange(30)),
    )
    assert live.adjusted() is live.fields
    admitted = model.admitted(live.close())
    assert list(admitted.fields) == list(live.fields)
    for name, field in live.fields.items():
        np.testing.assert_array_equal(admitted.fields[name][0], field)
    live.tick([4], {"shares": [2.0 * sample.fields["shares"][109, 4]]})
    assert live.adjusted() is not live.fields


def test_a_name_that_was_not_seen_takes_no_part(sample, model):
    day = sample.select(dates=slice(110, 111))
    live = LiveDay(model, day.dates[0])
    empty = live.peek()
    assert empty.share_seen == 0.0
    assert empty.n_obs == 0
    assert np.isnan(empty.scores).all()
    assert np.isnan(empty.specific_returns).all()
    seen = np.arange(0, 30, 2)
    live.tick(seen, row_of(day, seen))
    values = live.peek()
    assert values.share_seen == pytest.approx(values.seen[values.awaited].mean())
    assert 0.3 < values.share_seen < 0.7
    unseen = np.arange(1, 30, 2)
    assert np.isnan(values.exposures[unseen]).all()
    assert np.isnan(values.specific_returns[unseen]).all()
    fewer = sample.select(dates=slice(0, 111))
    for name, field in fewer.fields.items():
        if name not in live.carried and not name.startswith("benchmark"):
            field[110, unseen] = np.nan
    batch = FactorModel().fit(fewer)
    np.testing.assert_array_equal(values.factor_returns, batch.factor_returns_[-1])
    np.testing.assert_array_equal(values.scores, batch.scores_[-1])


def test_fundamentals_stand_and_nothing_of_the_market_does(sample, model):
    live = LiveDay(model, sample.dates[110])
    assert "book" in live.carried
    assert "close" not in live.carried
    np.testing.assert_array_equal(live.fields["book"], sample.fields["book"][109])
    assert np.isnan(live.fields["close"]).all()
    assert np.isnan(live.fields["benchmark_close"]).all()
    np.testing.assert_array_equal(live.categories["sector"], sample.categories["sector"].codes[109])
    live.tick_all({"benchmark_close": 101.0, "rf": 1e-4})
    np.testing.assert_array_equal(live.fields["benchmark_close"], np.full(30, 101.0))
    bare = LiveDay(model, sample.dates[110], carried=())
    assert np.isnan(bare.fields["book"]).all()


def test_the_parts_of_a_portfolios_return_tie_out(sample, model):
    rng = np.random.default_rng(1)
    day = sample.select(dates=slice(110, 111))
    live = LiveDay(model, day.dates[0])
    live.join(["NEW"])
    seen = np.arange(5, 30)
    live.tick(seen, row_of(day, seen))
    live.tick([30], {"returns": [0.02], "market_cap": [1e9]})
    weights = rng.standard_normal((4, 31))
    found, values = live.portfolios(weights), live.peek()
    returns = np.append(day.fields["returns"][0], 0.02)
    returns[:5] = 0.0
    there = np.isfinite(returns)
    np.testing.assert_allclose(found.total, weights[:, there] @ returns[there], rtol=1e-12)
    parts = found.factor.sum(axis=1) + found.specific + found.unexplained
    np.testing.assert_allclose(parts, found.total, atol=1e-15)
    np.testing.assert_allclose(found.unexplained, weights[:, 30] * 0.02)
    awaited = np.isfinite(model.exposures()).all(axis=1)
    late = np.abs(weights[:, :30][:, ~values.seen[:30]]).sum(axis=1)
    np.testing.assert_allclose(found.unseen_weight, late)
    known = awaited & values.seen[:30]
    X, f = model.exposures()[known], values.factor_returns
    np.testing.assert_allclose(found.factor, (weights[:, :30][:, known] @ X) * f, atol=1e-15)
    np.testing.assert_allclose(
        found.specific, weights[:, :30][:, known] @ values.specific_returns[:30][known], atol=1e-12
    )
    covariance, variance = model.factor_covariance_, model.specific_variance_
    b = weights[:, :30][:, awaited] @ model.exposures()[awaited]
    risk = np.sqrt(np.einsum("pk,kj,pj->p", b, covariance, b) + weights[:, :30][:, awaited] ** 2 @ variance[awaited])
    np.testing.assert_allclose(found.risk_before, risk, rtol=1e-10)
    np.testing.assert_allclose(found.exposures_before, b, atol=1e-12)
    assert (found.unknown_weight >= found.unknown_weight_before).all()


def test_a_model_without_risk_gives_returns_and_no_risk(sample):
    model = FactorModel().set_panel(sample.select(dates=slice(0, 80))).estimate_style_scores().estimate_factor_returns()
    live = LiveDay(model, sample.dates[80])
    live.tick(np.arange(30), row_of(sample.select(dates=slice(80, 81)), np.arange(30)))
    assert np.isnan(live.portfolios(np.ones(30) / 30).risk).all()


def test_bad_ticks_and_days_are_refused_by_name_and_change_nothing(sample, model):
    with pytest.raises(FactorError, match="does not come after"):
        LiveDay(model, sample.dates[109])
    with pytest.raises(StageError):
        LiveDay(FactorModel().set_panel(sample), sample.dates[119] + np.timedelta64(1, "D"))
    live = LiveDay(model, sample.dates[110])
    for columns, values, match in (
        ([30], {"returns": [0.1]}, "columns"),
        ([-1], {"returns": [0.1]}, "columns"),
        ([1], {"returns": [0.1, 0.2]}, "returns"),
        ([1], {"close": [10.0], "returns": [-1.5]}, "returns"),
        ([1], {"close": [np.inf]}, "close"),
        ([1], {"market_cap": [-1.0]}, "market_cap"),
    ):
        with pytest.raises(FactorError, match=match):
            live.tick(columns, values)
    assert np.isnan(live.fields["close"]).all()
    with pytest.raises(FactorError, match="the row has no XXX"):
        live.columns(["XXX"])
    live.tick([1], {"nothing_of_the_model": [1.0]})


@pytest.mark.parametrize(("kind", "of_caps", "rtol"), [("equal", np.isfinite, 1e-12), ("sqrt_cap", np.sqrt, 0.01)])
def test_the_share_of_weight_is_that_of_the_regression_at_the_last_close(kind, of_caps, rtol):
    panel = market()
    chosen = ModelSettings(regression=RegressionSettings(weights=kind))
    model = FactorModel(chosen).fit(panel.select(dates=slice(0, 40)))
    day = panel.select(dates=slice(40, 41))
    live = LiveDay(model, day.dates[0])
    assert live.share_of_weight == 0.0
    # The model smooths caps over days, so that its own are near the panel's and not the same.
    weights = np.where(model.estimation_universe_[-1], of_caps(model.panel_.fields["market_cap"][-1]), 0.0)
    some = np.flatnonzero(np.isfinite(day.fields["returns"][0]))[::3]
    some = some[some < len(weights)]
    live.tick(some, row_of(day, some))
    expected = weights[some].sum() / np.nansum(weights)
    np.testing.assert_allclose(live.share_of_weight, expected, rtol=rtol)
    assert 0.1 < expected < 0.9


def test_a_day_behind_a_split_that_only_the_shares_told_of_is_taken_as_it_is_traded():
    """Prices of the day are those of the new shares, and so is the close that they are compared with."""
    panel = sample_market(n_assets=30, n_days=90).panel
    fields = {name: values.copy() for name, values in panel.fields.items()}
    for name in ("shares", "volume"):
        fields[name][70:, 3] *= 3.0
    for name in ("open", "high", "low", "close", "vwap"):
        fields[name][70:, 3] /= 3.0
    raw = Panel(panel.dates, panel.symbols, fields, panel.categories)
    model = FactorModel().fit(raw.select(dates=slice(0, 89)))
    assert model.panel_.fields["close"][-1, 3] == pytest.approx(3.0 * raw.fields["close"][88, 3])
    day = raw.select(dates=slice(89, 90))
    row = LiveRow.after(model.door_.unsplit(model.panel_.last(1)), day.dates[0])
    row.take(raw.symbols, {"price": day.fields["close"][0]})
    columns, changed = row.changed()
    returns = dict(zip(np.array(raw.symbols)[columns], changed["returns"], strict=True))
    assert returns["S0003"] == pytest.approx(raw.fields["close"][89, 3] / raw.fields["close"][88, 3] - 1.0)
    live = LiveDay(model, day.dates[0])
    assert live.fields["shares"][3] == pytest.approx(raw.fields["shares"][88, 3])
    live.tick(np.arange(30), row_of(day, np.arange(30)))
    assert_foretold(live.peek(), model.update(day))


def test_a_book_of_which_no_name_was_seen_has_no_return_and_no_risk(sample, model):
    live = LiveDay(model, sample.dates[110])
    n = sample.n_assets
    live.tick([0, 1], {"returns": [0.01, 0.02], "market_cap": sample.fields["market_cap"][109, :2]})
    weights = np.zeros((3, n))
    weights[0, 5], weights[1, 0], weights[1, 5] = 1.0, 0.5, 0.5
    books = live.portfolios(weights)
    for part in (books.total, books.specific, books.unexplained, books.factor, books.exposures, books.risk):
        assert np.isnan(part[0]).all()
    assert (books.unseen_weight[0], books.unknown_weight[0]) == (1.0, 1.0)
    assert books.total[1] == 0.5 * 0.01  # what was seen of it counts, beside the weight that was not
    assert (books.total[2], books.risk[2]) == (0.0, 0.0)  # of an empty book all is known
    assert np.isfinite(books.exposures_before[0]).all()
