"""What a panel gives the library, with proxies named."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from factors.library import compile_library
from factors.library.definitions.fields import computable, library_fields
from factors.panel.panel import Categories, Panel

REAL_PANEL = Path(__file__).parents[5] / "shared" / "data" / "sp500_2014_2018.parquet"


def panel(*names, categories=("sector",)):
    rng = np.random.default_rng(0)
    shape = (6, 4)
    fields = {name: np.exp(rng.standard_normal(shape) * 0.1) for name in names}
    codes = np.tile(np.array([0, 0, 1, -1], np.int16), (6, 1))
    dates = np.datetime64("2020-01-01", "D") + np.arange(6)
    return Panel(dates, tuple("ABCD"), fields, {name: Categories(codes, ("x", "y")) for name in categories})


def test_fields_that_are_there_are_taken_and_need_no_proxy():
    given = panel("open", "high", "low", "close", "volume", "vwap")
    found = library_fields(given)
    np.testing.assert_array_equal(found.fields["vwap"], given.fields["vwap"])
    assert "vwap" not in found.proxies


def test_proxies_are_made_of_what_is_there_and_named():
    given = panel("high", "low", "close", "volume", "market_cap", "book_price")
    found = library_fields(given)
    f = given.fields
    np.testing.assert_allclose(found.fields["vwap"], (f["high"] + f["low"] + f["close"]) / 3)
    np.testing.assert_allclose(found.fields["shares"], f["market_cap"] / f["close"])
    np.testing.assert_allclose(found.fields["book"], f["book_price"] * f["market_cap"])
    assert set(found.proxies) >= {"vwap", "shares", "book", "amount", "industry", "subindustry"}
    assert "sales" not in found.fields
    assert "book_price" not in found.fields


def test_the_benchmark_proxy_weighs_by_the_caps_of_the_day_before():
    given = panel("returns", "market_cap")
    found = library_fields(given)
    caps, returns = given.fields["market_cap"], given.fields["returns"]
    expected = (caps[2] * returns[3]).sum() / caps[2].sum()
    np.testing.assert_allclose(found.fields["benchmark_return"][3], expected)
    ratio = found.fields["benchmark_close"][3] / found.fields["benchmark_close"][2] - 1.0
    np.testing.assert_allclose(ratio, expected)


def test_what_cannot_be_computed_names_the_fields_that_it_lacks():
    library = compile_library({"a": "close / delay(close, 1)", "b": "earnings / market_cap", "c": "rank(debt)"})
    ids, missing = computable(library, library_fields(panel("close", "market_cap")).available)
    assert ids == ("a",)
    assert missing == {"b": "needs earnings", "c": "needs debt"}


def test_on_the_real_panel_what_computes_what_lacks_and_what_is_a_proxy_are_all_named(catalogue):
    """What `GET /factors/definitions` says of a model of that file."""
    if not REAL_PANEL.exists():
        pytest.skip("the real panel is not beside the project: ../shared/data/sp500_2014_2018.parquet")
    found = library_fields(Panel.from_frame(pl.read_parquet(REAL_PANEL)).last(30))
    index = "index of the panel's names weighted by the caps of the day before"
    assert found.proxies == {
        "vwap": "(high + low + close) / 3",
        "amount": "vwap * volume",
        "shares": "market_cap / close",
        "book": "book_price * market_cap",
        "sales": "sales_price * market_cap",
        "cash_flow": "cf_price * market_cap",
        "benchmark_return": index,
        "benchmark_close": index,
        "benchmark_open": index,
        "subindustry": "industry",
    }
    ids, missing = computable(compile_library(catalogue.entries), found.available)
    assert len(ids) > 500
    assert len(ids) + len(missing) == len(catalogue.entries)
    lacking = {field for reason in missing.values() for field in reason.removeprefix("needs ").split(", ")}
    assert lacking <= {
        "earnings", "earnings_q", "sales_q", "cash_flow_q", "dividends", "assets", "debt", "long_term_debt", "cash",
        "gross_profit", "ebit", "ebitda", "interest", "capex", "rnd",
    }  # fmt: skip


def test_the_proxied_benchmark_goes_on_from_a_level_as_the_whole_history_does():
    given = panel("returns", "market_cap", "open", "close")
    whole = library_fields(given).fields
    late = Panel(given.dates[3:], given.symbols, {k: v[3:] for k, v in given.fields.items()}, {})
    tail = library_fields(late, benchmark_level=whole["benchmark_close"][3, 0]).fields
    for name in ("benchmark_return", "benchmark_close", "benchmark_open"):
        np.testing.assert_array_equal(tail[name][1:], whole[name][4:])
