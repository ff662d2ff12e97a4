"""Raw prices with their actions are the adjusted prices, in the panel, the styles and every factor of the library."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from whole_catalogue import whole_catalogue

from factors import FactorError, FactorModel, ModelSettings, sample_market
from factors.library.compile.compiler import compile_library
from factors.library.definitions.fields import computable, library_fields
from factors.panel.actions import COUNTS, PRICES
from factors.panel.door import Door
from factors.panel.intake import Intake

SPLITS = {"S0003": [(40, 2.0), (200, 1.5), (1700, 3.0)], "S0011": [(120, 0.1), (900, 2.0)], "S0020": [(299, 20.0)],
          "S0031": [(60, 7.0)]}  # fmt: skip
PAID = {"S0003": [(90, 0.01), (190, 0.02)], "S0020": [(299, 0.05)], "S0042": [(33, 0.004), (99, 0.3), (1400, 0.02)]}
"""Rows, and dividends as shares of the close."""


@pytest.fixture(scope="module")
def given():
    return sample_market(60, 300).panel


def rows_found(model):
    return {finding.kind: finding.rows for finding in model.quality_.findings}


def raw_and_adjusted(panel, dividends=True):
    """A panel of raw prices with its actions, and the same market adjusted by hand, name by name and day by day."""
    shape = panel.shape
    split, cash = np.full(shape, np.nan), np.full(shape, np.nan)
    price, share = np.ones(shape), np.ones(shape)
    raw = {name: values.copy() for name, values in panel.fields.items()}
    for column, symbol in enumerate(panel.symbols):
        ratios, paid = dict(SPLITS.get(symbol, [])), dict(PAID.get(symbol, [])) if dividends else {}
        p = s = 1.0
        for row in range(shape[0]):
            if row in ratios:
                split[row, column] = ratios[row]
                p, s = p * ratios[row], s * ratios[row]
            price[row, column] = p
            share[row, column] = s
            if row in paid:
                p *= 1.0 + paid[row]
                price[row, column] = p
    # What the sample has is split-adjusted: raw prices are lower by the splits so far.
    for name in PRICES:
        raw[name] = panel.fields[name] / share
    for name in COUNTS:
        raw[name] = panel.fields[name] * share
    for symbol, days in PAID.items() if dividends else ():
        for row, part in (day for day in days if day[0] < shape[0]):
            column = panel.symbols.index(symbol)
            cash[row, column] = part * raw["close"][row, column]
    full = {name: raw[name] * price for name in PRICES} | {name: raw[name] / share for name in COUNTS}
    adjusted = panel.with_fields(**full, amount=raw["vwap"] * raw["volume"])
    return panel.with_fields(**{n: raw[n] for n in (*PRICES, *COUNTS)}, split_ratio=split, dividend=cash), adjusted


def library_values(panel):
    held, entries = library_fields(panel), whole_catalogue().entries
    ids, _ = computable(compile_library(entries), held.available)
    library = compile_library({name: entries[name] for name in ids})
    return library.run(held.fields, groups=held.groups, dates=panel.dates)


def test_every_factor_of_raw_prices_with_actions_is_that_of_the_adjusted_prices():
    """On so many days that each has values: the longest looks back on seven years."""
    raw, adjusted = raw_and_adjusted(sample_market(44, 1900).panel)
    taken, _ = Door(Intake()).take(raw)
    one, other = library_values(taken), library_values(adjusted)
    assert one.keys() == other.keys() == whole_catalogue().entries.keys()  # every one of the catalogue
    assert [name for name, values in other.items() if np.isfinite(values).any(axis=1).sum() < 20] == []
    apart = {name: np.abs(one[name] - values) / (1e-3 + np.abs(values)) for name, values in other.items()}
    apart = {name: float(np.nan_to_num(values).max()) for name, values in apart.items()}
    assert {name: value for name, value in apart.items() if value > 1e-9} == {}
    for name, values in other.items():
        np.testing.assert_array_equal(np.isnan(one[name]), np.isnan(values), err_msg=name)
    first = slice(0, 300)
    naive = library_values(raw.select(dates=first))
    moved = [name for name, values in naive.items() if not np.allclose(other[name][first], values, equal_nan=True)]
    assert len(moved) > 300  # the splits matter to them


def test_raw_prices_and_actions_become_the_adjusted_prices_and_the_raw_ones_stay(given):
    raw, adjusted = raw_and_adjusted(given)
    taken, _ = Door(Intake()).take(raw)
    for name in (*PRICES, *COUNTS, "amount"):
        np.testing.assert_allclose(taken.fields[name], adjusted.fields[name], rtol=1e-12, err_msg=name)
    for name in (*PRICES, *COUNTS):
        np.testing.assert_array_equal(taken.fields[f"raw_{name}"], raw.fields[name])
    again, _ = Door(Intake()).take(taken)
    for name, values in taken.fields.items():
        np.testing.assert_array_equal(again.fields[name], values, err_msg=name)


@pytest.mark.parametrize("how", ["actions", "splits", "from_returns"])
@pytest.mark.parametrize("names", [("high", "low", "close"), ("close", "vwap"), ("close", "vwap", "amount", "shares")])
def test_days_are_given_back_as_they_came_without_what_was_made_of_them(given, how, names):
    """Else a corrected volume would leave the amount that was made of the wrong one, or move one that was given."""
    raw, _ = raw_and_adjusted(given)
    raw = raw.with_fields(amount=raw.fields["vwap"] * raw.fields["volume"])
    raw = raw.with_fields(shares=raw.fields["market_cap"] / raw.fields["close"])  # given, and what would be made
    kept = ("returns", "market_cap", "volume", "split_ratio", *names)
    raw = replace(raw, fields={name: raw.fields[name] for name in kept})
    taken, door = Door(Intake(adjust=how)).take(raw.select(dates=slice(0, 290)))
    door = Door.restored(door.intake, door.state())
    more, door = door.take(raw.select(dates=slice(290, None)))
    assert "amount" in more.fields
    for days, part in ((taken, slice(0, 290)), (more, slice(290, None))):
        back = door.as_it_came(days)
        assert back.fields.keys() == raw.fields.keys()
        for name, values in raw.fields.items():
            np.testing.assert_array_equal(back.fields[name], values[part], err_msg=name)


def test_with_splits_alone_dividends_stay_in_the_prices(given):
    raw, adjusted = raw_and_adjusted(given, dividends=False)
    full, _ = raw_and_adjusted(given)
    for panel in (raw, full):
        taken, _ = Door(Intake(adjust="splits")).take(panel)
        np.testing.assert_allclose(taken.fields["close"], adjusted.fields["close"], rtol=1e-12)
    untouched, _ = Door(Intake(adjust="none")).take(raw)
    assert untouched is raw


@pytest.mark.parametrize("how", ["actions", "from_returns"])
def test_day_by_day_adjusts_to_the_bits_of_a_batch_on_the_days_of_splits_too(given, how):
    raw, _ = raw_and_adjusted(given)
    raw.fields["close"][90:92, given.symbols.index("S0003")] = np.nan  # no close on the ex-date and the day after
    batch, _ = Door(Intake(adjust=how)).take(raw)
    part, door = Door(Intake(adjust=how)).take(raw.select(dates=slice(0, 30)))
    for row in range(30, 300):
        day, door = door.take(raw.select(dates=slice(row, row + 1)))
        for name, values in day.fields.items():
            np.testing.assert_array_equal(values[0], batch.fields[name][row], err_msg=f"{name} {row}")
    assert part.n_dates == 30


def test_a_model_of_raw_prices_is_that_of_the_adjusted_ones_and_the_day_of_a_split_is_one_update(given):
    raw, adjusted = raw_and_adjusted(given)
    one, other = FactorModel().fit(raw.select(dates=slice(0, 299))), FactorModel().fit(adjusted)
    one.update(raw.last(1))
    for name in ("scores_", "factor_returns_", "specific_variance_"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-12, err_msg=name)
    assert not {"split_unadjusted", "cap_is_not_close_times_shares"} & rows_found(one).keys()


def test_from_returns_rebuilds_prices_whose_moves_are_the_total_returns(given):
    rebuilt, _ = Door(Intake(adjust="from_returns")).take(given)
    close, returns = rebuilt.fields["close"], given.fields["returns"]
    there = np.isfinite(close[1:]) & np.isfinite(close[:-1]) & np.isfinite(returns[1:])
    np.testing.assert_allclose((close[1:] / close[:-1] - 1.0)[there], returns[1:][there], atol=1e-12)
    np.testing.assert_array_equal(rebuilt.fields["raw_close"], given.fields["close"])
    for name in ("open", "high", "low", "vwap"):
        np.testing.assert_allclose(
            rebuilt.fields[name] / rebuilt.fields["close"], given.fields[name] / given.fields["close"], rtol=1e-12
        )


@pytest.mark.parametrize("prices_are_raw", [False, True])
def test_shares_that_jump_in_a_split_without_a_column_for_it_change_no_style(given, prices_are_raw):
    long = sample_market(40, 900).panel
    at, row, ratio = long.symbols.index("S0005"), 700, 20.0
    fields = {name: values.copy() for name, values in long.fields.items()}
    fields["shares"][row:, at] *= ratio
    if prices_are_raw:
        fields["volume"][row:, at] *= ratio
        for name in PRICES:
            fields[name][row:, at] /= ratio
    jumped = long.with_fields(**fields)
    clean, model = FactorModel().fit(long), FactorModel().fit(jumped)
    growth = clean.style_names_.index("growth")
    assert np.isfinite(clean.scores_[-1, growth, at])
    np.testing.assert_allclose(model.scores_, clean.scores_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.panel_.fields["close"], long.fields["close"], rtol=1e-12)
    day = (str(long.dates[row]), "S0005")
    assert rows_found(model)["split_inferred"] == (day,)
    assert "split_unadjusted" not in rows_found(model)
    grown = FactorModel().fit(jumped.select(dates=slice(0, row)))
    grown.update(jumped.select(dates=slice(row, row + 1))).update(jumped.select(dates=slice(row + 1, None)))
    np.testing.assert_array_equal(grown.scores_, model.scores_)
    # Without it the split is growth.
    naive = FactorModel(ModelSettings(intake=Intake(adjust="none"))).fit(jumped)
    assert abs(naive.scores_[-1, growth, at] - clean.scores_[-1, growth, at]) > 0.5


@pytest.mark.parametrize(
    ("name", "value"), [("split_ratio", 0.0), ("split_ratio", -2.0), ("dividend", -1.0), ("adjustment_factor", 0.0)]
)
def test_an_impossible_action_is_refused_with_its_row(given, name, value):
    values = np.full(given.shape, np.nan)
    values[7, 3] = value
    with pytest.raises(FactorError, match=name) as caught:
        FactorModel().fit(given.with_fields(**{name: values}))
    assert caught.value.rows == ((str(given.dates[7]), given.symbols[3]),)


def test_a_cumulative_factor_multiplies_the_prices(given):
    factor = np.full(given.shape, np.nan)
    factor[50:, 4] = 3.0
    taken, _ = Door(Intake()).take(given.with_fields(adjustment_factor=factor))
    np.testing.assert_array_equal(taken.fields["close"][50:, 4], given.fields["close"][50:, 4] * 3.0)
    np.testing.assert_array_equal(taken.fields["volume"][50:, 4], given.fields["volume"][50:, 4] / 3.0)
    np.testing.assert_array_equal(taken.fields["close"][:50], given.fields["close"][:50])
