"""What late rows change of a day that was closed."""

from __future__ import annotations

import numpy as np
import pytest

from factors import Panel
from factors.live import ClosedRow
from factors.live.row_kernel import KINDS

SYMBOLS = ("A", "B", "C")
DATES = np.array(["2024-03-04", "2024-03-05"], "datetime64[D]")
NOON = int(np.datetime64("2024-03-05T12:00", "us").astype(np.int64))
FIELDS = {
    "returns": [[0.0, 0.0, 0.0], [0.05, -0.02, np.nan]],
    "market_cap": [[100.0, 200.0, 300.0], [105.0, 196.0, np.nan]],
    "close": [[10.0, 20.0, 30.0], [10.5, 19.6, np.nan]],
    "high": [[10.0, 20.0, 30.0], [10.6, 20.0, np.nan]],
    "low": [[10.0, 20.0, 30.0], [9.9, 19.5, np.nan]],
    "volume": [[1.0, 1.0, 1.0], [500.0, 40.0, np.nan]],
    "book_price": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]],
}


@pytest.fixture
def panel():
    return Panel(DATES, SYMBOLS, {name: np.array(values) for name, values in FIELDS.items()}, {})


@pytest.fixture
def closed(panel):
    return ClosedRow(SYMBOLS, panel.select(dates=DATES[1:]), panel.select(dates=DATES[:1]))


def committed(panel):
    return {name: values[1] for name, values in panel.fields.items()}


def test_a_closed_day_differs_from_itself_in_nothing(closed, panel):
    columns, fields = closed.differing(committed(panel))
    assert (len(columns), fields) == (0, {})


def test_a_late_trade_moves_what_follows_from_it_and_nothing_else(closed, panel):
    codes = closed.take(["A"], {"price": [10.8], "size": [100.0]}, time_us=NOON)
    assert KINDS[codes[0]] == "taken"
    columns, fields = closed.differing(committed(panel))
    assert columns.tolist() == [0]
    assert fields.keys() == {"returns", "market_cap", "close", "high", "volume"}
    np.testing.assert_allclose([fields[name][0] for name in ("returns", "market_cap", "close", "high", "volume")],
                               [0.08, 108.0, 10.8, 10.8, 600.0], rtol=1e-12)  # fmt: skip


def test_the_first_trade_of_a_name_that_was_not_in_the_bar_stands_beside_the_close_before(closed, panel):
    closed.take(["C", "B"], {"price": [33.0, 19.6], "size": [10.0, np.nan]}, time_us=NOON)
    columns, fields = closed.differing(committed(panel))
    assert columns.tolist() == [2]
    np.testing.assert_allclose([fields[name][0] for name in ("returns", "market_cap", "close", "volume")],
                               [0.1, 330.0, 33.0, 10.0], rtol=1e-12)  # fmt: skip


def test_fields_that_come_late_stand_as_given_and_what_did_not_change_stays_as_committed(closed, panel):
    closed.take(["A", "B"], {"returns": [0.06, -0.02], "book_price": [1.0, 2.0]}, time_us=NOON)
    columns, fields = closed.differing(committed(panel))
    assert columns.tolist() == [0, 1]
    assert {name: values.tolist() for name, values in fields.items()} == {
        "returns": [0.06, -0.02],
        "book_price": [1.0, 2.0],
    }
    after = committed(panel) | {"returns": np.array([0.06, -0.02, np.nan]), "book_price": np.array([1.0, 2.0, 1.0])}
    assert len(closed.differing(after)[0]) == 0


def test_late_rows_are_judged_like_all_others(closed, panel):
    absurd = closed.take(["A", "X", "B"], {"price": [1050.0, 1.0, -1.0]}, time_us=NOON)
    assert [KINDS[code] for code in absurd] == ["unit_change", "unknown_symbol", "not_positive"]
    closed.take(["A"], {"price": [10.8]}, time_us=NOON, sequence=7, source="s")
    again = closed.take(["A"], {"price": [10.9]}, time_us=NOON, sequence=7, source="s")
    older = closed.take(["A"], {"price": [10.9]}, time_us=NOON - 1)
    assert [KINDS[code] for code in (*again, *older)] == ["duplicate", "late"]
    _, fields = closed.differing(committed(panel))
    assert fields["close"].tolist() == [10.8]
