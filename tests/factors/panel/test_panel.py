"""Long frames into panels and back."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from factors import FactorError, Panel
from factors.errors import (
    DuplicateRowError,
    EmptyFrameError,
    MissingColumnError,
    NegativeCapError,
    NonFiniteError,
    UnknownDateError,
    UnknownSymbolError,
    WrongTypeError,
)

DAYS = [dt.date(2024, 1, 2), dt.date(2024, 1, 3)]


def frame(**columns):
    base = {
        "date": [DAYS[1], DAYS[0], DAYS[0], DAYS[1]],
        "symbol": ["B", "A", "B", "A"],
        "asset_returns": [0.04, 0.01, None, 0.03],
        "market_cap": [40.0, 10.0, 20.0, 30.0],
        "sector": ["Energy", "Tech", None, "Tech"],
    }
    return pl.DataFrame(base | columns)


def test_an_unsorted_frame_becomes_sorted_wide_arrays():
    panel = Panel.from_frame(frame())
    assert panel.symbols == ("A", "B")
    assert panel.dates.tolist() == DAYS
    np.testing.assert_array_equal(panel.fields["returns"], [[0.01, np.nan], [0.03, 0.04]])
    np.testing.assert_array_equal(panel.fields["market_cap"], [[10.0, 20.0], [30.0, 40.0]])


def test_a_null_sector_is_the_sector_unknown():
    sector = Panel.from_frame(frame()).categories["sector"]
    assert sector.names == ("Energy", "Tech", "Unknown")
    assert sector.codes.tolist() == [[1, 2], [1, 0]]


def test_one_hot_sectors_and_labels_give_the_same_codes():
    hot = frame().drop("sector").with_columns(Tech=pl.Series([0, 1, 0, 1]), Energy=pl.Series([1, 0, 0, 0]))
    sector = Panel.from_frame(hot, sector_encodings=["Tech", "Energy"]).categories["sector"]
    assert sector.names == ("Energy", "Tech", "Unknown")
    assert sector.codes.tolist() == [[1, 2], [1, 0]]


def test_two_sectors_at_once_are_refused_with_the_row():
    hot = frame().drop("sector").with_columns(Tech=pl.Series([1, 1, 0, 1]), Energy=pl.Series([1, 0, 0, 0]))
    with pytest.raises(FactorError, match="at most one 1") as caught:
        Panel.from_frame(hot, sector_encodings=["Tech", "Energy"])
    assert caught.value.rows == (("2024-01-03", "B"),)


def test_to_frame_gives_back_what_came_in():
    panel = Panel.from_frame(frame(sector=["Energy", "Tech", "Tech", "Tech"]))
    expected = frame(sector=["Energy", "Tech", "Tech", "Tech"]).sort("date", "symbol")
    assert_frame_equal(panel.to_frame().select(expected.columns), expected)


@pytest.mark.parametrize(
    ("change", "error", "field", "rows"),
    [
        ({"asset_returns": [0.1, float("inf"), 0.0, 0.0]}, NonFiniteError, "asset_returns", (("2024-01-02", "A"),)),
        ({"asset_returns": [0.1, -1.5, 0.0, 0.0]}, NonFiniteError, "asset_returns", (("2024-01-02", "A"),)),
        ({"market_cap": [1.0, 1.0, -2.0, 1.0]}, NegativeCapError, "market_cap", (("2024-01-02", "B"),)),
        ({"market_cap": [1.0, 1.0, float("inf"), 1.0]}, NonFiniteError, "market_cap", (("2024-01-02", "B"),)),
        ({"symbol": ["B", "A", "A", "C"]}, DuplicateRowError, "symbol", (("2024-01-02", "A"),)),
        ({"asset_returns": ["a", "b", "c", "d"]}, WrongTypeError, "asset_returns", ()),
        ({"market_cap": [[1.0], [1.0], [1.0], [1.0]]}, WrongTypeError, "market_cap", ()),
        ({"symbol": [1, 2, 3, 4]}, WrongTypeError, "symbol", ()),
        ({"symbol": ["B", "A", None, "C"]}, FactorError, "symbol", (("2024-01-02", "None"),)),
        ({"date": ["2024-01-02", "2024-01-03", "soon", "2024-01-04"]}, FactorError, "date", ()),
        ({"date": [1, 2, 3, 4]}, WrongTypeError, "date", ()),
    ],
)
def test_bad_rows_are_refused_by_column_and_row(change, error, field, rows):
    with pytest.raises(error) as caught:
        Panel.from_frame(frame(**change))
    assert caught.value.field == field
    assert caught.value.rows == rows


@pytest.mark.parametrize("column", ["date", "symbol", "asset_returns", "market_cap"])
def test_a_missing_column_is_named(column):
    with pytest.raises(MissingColumnError) as caught:
        Panel.from_frame(frame().drop(column))
    assert caught.value.field == column


def test_an_empty_frame_and_what_is_no_frame_are_refused():
    with pytest.raises(EmptyFrameError):
        Panel.from_frame(frame().clear())
    with pytest.raises(WrongTypeError):
        Panel.from_frame({"date": []})


def test_mixed_time_zones_are_refused_and_one_zone_gives_its_day():
    mixed = ["2024-01-02T00:00:00+00:00", "2024-01-03T00:00:00+05:00", "2024-01-02T00:00:00+00:00", "2024-01-04"]
    with pytest.raises(FactorError, match="mixes the time zones"):
        Panel.from_frame(frame(date=mixed))
    zoned = frame().with_columns(pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York"))
    assert Panel.from_frame(zoned).dates.tolist() == DAYS


def test_infinite_ratios_and_all_null_columns_are_missing():
    panel = Panel.from_frame(frame(book_price=[1.0, float("inf"), 2.0, 3.0], sales_price=[None] * 4))
    assert np.isnan(panel.fields["book_price"][0, 0])
    assert np.isnan(panel.fields["sales_price"]).all()


def test_float32_and_integers_are_read_as_float64():
    panel = Panel.from_frame(
        frame().with_columns(pl.col("asset_returns").cast(pl.Float32), volume=pl.Series([1, 2, 3, 4]))
    )
    assert panel.fields["returns"].dtype == np.float64
    assert panel.fields["volume"].tolist() == [[2.0, 3.0], [4.0, 1.0]]


def test_fundamentals_count_from_the_day_they_are_available():
    rows = pl.DataFrame(
        {
            "date": [dt.date(2024, 1, day) for day in (1, 2, 3, 4)],
            "symbol": ["A"] * 4,
            "asset_returns": [0.1, 0.2, 0.3, 0.4],
            "market_cap": [1.0, 2.0, 3.0, 4.0],
            "book": [10.0, 20.0, 30.0, 40.0],
            "available_at": [None, dt.date(2024, 1, 4), dt.date(2024, 1, 3), dt.date(2024, 2, 1)],
        }
    )
    panel = Panel.from_frame(rows)
    assert panel.fields["book"][:, 0].tolist() == [10.0, 10.0, 30.0, 30.0]
    assert panel.fields["market_cap"][:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_concat_appends_new_symbols_and_categories_at_the_end():
    later = frame(date=[dt.date(2024, 1, 4)] * 4, symbol=["B", "A0", "B2", "A"], sector=["Air", "Tech", "Tech", "Tech"])
    whole = Panel.concat([Panel.from_frame(frame()), Panel.from_frame(later)])
    assert whole.symbols == ("A", "B", "A0", "B2")
    assert whole.categories["sector"].names == ("Energy", "Tech", "Unknown", "Air")
    np.testing.assert_array_equal(whole.fields["market_cap"][2], [30.0, 40.0, 10.0, 20.0])
    assert np.isnan(whole.fields["market_cap"][:2, 2:]).all()
    assert whole.categories["sector"].codes[2].tolist() == [1, 3, 1, 1]


def test_concat_refuses_days_that_do_not_come_after():
    panel = Panel.from_frame(frame())
    with pytest.raises(FactorError, match="does not come after"):
        Panel.concat([panel, panel])


def test_select_and_last_give_parts_and_name_what_is_not_there():
    panel = Panel.from_frame(frame())
    assert panel.last(1).dates.tolist() == DAYS[1:]
    part = panel.select(dates=["2024-01-03"], symbols=["B"])
    assert part.fields["returns"].tolist() == [[0.04]]
    with pytest.raises(UnknownDateError, match="2024-02-01"):
        panel.select(dates=["2024-02-01"])
    with pytest.raises(UnknownSymbolError, match="'Z'"):
        panel.select(symbols=["Z"])
