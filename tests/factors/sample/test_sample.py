"""The sample market: deterministic, consistent, and with factors that the model finds."""

from __future__ import annotations

import numpy as np
import pytest

from factors import FactorModel, ModelSettings, sample_market
from factors.errors import SettingsError
from factors.panel.fundamentals import as_of, with_fundamentals


@pytest.fixture(scope="module")
def market():
    return sample_market(60, 300)


def test_the_same_arguments_give_the_same_bytes(market):
    again = sample_market(60, 300)
    for name, values in market.panel.fields.items():
        np.testing.assert_array_equal(values, again.panel.fields[name], err_msg=name)
    assert market.statements.equals(again.statements)
    other = sample_market(60, 300, seed=8)
    assert not np.array_equal(other.truth.factor_returns, market.truth.factor_returns)


def test_prices_volumes_and_caps_are_consistent(market):
    f = market.panel.fields
    known = ~np.isnan(f["close"])
    for upper, lower in (("high", "open"), ("high", "close"), ("high", "vwap"), ("open", "low"), ("vwap", "low")):
        assert (f[upper][known] >= f[lower][known]).all()
    np.testing.assert_allclose(f["market_cap"][known], (f["close"] * f["shares"])[known], rtol=1e-9)
    assert (f["volume"][known] == 0.0).any()
    assert np.nanstd(np.diff(np.log(f["shares"]), axis=0)) > 0.0


def test_returns_are_price_moves_plus_dividends(market):
    f = market.panel.fields
    moves = f["close"][1:] / f["close"][:-1] - 1.0
    dividends = f["returns"][1:] - moves
    known = ~np.isnan(dividends)
    assert dividends[known].min() > -1e-12
    assert 0.001 < (dividends[known] > 1e-9).mean() < 0.05


def test_there_are_late_listings_delistings_suspensions_and_missing_values(market):
    caps, close = market.panel.fields["market_cap"], market.panel.fields["close"]
    listed = ~np.isnan(caps)
    assert (~listed[0]).any()
    assert (~listed[-1]).any()
    assert (listed & np.isnan(close)).any()
    assert (~np.isnan(close[1:]) & ~np.isnan(close[:-1]) & np.isnan(market.panel.fields["returns"][1:])).any()


def test_specific_returns_have_fat_tails_and_the_planted_volatility():
    truth = sample_market(200, 600).truth
    assert np.sqrt((truth.specific_volatility**2).mean()) == pytest.approx(0.02)
    scaled = (truth.specific_returns / truth.specific_volatility).ravel()
    scaled = scaled[~np.isnan(scaled)]
    assert scaled.std() == pytest.approx(1.0, abs=0.05)
    assert (scaled**4).mean() > 4.0


def test_the_model_recovers_the_planted_factor_returns():
    market = sample_market(1000, 520)
    model = FactorModel(ModelSettings(threads=None)).set_panel(market.panel)
    model.estimate_style_scores().estimate_factor_returns()
    found, truth = model.factor_returns_[300:], market.truth.factor_returns[300:]
    for number, name in enumerate(market.truth.factor_names):
        estimate = found[:, model.factor_names_.index(name)]
        least = 0.95 if name == "market" or name in model.sector_names_ else 0.9
        assert np.corrcoef(estimate, truth[:, number])[0, 1] > least, name


def test_fundamentals_are_those_of_the_statements_available_by_the_day(market):
    joined = with_fundamentals(market.panel.select(fields=["market_cap"]), market.statements)
    listed = ~np.isnan(market.panel.fields["market_cap"])
    for name in ("book", "earnings", "sales_q"):
        ours, theirs = joined.fields[name][listed], market.panel.fields[name][listed]
        known = ~np.isnan(theirs)
        np.testing.assert_array_equal(ours[known], theirs[known])


def test_a_statement_counts_from_the_day_it_is_available_and_a_late_one_does_not_displace_a_newer():
    days = np.arange("2024-01-01", "2024-01-08", dtype="datetime64[D]")
    available = np.array([["2024-01-05"], ["2024-01-03"], ["NaT"]], dtype="datetime64[D]")
    values = np.array([[1.0], [2.0], [3.0]])
    daily = as_of(days, available, values)[:, 0]
    np.testing.assert_array_equal(daily, [np.nan, np.nan, 2.0, 2.0, 2.0, 2.0, 2.0])


def test_too_small_a_market_is_refused():
    with pytest.raises(SettingsError):
        sample_market(5)


def test_without_a_quiet_share_every_listed_name_trades_on_every_day_and_the_rest_of_the_draws_is_the_same():
    quiet, busy = sample_market(60, 300, seed=5), sample_market(60, 300, seed=5, quiet_share=0.0)
    assert (quiet.panel.fields["volume"] == 0.0).any()
    assert not (busy.panel.fields["volume"] == 0.0).any()
    np.testing.assert_array_equal(busy.truth.specific_volatility, quiet.truth.specific_volatility)
    with pytest.raises(SettingsError, match="quiet_share"):
        sample_market(60, 300, quiet_share=1.5)
