"""Market data as it comes: what cannot be read is counted, and takes nothing along that stands behind it."""

from __future__ import annotations

import datetime as dt

import numpy as np
import orjson
import polars as pl
import pytest

from actors.live.messages import Unread, read
from contracts.frames import ARROW_STREAM, encode

TICK, TICKS = "market_data.tick.A", "market_data.ticks"
GOOD = (TICK, b'{"price": 1.5}', None)


def table(**columns):
    return TICKS, encode(pl.DataFrame(columns)), ARROW_STREAM


@pytest.mark.parametrize(
    "body",
    [
        b"[1, 2]", b"5", b"null", b'"x"', b"{}", b'{"price": true}', b'{"price": [1]}',
        b'{"price": 1, "sequence": true}',
        b'{"price": 1, "sequence": -1}', b'{"price": 1, "sequence": 18446744073709551615}',
        b'{"price": 1, "time": true}', b'{"price": 1, "time": -5}', b'{"price": 1, "time": 1e30}',
        b'{"price": 1, "time": 99999999999999999999}', b'{"price": 1, "time": "0001-01-01T00:00:00"}',
        b'{"price": 1, "symbol": 5}',
    ],
)  # fmt: skip
def test_a_tick_that_cannot_be_read_is_counted_and_the_next_one_is_taken(body):
    unread = Unread()
    (block,) = read([(TICK, body, None), GOOD], unread)
    assert (block.symbols, block.values, dict(unread.counts)) == (["A"], {"price": [1.5]}, {"unreadable": 1})


@pytest.mark.parametrize(
    "message",
    [
        table(x=[1]), table(symbol=["A"]), table(symbol=["A"], price=["abc"]), table(symbol=["A"], price=[True]),
        table(symbol=["A"], price=[[1.0]]), table(symbol=["A"], price=[1.0], time=[float("nan")]),
        table(symbol=["A"], price=[1.0], time=[dt.time(9)]), table(symbol=["A"], price=[1.0], time=[-7]),
        table(symbol=["A"], price=[1.0], sequence=["x"]), table(symbol=["A"], price=[1.0], sequence=[1.5]),
        table(symbol=["A", "B"], price=[1.0, 2.0], sequence=[1, None]),
        (TICKS, b"xx", ARROW_STREAM), ("market_data.close.m", b"[1]", "5"), ("market_data.bar.m", b"7", None),
    ],
)  # fmt: skip
def test_a_table_or_end_that_cannot_be_read_is_counted_and_the_next_tick_is_taken(message):
    unread = Unread()
    (block,) = read([message, GOOD], unread)
    assert (block.values, dict(unread.counts)) == ({"price": [1.5]}, {"unreadable": 1})


def test_rows_of_a_table_go_to_the_market_and_the_source_that_each_names():
    message = table(
        symbol=["A", "B", "C", "D"], price=[1.0, 2.0, 3.0, 4.0], market=["x", "y", None, "x"],
        source=["s", "s", None, "s"], sequence=[4, 9, 1, 5],
    )  # fmt: skip
    found = {(b.market, b.source): b for b in read([message], Unread())}
    assert {pair: b.symbols for pair, b in found.items()} == {
        ("x", "s"): ["A", "D"], ("y", "s"): ["B"], ("main", ""): ["C"],
    }  # fmt: skip
    np.testing.assert_array_equal(found["x", "s"].values["price"], [1.0, 4.0])
    np.testing.assert_array_equal(found["x", "s"].numbers, [4, 5])
    assert found["y", "s"].numbers == 9


def test_one_number_on_all_rows_is_the_tables_and_others_are_each_rows_own():
    (one,) = read([table(symbol=["A", "B"], price=[1.0, 2.0], sequence=[3, 3])], Unread())
    (own,) = read([table(symbol=["A", "B"], price=[1.0, 2.0], sequence=[3, 4])], Unread())
    assert one.numbers == 3
    np.testing.assert_array_equal(own.numbers, [3, 4])


def test_dates_are_times_at_midnight():
    (block,) = read([table(symbol=["A"], price=[1.0], time=[dt.date(2024, 3, 5)])], Unread())
    text = orjson.dumps({"price": 1.0, "time": "2024-03-05"})
    (tick,) = read([(TICK, text, None)], Unread())
    assert [*block.times_us] == tick.times_us
