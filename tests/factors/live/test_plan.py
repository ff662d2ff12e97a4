"""The factors of several watches in one plan: a peek is the update to come, on a model's panel with its proxies."""

from __future__ import annotations

import numpy as np
import pytest

from factors import Panel, sample_market
from factors.library import FieldsError, compile_library, parse
from factors.library.definitions.fields import library_fields
from factors.library.definitions.scores import cross_section
from factors.live import FORMS, LiveFactors, in_form
from factors.panel.panel import Categories

FORMULAS = {
    "drift": "mean(close, 5) / close - 1",
    "place": "rank(ts_rank(volume, 8)) - zscore(returns)",
    "beta": "reg_slope(returns, benchmark_return, 40)",
    "gap": "benchmark_open / benchmark_close + ema(amount / shares, 6)",
    "odd": "indneutralize(vwap, subindustry) + sum(book, 70)",
    "size": parse("log(market_cap)"),
}


@pytest.fixture(scope="module")
def whole():
    """A panel without vwap, shares, book, benchmark or finer groups: the proxies stand for them."""
    panel = sample_market(24, 130, seed=9).panel
    kept = ("open", "high", "low", "close", "volume", "market_cap", "returns", "book_price")
    return Panel(
        panel.dates,
        panel.symbols,
        {name: np.array(panel.fields[name]) for name in kept},
        {"sector": panel.categories["sector"]},
    )


def row(panel, t):
    return (
        {name: values[t].copy() for name, values in panel.fields.items()},
        {name: category.codes[t].copy() for name, category in panel.categories.items()},
        panel.dates[t],
    )


def batch(panel):
    fields = library_fields(panel)
    found = compile_library(FORMULAS).run(fields.fields, groups=fields.groups, dates=panel.dates)
    return np.stack([found[name][-1] for name in FORMULAS])


def test_peeks_with_and_without_changes_foretell_the_update_and_batch(whole):
    rng = np.random.default_rng(0)
    live = LiveFactors(FORMULAS, whole.select(dates=slice(0, 100)))
    assert live.ids == tuple(FORMULAS)
    np.testing.assert_array_equal(live.final(), batch(whole.select(dates=slice(0, 100))))
    for t in range(100, 112):
        fields, codes, date = row(whole, t)
        now = {name: values * np.exp(rng.standard_normal(24) * 0.02) for name, values in fields.items()}
        live.peek(now, codes, date)
        for part in np.array_split(rng.permutation(24), 4):
            for name, values in now.items():
                values[part] = fields[name][part]
            found = live.peek(now, codes, date, part).copy()
            np.testing.assert_array_equal(found, live.peek(now, codes, date))
        np.testing.assert_array_equal(found, batch(whole.select(dates=slice(0, t + 1))))
        np.testing.assert_array_equal(found, live.update(fields, codes, date))
        np.testing.assert_array_equal(found, live.final())
        assert live.date == date


def test_a_benchmark_that_the_panel_has_moves_all_names_when_one_ticks(whole):
    given = library_fields(whole).fields["benchmark_close"]
    panel = Panel(whole.dates, whole.symbols, {**whole.fields, "benchmark_close": given}, whole.categories)
    formulas = {
        "a": "close / benchmark_close",
        "b": "corr(returns, delta(benchmark_close, 1), 9)",
        "c": "delta(close, 2)",
    }
    early = panel.select(dates=slice(0, 120))
    live, twin = LiveFactors(formulas, early), LiveFactors(formulas, early)
    fields, codes, date = row(panel, 120)
    live.peek(fields, codes, date)
    moved = {name: np.array(values) for name, values in fields.items()}
    moved["benchmark_close"] *= 1.01
    moved["close"][5] *= 1.02
    found = live.peek(moved, codes, date, np.array([5]))
    np.testing.assert_array_equal(found, twin.peek(moved, codes, date))


def test_names_that_join_are_followed_as_in_batch(whole):
    early = whole.select(dates=slice(0, 100), symbols=whole.symbols[:20])
    live = LiveFactors(FORMULAS, early)
    live.grow(whole.symbols)
    for t in range(100, 110):
        fields, codes, date = row(whole, t)
        found = live.peek(fields, codes, date).copy()
        np.testing.assert_array_equal(found, live.update(fields, codes, date))
    joined = Panel.concat([early, whole.select(dates=slice(100, 110))])
    np.testing.assert_array_equal(found, batch(joined))
    with pytest.raises(ValueError, match="only added"):
        live.grow(whole.symbols[1:])


def test_the_start_needs_no_more_history_than_the_longest_look_back(whole):
    formulas = {name: FORMULAS[name] for name in ("drift", "beta", "odd")}
    level = float(library_fields(whole).fields["benchmark_close"][-80, 0])
    short, long = LiveFactors(formulas, whole.last(80), benchmark_level=level), LiveFactors(formulas, whole)
    np.testing.assert_array_equal(short.final(), long.final())


def test_what_the_panel_cannot_compute_is_named(whole):
    live = LiveFactors({"a": "close / open", "b": "ebit / sales_q"}, whole)
    assert live.ids == ("a",)
    assert "ebit" in live.missing["b"]
    assert live.needs == ("open", "close")
    with pytest.raises(FieldsError, match="open"):
        live.peek({"close": whole.fields["close"][-1]}, {}, whole.dates[-1] + np.timedelta64(1, "D"))
    np.testing.assert_array_equal(live.rows_of(["a"]), [0])


def test_a_plan_of_which_nothing_can_be_computed_is_empty_and_no_error(whole):
    live = LiveFactors({"b": "ebit / sales_q"}, whole)
    assert (live.ids, live.needs, live.n_factors) == ((), (), 0)
    fields, codes, date = row(whole, 129)
    assert live.peek(fields, codes, date + np.timedelta64(1, "D"), np.array([2])).shape == (0, 24)
    assert live.update(fields, codes, date + np.timedelta64(1, "D")).shape == (0, 24)
    live.grow((*whole.symbols, "NEW"))
    assert live.final().shape == (0, 25)
    live.close()


def test_forms_are_those_of_the_cross_section():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((5, 40)) ** 3
    values[1, :10], values[2], values[3] = np.nan, np.nan, 7.0
    values[4] = np.round(values[4])
    values[0, 3] = np.inf
    forms = cross_section(values)
    np.testing.assert_array_equal(in_form(values, "raw"), values)
    np.testing.assert_array_equal(in_form(values, "rank"), forms.rank)
    np.testing.assert_array_equal(in_form(values, "zscore"), forms.zscore)
    assert in_form(values[:0], "rank").shape == (0, 40)
    assert FORMS == ("raw", "rank", "zscore")
    with pytest.raises(ValueError, match="form is"):
        in_form(values, "best")  # type: ignore[arg-type]


def test_categories_that_the_panel_has_are_read_and_a_missing_one_is_named(whole):
    codes = whole.categories["sector"].codes
    panel = Panel(
        whole.dates, whole.symbols, whole.fields, {"industry": Categories(codes, whole.categories["sector"].names)}
    )
    live = LiveFactors({"n": "indneutralize(close, industry)"}, panel)
    assert live.categories == ("industry",)
    with pytest.raises(FieldsError, match="industry"):
        live.peek({"close": whole.fields["close"][-1]}, {}, whole.dates[-1] + np.timedelta64(1, "D"))
