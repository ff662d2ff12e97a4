"""Statements become daily values: item by item, from the day they are known, until they are too old."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from factors import FactorError, Panel
from factors.errors import WrongTypeError
from factors.panel.fundamentals import with_fundamentals
from factors.panel.intake import Intake

DAYS = np.arange("2020-01-06", "2020-01-18", dtype="datetime64[D]")


@pytest.fixture
def panel():
    return Panel(DAYS, ("A", "B"), {"market_cap": np.ones((len(DAYS), 2))})


def statements(**columns):
    base = {
        "symbol": ["A", "A"],
        "period_end": ["2019-12-31", "2020-01-14"],
        "available_at": ["2020-01-08", "2020-01-15"],
    }
    return pl.DataFrame(base | columns)


def test_an_item_that_a_statement_lacks_stays_what_it_was(panel):
    daily = with_fundamentals(panel, statements(book=[110.0, None], earnings=[None, 7.0])).fields
    book, earnings = daily["book"][:, 0], daily["earnings"][:, 0]
    assert np.isnan(book[:2]).all()
    assert book[2:].tolist() == [110.0] * 10
    assert np.isnan(earnings[:9]).all()
    assert earnings[9:].tolist() == [7.0] * 3
    assert np.isnan(daily["book"][:, 1]).all()


def test_rows_of_a_table_with_available_at_keep_an_item_that_a_later_row_lacks():
    rows = pl.DataFrame({"date": DAYS[:4], "symbol": ["A"] * 4, "asset_returns": [0.0] * 4, "market_cap": [1.0] * 4,
                         "book": [110.0, None, None, 120.0], "close": [1.0, None, 2.0, 3.0],
                         "available_at": DAYS[:4]})  # fmt: skip
    panel = Panel.from_frame(rows)
    assert panel.fields["book"][:, 0].tolist() == [110.0, 110.0, 110.0, 120.0]
    assert np.isnan(panel.fields["close"][1, 0])  # a price is of its day


@pytest.mark.parametrize(
    ("released", "first"),
    [
        ("2020-01-08", 2),
        ("2020-01-08 09:30", 2),
        ("2020-01-08T15:59:59", 2),
        ("2020-01-08T16:00:00", 3),
        ("2020-01-08 23:10", 3),
    ],
)
@pytest.mark.parametrize("typed", [False, True])
def test_a_release_after_the_close_counts_from_the_next_day(panel, released, first, typed):
    table = statements(available_at=[released, "2020-02-01"], book=[1.0, 2.0])
    if typed:
        table = table.with_columns(
            pl.Series("available_at", [dt.datetime.fromisoformat(released), dt.datetime.fromisoformat("2020-02-01")])
        )
    known = np.isfinite(with_fundamentals(panel, table).fields["book"][:, 0])
    assert known.tolist() == [row >= first for row in range(len(DAYS))]
    late = with_fundamentals(panel, table, intake=Intake(after_close=None)).fields["book"][:, 0]
    assert np.isfinite(late).argmax() == 2


MORNING, EVENING = 1_578_476_700, 1_578_501_000
"""Seconds since 1970 at 09:45 and 16:30 on 2020-01-08."""


@pytest.mark.parametrize(
    ("date_format", "morning", "evening"),
    [
        ("%m/%d/%Y %H:%M", "01/08/2020 09:45", "01/08/2020 16:30"),
        ("%m/%d/%Y %I:%M %p", "01/08/2020 09:45 AM", "01/08/2020 04:30 PM"),
        ("%-m/%-d/%Y %-I:%M %p", "1/8/2020 9:45 AM", "1/8/2020 4:30 PM"),
        ("%d.%m.%Y %H.%M", "08.01.2020 09.45", "08.01.2020 16.30"),
        ("%Y%m%d%H%M%S", "20200108094500", "20200108163000"),
        ("%Y%m%d %T", "20200108 09:45:00", "20200108 16:30:00"),
        ("%Y-%m-%d %H:%M %z", "2020-01-08 09:45 -0500", "2020-01-08 16:30 -0500"),
        (None, MORNING * 1000, EVENING * 1000),
        (None, MORNING * 10**9, EVENING * 10**9),
    ],
)
def test_the_hour_of_a_release_is_read_however_it_is_written(panel, date_format, morning, evening):
    """Read as a day alone, what was told after the close would count on the day before it could be known."""
    intake = Intake(date_format=date_format)
    for released, first in ((morning, 2), (evening, 3)):
        table = statements(available_at=[released] * 2, period_end=[dt.date(2019, 12, 31)] * 2, book=[1.0, 1.0])
        categorical = table.with_columns(pl.col("available_at").cast(pl.String).cast(pl.Categorical))
        for at in (table, categorical) if date_format else (table,):
            assert (
                np.isfinite(with_fundamentals(panel, at.head(1), intake=intake).fields["book"][:, 0]).argmax() == first
            )
    rows = {"date": ["2020-01-08"], "symbol": ["A"], "asset_returns": [0.0], "market_cap": [1.0], "book": [1.0]}
    for released, day in ((morning, np.nan), (evening, 18_270.0)):
        frame = pl.DataFrame({**rows, "date": [dt.date(2020, 1, 8)], "available_at": [released]})
        told = Panel.from_frame(frame, intake=intake).fields["available_day"]
        np.testing.assert_array_equal(told, [[day]])


@pytest.mark.parametrize("column", ["symbol", "period_end", "available_at"])
def test_a_statement_that_would_be_left_out_unseen_is_refused(panel, column):
    table = statements(book=[1.0, 2.0])
    table = table.with_columns(pl.Series(column, [table[column][0], None], dtype=pl.String))
    with pytest.raises(FactorError, match=f"has no '{column}'") as caught:
        with_fundamentals(panel, table)
    assert (caught.value.field, caught.value.n_rows) == (column, 1)


def test_a_release_on_a_friday_evening_counts_from_the_next_row():
    days = np.array(["2020-01-09", "2020-01-10", "2020-01-13"], dtype="datetime64[D]")
    panel = Panel(days, ("A",), {"market_cap": np.ones((3, 1))})
    table = statements(available_at=["2020-01-10T17:00:00", "2020-02-01"], book=[1.0, 2.0])
    assert np.isfinite(with_fundamentals(panel, table).fields["book"][:, 0]).tolist() == [False, False, True]


def test_a_statement_counts_for_eighteen_months_after_its_period_unless_told_otherwise():
    days = np.arange("2020-01-01", "2022-01-01", dtype="datetime64[D]")
    panel = Panel(days, ("A",), {"market_cap": np.ones((len(days), 1))})
    table = statements(period_end=["2019-12-31"] * 2, available_at=["2020-01-08"] * 2, book=[1.0, 1.0]).head(1)
    joined = with_fundamentals(panel, table)
    known = days[np.isfinite(joined.fields["book"][:, 0])]
    assert (str(known[0]), str(known[-1])) == ("2020-01-08", "2021-07-01")
    assert [(f.kind, f.rows) for f in joined.findings] == [("statements_too_old", (("2021-07-02", "A"),))]
    for limit, last in ((30, "2020-01-30"), (None, "2021-12-31")):
        known = with_fundamentals(panel, table, intake=Intake(fundamentals_max_age_days=limit)).fields["book"][:, 0]
        assert str(days[np.isfinite(known)][-1]) == last


def test_unmatched_symbols_and_restatements_are_counted(panel):
    table = pl.concat([
        statements(book=[1.0, 2.0]),
        statements(symbol=["A", "ZZ"], available_at=["2020-01-16", "2020-01-17"], book=[1.5, 9.0]),
    ])  # fmt: skip
    joined = with_fundamentals(panel, table)
    assert {f.kind: f.rows for f in joined.findings} == {
        "statements_unmatched": (("2020-01-17", "ZZ"),),
        "statements_restated": (("2020-01-16", "A"),),
    }
    same = statements(symbol=["A", "A"], available_at=["2020-01-08", "2020-01-16"], book=[1.0, 1.0])
    assert with_fundamentals(panel, same.with_columns(period_end=pl.lit("2019-12-31"))).findings == ()


def test_text_in_an_item_of_known_meaning_and_other_date_formats(panel):
    with pytest.raises(WrongTypeError, match="'NA'") as caught:
        with_fundamentals(panel, statements(book=["1.5", "NA"]))
    assert caught.value.rows == (("2020-01-15", "A"),)
    table = statements(book=["1.5", "NA"], period_end=["31/12/2019"] * 2, available_at=["08/01/2020", "15/01/2020"])
    with pytest.raises(FactorError, match="date_format"):
        with_fundamentals(panel, table)
    daily = with_fundamentals(panel, table, intake=Intake(date_format="%d/%m/%Y", na_values=("NA",))).fields["book"]
    assert daily[2:, 0].tolist() == [1.5] * 10


@pytest.mark.parametrize("column", ["available_at", "period_end"])
def test_a_column_of_dates_that_cannot_be_read_is_named_by_its_own_name(panel, column):
    with pytest.raises(FactorError, match=f"column '{column}' holds '08/01/2020'") as caught:
        with_fundamentals(panel, statements(**{column: ["08/01/2020", "2020-02-01"], "book": [1.0, 2.0]}))
    assert caught.value.field == column
    rows = {"date": ["2020-01-08"], "symbol": ["A"], "asset_returns": [0.0], "market_cap": [1.0], "book": [1.0]}
    with pytest.raises(FactorError, match="column 'known' holds the number 7") as caught:
        Panel.from_frame(pl.DataFrame({**rows, "known": [7]}), available_at_col="known")
    assert caught.value.field == "known"
