"""Ticks of several kinds on one name: what one says stands beside what another said before."""

from __future__ import annotations

import numpy as np
import pytest

from factors.live import LiveRow
from factors.live.row_kernel import KINDS

DAY = 1_700_000_000_000_000 // 86_400_000_000 * 86_400_000_000


@pytest.fixture
def row():
    return LiveRow(("A", "B"), np.datetime64(DAY, "us"), np.array([10.0, 20.0]), np.array([1e9, 2e9]))


def kinds(codes):
    return [KINDS[code] for code in codes]


def test_trades_after_a_bar_do_not_stand_for_the_value_that_the_bar_did_not_tell(row):
    row.take(["A"], {"close": [10.0], "volume": [1000.0]})
    row.take(["A"], {"price": [10.2], "size": [10.0]})
    found = row.values()
    assert found["volume"][0] == 1010.0
    assert np.isnan(found["vwap"][0])  # not 10.2 * 10 / 1010


def test_trades_after_a_bar_without_volume_keep_their_value(row):
    row.take(["A"], {"price": [10.0], "size": [10.0]})
    row.take(["A"], {"close": [10.1]})
    row.take(["A"], {"price": [10.2], "size": [10.0]})
    assert row.values()["vwap"][0] == pytest.approx(10.1)


def test_trades_after_a_bar_of_no_volume_are_all_of_the_day(row):
    row.take(["A"], {"close": [10.0], "volume": [0.0]})
    row.take(["A"], {"price": [10.2], "size": [10.0]})
    assert row.values()["vwap"][0] == pytest.approx(10.2)


def test_the_range_holds_a_close_that_comes_by_itself(row):
    row.take(["A"], {"price": [10.0], "size": [1.0]})
    assert kinds(row.take(["A"], {"close": [10.5]})) == ["taken"]
    assert kinds(row.take(["A"], {"close": [9.7]})) == ["taken"]
    found = row.values()
    assert (found["low"][0], found["close"][0], found["high"][0]) == (9.7, 9.7, 10.5)


def test_a_split_and_a_dividend_in_a_tick_count_as_those_that_are_told_otherwise(row):
    twin = LiveRow(("A", "B"), np.datetime64(DAY, "us"), np.array([10.0, 20.0]), np.array([1e9, 2e9]))
    twin.act("A", split_ratio=2.0)
    twin.act("B", dividend=1.0)
    for each in (row, twin):
        if each is row:
            assert kinds(row.take(["A"], {"split_ratio": [2.0]})) == ["taken"]
            assert kinds(row.take(["B"], {"price": [19.4], "dividend": [1.0]})) == ["taken"]
        else:
            twin.take(["B"], {"price": [19.4]})
        assert kinds(each.take(["A"], {"price": [5.05]})) == ["taken"]
    for name in ("returns", "market_cap"):
        np.testing.assert_array_equal(row.values()[name], twin.values()[name])
    np.testing.assert_allclose(row.values()["returns"], [0.01, 0.02])


@pytest.mark.parametrize(
    ("values", "more", "kind"),
    [
        ({"price": [10.0], "split_ratio": [0.0]}, {}, "not_positive"),
        ({"price": [10.0], "dividend": [-1.0]}, {}, "not_positive"),
        ({"price": [-10.0], "split_ratio": [2.0]}, {}, "not_positive"),
        ({"price": [5.0], "split_ratio": [2.0]}, {"time_us": DAY - 5}, "another_day"),
    ],
)
def test_an_action_of_a_tick_that_is_refused_is_not_counted_with(row, values, more, kind):
    assert kinds(row.take(["A"], values, **more)) == [kind]
    row.take(["A"], {"price": [10.1]})
    assert row.values()["returns"][0] == pytest.approx(0.01)
    assert np.isnan(row.values()["split_ratio"][0])


def test_numbers_go_on_over_the_end_of_a_day(row):
    row.take(["A"], {"price": [10.0]}, sequence=7)
    row.take(["A"], {"price": [10.0]}, sequence=9)
    after = LiveRow(("A", "B"), np.datetime64(DAY, "us") + np.timedelta64(1, "D"), np.array([10.0, 20.0]))
    after.follow(row)
    assert kinds(after.take(["A"], {"price": [10.1], "size": [1.0]}, sequence=9)) == ["duplicate"]
    assert kinds(after.take(["A"], {"price": [10.1], "size": [1.0]}, sequence=8)) == ["late"]
    assert kinds(after.take(["A"], {"price": [10.1], "size": [1.0]}, sequence=12)) == ["taken"]
    assert (after.rejections.gaps, after.values()["volume"][0]) == (1, 1.0)
