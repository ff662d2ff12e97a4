"""Ticks to a row: what is taken is in it once, what is not is counted and named."""

from __future__ import annotations

import numpy as np
import pytest

from factors import FactorError, FactorModel, Panel, sample_market
from factors.live import LiveDay, LiveRow
from factors.live.row_kernel import KINDS

SYMBOLS = ("A", "B", "C", "D")
CLOSE = np.array([10.0, 20.0, 50.0, np.nan])
CAP = np.array([1e9, 2e9, np.nan, np.nan])
DAY = 1_700_000_000_000_000 // 86_400_000_000 * 86_400_000_000


@pytest.fixture
def row():
    return LiveRow(SYMBOLS, np.datetime64(DAY, "us"), CLOSE, CAP)


def kinds(codes):
    return [KINDS[code] for code in codes]


def test_trades_make_price_return_cap_range_and_volume(row):
    row.take(["A", "A", "B", "A"], {"price": [10.5, 9.8, 21.0, 10.1], "size": [100, 50, 10, np.nan]})
    found = row.values()
    np.testing.assert_allclose(found["returns"], [0.01, 0.05, np.nan, np.nan])
    np.testing.assert_allclose(found["market_cap"], [1.01e9, 2.1e9, np.nan, np.nan])
    np.testing.assert_array_equal(found["close"], [10.1, 21.0, np.nan, np.nan])
    np.testing.assert_array_equal(found["open"], [10.5, 21.0, np.nan, np.nan])
    np.testing.assert_array_equal(found["high"], [10.5, 21.0, np.nan, np.nan])
    np.testing.assert_array_equal(found["low"], [9.8, 21.0, np.nan, np.nan])
    np.testing.assert_array_equal(found["volume"], [150, 10, np.nan, np.nan])
    np.testing.assert_allclose(found["vwap"][0], (10.5 * 100 + 9.8 * 50) / 150)
    assert row.taken == 4


def test_a_name_without_a_last_close_has_a_price_and_no_return(row):
    row.take(["D", "C"], {"price": [5.0, 51.0]})
    found = row.values()
    assert found["close"][3] == 5.0
    assert np.isnan(found["returns"][3])
    assert found["returns"][2] == pytest.approx(0.02)
    assert np.isnan(found["market_cap"][2])
    assert np.isnan(found["volume"][2])


def test_the_middle_of_a_quote_is_the_price_until_the_name_trades(row):
    row.take(["A"], {"bid": [9.9], "ask": [10.3]})
    assert row.values()["returns"][0] == pytest.approx(0.01)
    assert np.isnan(row.values()["high"][0])
    row.take(["A"], {"price": [10.4]})
    row.take(["A"], {"bid": [10.0], "ask": [10.2]})
    assert row.values()["close"][0] == 10.4


def test_a_running_bar_is_the_day_so_far(row):
    bar = {"open": [10.0], "high": [11.0], "low": [9.5], "close": [10.5], "volume": [1000.0]}
    assert kinds(row.take(["A"], {**bar, "dividends": [0.3]})) == ["taken"]
    assert kinds(row.take(["A"], {**bar, "close": [9.0]})) == ["range_contradicts"]
    assert kinds(row.take(["A"], {**bar, "volume": [900.0]})) == ["late"]
    found = row.values()
    assert (found["close"][0], found["volume"][0], found["dividends"][0]) == (10.5, 1000.0, 0.3)
    assert np.isnan(found["vwap"][0])
    row.take(["A"], {"returns": [0.07], "market_cap": [5e9]})
    assert (row.values()["returns"][0], row.values()["market_cap"][0]) == (0.07, 5e9)


def test_returns_go_over_splits_and_dividends_that_were_told(row):
    row.act("A", split_ratio=2.0)
    row.act("B", dividend=1.0)
    assert kinds(row.take(["A", "B"], {"price": [5.05, 19.4]})) == ["taken", "taken"]
    found = row.values()
    np.testing.assert_allclose(found["returns"][:2], [0.01, 0.02])
    np.testing.assert_allclose(found["market_cap"][:2], [1.01e9, 1.94e9])
    assert (found["split_ratio"][0], found["dividend"][1]) == (2.0, 1.0)
    for wrong in ({"split_ratio": 0.0}, {"dividend": -1.0}, {"split_ratio": np.nan}):
        with pytest.raises(FactorError):
            row.act("A", **wrong)
    with pytest.raises(FactorError, match="no 'Z'"):
        row.act("Z")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"price": [np.nan]}, "not_finite"),
        ({"price": [np.inf]}, "not_finite"),
        ({"price": [0.0]}, "not_positive"),
        ({"price": [-3.0]}, "not_positive"),
        ({"price": [1010.0]}, "unit_change"),
        ({"price": [0.1]}, "unit_change"),
        ({"price": [5.0]}, "split_unadjusted"),
        ({"price": [30.0]}, "split_unadjusted"),
        ({"price": [10.0], "size": [-1.0]}, "negative_volume"),
        ({"price": [10.0], "size": [np.inf]}, "not_finite"),
        ({"bid": [10.2], "ask": [10.1]}, "range_contradicts"),
        ({"bid": [0.0], "ask": [10.1]}, "not_positive"),
        ({"bid": [np.nan], "ask": [10.1]}, "not_finite"),
        ({"bid": [999.0], "ask": [1001.0]}, "unit_change"),
        ({"close": [10.0], "low": [11.0]}, "range_contradicts"),
        ({"high": [10.0], "low": [11.0]}, "range_contradicts"),
        ({"open": [-1.0]}, "not_positive"),
        ({"volume": [-1.0]}, "negative_volume"),
        ({"close": [np.inf]}, "not_finite"),
        ({"close": [1000.0]}, "unit_change"),
        ({"returns": [np.inf]}, "not_finite"),
        ({"returns": [-1.1]}, "not_positive"),
        ({"close": [10.1], "market_cap": [-1.0]}, "not_positive"),
        ({"price": [10.1], "book": [-np.inf]}, "not_finite"),
        ({"bid": [10.1]}, "not_finite"),
    ],
)
def test_absurd_ticks_are_named_counted_and_not_computed_with(row, values, kind):
    row.take(["B"], {"price": [20.2]})
    row.changed()
    before = row.values()
    assert kinds(row.take(["A"], values, sequence=4)) == [kind]
    assert row.rejections.counts == {kind: 1}
    (named,) = row.rejections.last
    assert (named.kind, named.symbol, named.sequence) == (kind, "A", 4)
    for name, field in before.items():
        np.testing.assert_array_equal(row.values()[name], field)
    assert len(row.changed()[0]) == 0


def test_a_fall_that_passes_a_half_step_by_step_is_no_split(row):
    prices = np.geomspace(10.0, 4.0, 40)[1:]
    assert not row.take(["A"] * 39, {"price": prices}).any()
    assert row.values()["returns"][0] == pytest.approx(-0.6)


def test_an_unknown_name_does_not_stop_the_others(row):
    assert kinds(row.take(["X", "A"], {"price": [1.0, 10.1]})) == ["unknown_symbol", "taken"]
    assert row.rejections.counts["unknown_symbol"] == 1


def test_late_ticks_and_those_of_another_day_are_left_out(row):
    assert kinds(row.take(["A", "A", "B"], {"price": [10.1, 10.2, 20.1]}, time_us=[DAY + 5, DAY + 4, DAY + 1])) == [
        "taken", "late", "taken",
    ]  # fmt: skip
    assert kinds(row.take(["A"], {"price": [10.3]}, time_us=DAY - 1)) == ["another_day"]
    assert kinds(row.take(["A"], {"price": [10.3]}, time_us=DAY + 86_400_000_000)) == ["another_day"]
    assert kinds(row.take(["A"], {"price": [10.4]}, time_us=DAY + 5)) == ["taken"]
    assert row.values()["close"][0] == 10.4
    assert row.time_us == DAY + 5


def test_numbers_tell_duplicates_late_messages_and_gaps_source_by_source(row):
    def send(sequence, source=""):
        return kinds(
            row.take(["A"], {"price": [10.0 + sequence / 100], "size": [1.0]}, sequence=sequence, source=source)
        )

    assert send(7) == ["taken"]
    assert send(7) == ["duplicate"]
    assert send(3) == ["duplicate"]
    assert send(11) == ["taken"]
    assert (row.rejections.gaps, row.rejections.missed) == (1, 3)
    assert send(9) == ["late"]
    assert send(9) == ["duplicate"]
    assert row.rejections.missed == 2
    assert send(12) == ["taken"]
    assert send(3, "other") == ["taken"]
    assert row.values()["volume"][0] == 4.0
    assert row.rejections.counts == {"duplicate": 3, "late": 1}


def test_the_memory_of_what_was_not_taken_is_bounded(row):
    for sequence in (1, 10**9):
        row.take(["A"], {"price": [10.1]}, sequence=sequence)
    row.take(["X"] * 500, {"price": np.ones(500)})
    assert row.rejections.missed == 10**9 - 2
    assert len(row.rejections.last) == 100
    assert row.rejections.counts["unknown_symbol"] == 500
    assert sum(map(len, row._missed.values())) <= 10_000


def test_bad_messages_are_refused_whole(row):
    with pytest.raises(FactorError, match="size"):
        row.take(["A"], {"price": [1.0], "size": [1.0, 2.0]}, sequence=1)
    with pytest.raises(FactorError, match="a tick has"):
        row.take(["A"], {}, sequence=1)
    with pytest.raises(FactorError, match="market_cap"):
        LiveRow(SYMBOLS, "2024-01-02", CLOSE, CAP[:2])
    assert kinds(row.take(["A"], {"price": [10.1]}, sequence=1)) == ["taken"]


def test_a_row_after_a_panel_stands_beside_closes_as_they_were_traded():
    panel = sample_market(20, 60, seed=2).panel
    split = np.full(panel.shape, np.nan)
    split[40, 3] = 2.0
    fields = {name: np.array(values) for name, values in panel.fields.items()}
    fields["close"][40:, 3] /= 2.0
    raw = Panel(panel.dates, panel.symbols, {**fields, "split_ratio": split}, panel.categories)
    model = FactorModel().fit(raw)
    assert model.panel_.fields["close"][-1, 3] != fields["close"][-1, 3]
    row = LiveRow.after(model.panel_, panel.dates[-1] + np.timedelta64(1, "D"))
    row.take([panel.symbols[3]], {"price": [fields["close"][-1, 3] * 1.01]})
    found = row.values()
    assert found["returns"][3] == pytest.approx(0.01)
    assert found["market_cap"][3] == pytest.approx(panel.fields["market_cap"][-1, 3] * 1.01)


def test_ticks_of_a_day_give_what_its_bar_gives_to_the_model():
    panel = sample_market(20, 100, seed=2).panel
    rng = np.random.default_rng(0)
    model = FactorModel().fit(panel.select(dates=slice(0, 99)))
    before, day = panel.select(dates=slice(98, 99)), panel.select(dates=slice(99, 100))
    row = LiveRow(panel.symbols, day.dates[0], before.fields["close"][0], before.fields["market_cap"][0])
    live = LiveDay(model, day.dates[0])
    close = day.fields["close"][0]
    for k in rng.permutation(60) % 20:
        row.take([panel.symbols[k]], {"price": [close[k] * (1 + 0.01 * rng.standard_normal())], "size": [10.0]})
        live.tick(*row.changed())
        live.peek()
    row.take(panel.symbols, {"price": close, "size": np.ones(20)})
    columns, values = row.changed()
    np.testing.assert_array_equal(columns, np.flatnonzero(np.isfinite(close)))
    live.tick(columns, values)
    values = live.peek()
    assert values.share_seen > 0.9
    np.testing.assert_array_equal(live.fields["close"][columns], close[columns])
    model.update(live.close())
    np.testing.assert_array_equal(values.factor_returns, model.factor_returns_[-1])


def test_messages_of_one_tick_each_may_come_together_each_under_its_own_number(row):
    codes = row.take(["A", "B"], {"price": [10.1, 20.1]}, sequence=np.array([1, 2]))
    assert kinds(codes) == ["taken", "taken"]
    codes = row.take(["A", "B", "A"], {"price": [10.2, 20.2, 10.3]}, sequence=np.array([3, 3, 6]))
    assert kinds(codes) == ["taken", "duplicate", "taken"]
    assert (row.rejections.gaps, row.rejections.missed) == (1, 2)
    assert row.rejections.last[-1].sequence == 3


def test_ticks_that_are_another_rows_are_numbered_and_nothing_else(row):
    price = {"price": [10.1, 20.1, 10.2]}
    codes = row.take(["A", "B", "A"], price, sequence=np.array([1, 2, 3]), leave=np.array([False, True, False]))
    assert kinds(codes) == ["taken"] * 3
    assert row.taken == 2
    assert np.isnan(row.values()["close"][1])
    codes = row.take(["B", "B"], {"price": [20.2, 20.3]}, sequence=np.array([4, 2]), leave=np.array([False, True]))
    assert kinds(codes) == ["taken", "duplicate"]
    assert (row.rejections.gaps, dict(row.rejections.counts)) == (0, {"duplicate": 1})
