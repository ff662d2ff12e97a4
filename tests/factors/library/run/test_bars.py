"""Bars of any length: windows count rows, sums begin anew with the session, and a stream is the batch."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from streamed import FORMULAS, batch, rows, same

from factors.library import FieldsError, FormulaError, compile_library, evaluate
from factors.library.run.clock import Clock, clock_of

MINUTE = np.timedelta64(1, "m")
CALENDAR = {"path", "market_path"}  # their sums begin anew with the month or year


def sessions(n, first="2024-03-28T09:30", length=75):
    """Minute bars of sessions, over the end of a month and a weekend."""
    days = np.busday_offset(np.datetime64(first, "D"), np.arange(-(-n // length)), roll="forward")
    opening = np.datetime64(first, "m") - np.datetime64(first, "D").astype("datetime64[m]")
    stamps = days.astype("datetime64[m]")[:, None] + opening + np.arange(length) * MINUTE
    return stamps.ravel()[:n].astype("datetime64[us]")


@pytest.fixture(scope="module")
def library():
    return compile_library(FORMULAS)


@pytest.fixture
def market(panel_of):
    panel = panel_of(200, 9, seed=5)
    panel.dates = sessions(200)
    return panel


def test_minutes_without_gaps_are_the_same_rows_as_days_to_the_bit(panel_of):
    panel = panel_of(200, 9, seed=8)
    library = compile_library({name: text for name, text in FORMULAS.items() if name not in CALENDAR})
    panel.dates = np.datetime64("2014-12-04") + np.arange(200)
    days = batch(library, panel)
    # the same place in the blocks of 32 bars
    first = np.datetime64("2024-05-06T09:30", "m").astype(int)
    first += (panel.dates[0].astype(int) - first) % 32
    panel.dates = (first + np.arange(200)).astype("datetime64[m]").astype("datetime64[us]")
    minutes = batch(library, panel)
    for name in library.ids:
        same(minutes[name], days[name])


def test_windows_count_rows_across_the_night(market):
    library = compile_library({name: text for name, text in FORMULAS.items() if name not in CALENDAR})
    minutes = batch(library, market)
    market.dates = np.datetime64("2014-12-04") + np.arange(200)
    days = batch(library, market)
    for name in library.ids:
        if (
            "70" in FORMULAS[name] or "66" in FORMULAS[name]
        ):  # long windows lie in other blocks: the sums round otherwise
            np.testing.assert_allclose(minutes[name], days[name], rtol=1e-9, atol=1e-12)
        else:
            same(minutes[name], days[name])


@pytest.mark.parametrize(("block", "threads"), [(7, 1), (32, 2)])
def test_a_stream_of_minutes_is_the_batch_and_a_peek_the_update(library, market, block, threads):
    whole = batch(library, market, block=block, threads=threads)
    stream = library.stream(9, bar=MINUTE)
    for t in range(200):
        foretold = stream.peek(*rows(market, t)).copy()
        result = stream.update(*rows(market, t))
        same(foretold, result)
        for k, name in enumerate(library.ids):
            same(result[k], whole[name][t])
    later = library.stream(9, bar=MINUTE)
    fields = {name: values[:150] for name, values in market.fields.items()}
    later.warm(fields, {name: codes[:150] for name, codes in market.groups.items()}, market.dates[:150])
    other = library.stream(9, bar=MINUTE)
    other.restore(later.state())
    for t in range(150, 200):
        same(other.update(*rows(market, t))[0], whole[library.ids[0]][t])


def test_sums_begin_anew_with_the_session_and_its_month(market):
    library = compile_library(
        {
            "vwap": 'cumsum(close * volume, reset="session") / cumsum(volume, reset="session")',
            "high": 'cummax(high, reset="session")',
            "month": 'cumsum(volume, reset="month")',
            "rows": "sum(volume, 10)",
        }
    )
    found = batch(library, market)
    close, volume, high = (market.fields[name] for name in ("close", "volume", "high"))
    day = market.dates.astype("datetime64[D]")
    for t in (80, 149, 150, 199):
        own = np.flatnonzero((day == day[t]) & (np.arange(200) <= t))
        for j in (4, 7):
            np.testing.assert_allclose(found["vwap"][t, j], (close * volume)[own, j].sum() / volume[own, j].sum())
            assert found["high"][t, j] == high[own, j].max()
            month = np.flatnonzero(
                (day.astype("datetime64[M]") == day[t].astype("datetime64[M]")) & (np.arange(200) <= t)
            )
            np.testing.assert_allclose(found["month"][t, j], volume[month, j].sum())
    assert len(np.unique(day.astype("datetime64[M]"))) == 2
    np.testing.assert_allclose(found["rows"][80, 4], volume[71:81, 4].sum())


def test_of_days_the_session_is_the_row(panel_of):
    panel = panel_of(20, 9)
    found = batch(compile_library({"s": 'cumsum(close, reset="session")'}), panel)
    same(found["s"], panel.fields["close"])


def test_days_written_as_timestamps_are_days(library, panel_of):
    panel = panel_of(90, 9, seed=2)
    whole = batch(library, panel)
    panel.dates = panel.dates.astype("datetime64[us]")
    found = batch(library, panel)
    for name in library.ids:
        same(found[name], whole[name])


def test_the_bar_is_the_shortest_time_between_rows_where_none_is_given():
    stamps = sessions(160)
    assert clock_of(stamps).bar_us == 60_000_000
    assert clock_of(stamps[::5]).bar_us == 300_000_000
    assert clock_of(stamps, np.timedelta64(1, "s")).bar_us == 1_000_000
    assert clock_of(np.array(["2024-01-01", "2024-02-01"], "datetime64[us]")).daily
    assert clock_of(np.array([], "datetime64[us]")).daily


def test_rows_in_one_bar_and_other_clocks_are_refused(library, market):
    stream = library.stream(9, bar=np.timedelta64(5, "m"))
    stream.update(*rows(market, 0))
    with pytest.raises(FieldsError, match="one row a bar"):
        stream.update(*rows(market, 1))
    with pytest.raises(FieldsError, match="one row a bar"):
        stream.peek(*rows(market, 1))
    stream.update(*rows(market, 5))
    with pytest.raises(FieldsError, match="bars of"):
        library.stream(9, bar=MINUTE).restore(stream.state())
    with pytest.raises(FieldsError, match="bars of"):
        library.stream(9).restore(stream.state())
    market.dates[3] = market.dates[2]
    with pytest.raises(FieldsError, match="increase"):
        batch(library, market)
    for bar in (0, -MINUTE, np.timedelta64(2, "D"), "soon"):
        with pytest.raises(FieldsError, match="bar"):
            Clock(bar)
    with pytest.raises(FormulaError, match="session"):
        compile_library({"x": 'cumsum(close, reset="week")'})


def long_table(panel):
    n_dates, n_assets = panel.fields["close"].shape
    names = [f"N{j}" for j in range(n_assets)]
    data = {"time": np.repeat(panel.dates, n_assets), "symbol": names * n_dates}
    data |= {name: panel.fields[name].ravel() for name in ("close", "high", "volume", "returns")}
    table = pl.DataFrame(data).with_columns(sector=pl.Series([f"S{c}" for c in panel.groups["sector"].ravel()]))
    return table.filter(pl.col("close").is_not_nan())


def test_a_table_of_minute_bars_gives_factors(market):
    formulas = {
        "turn": 'cumsum(close * volume, reset="session") / sum(volume, 5)',
        "rel": "indneutralize(rank(returns), sector)",
        "long": "mean(close, 70)",
    }
    table = long_table(market)
    found = evaluate(formulas, table.sample(fraction=1.0, shuffle=True, seed=1), time_col="time")
    assert found.columns == ["time", "symbol", "turn", "rel", "long"]
    assert found.height == table.height
    assert found.schema["time"] == pl.Datetime("us")
    whole = batch(compile_library(formulas), market)
    place = {stamp: t for t, stamp in enumerate(market.dates.tolist())}
    for time, symbol, *values in found.iter_rows():
        t, j = place[time], int(symbol[1:])
        for name, value in zip(formulas, values, strict=True):
            expected = whole[name][t, j]
            assert value == expected or (value is None and np.isnan(expected))
    zoned = evaluate(
        formulas, table.with_columns(pl.col("time").dt.replace_time_zone("America/New_York")), time_col="time"
    )
    assert zoned.equals(found)


def test_a_table_of_days_gives_what_the_library_gives(panel_of):
    panel = panel_of(90, 9, seed=2)
    table = long_table(panel).with_columns(pl.col("time").cast(pl.Date)).rename({"time": "date"})
    found = evaluate(compile_library({"m": "mean(close, 70)"}), table)
    assert found.schema["date"] == pl.Date
    whole = batch(compile_library({"m": "mean(close, 70)"}), panel)["m"]
    last = found.filter(pl.col("date") == dt.date.fromisoformat(str(panel.dates[-1])), pl.col("symbol") == "N5")
    assert last.get_column("m").item() == whole[-1, 5]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop("close"), "no column 'close'"),
        (lambda t: t.drop("symbol"), "no column 'symbol'"),
        (lambda t: t.with_columns(pl.col("close").cast(pl.String)), "expected numbers"),
        (lambda t: t.with_columns(time=pl.lit("2024-01-01")), "expected dates or timestamps"),
        (lambda t: pl.concat([t, t.head(1)]), "more than once"),
        (lambda t: t.with_columns(symbol=pl.lit(None, pl.String)), "missing"),
        (lambda t: t.with_columns(sector=pl.lit(1.5)), "expected labels"),
    ],
)
def test_a_bad_table_is_refused_by_what_is_wrong(market, change, words):
    with pytest.raises(FieldsError, match=words):
        evaluate({"x": "indneutralize(close, sector)"}, change(long_table(market)), time_col="time")
