"""The live desk by itself: market data in, values out, in one process and without NATS."""

from __future__ import annotations

import time

import numpy as np
import orjson
import pytest
from fixtures_live import COLUMNS, actors_over, bar_of

from contracts import live_requests as lq
from contracts.errors import InvalidInput
from contracts.frames import encode, from_json
from contracts.live_call import MarketData
from contracts.operations import Workload
from contracts.requests import AppendDay
from store.portfolio_store import Holdings, Portfolio


class Desk:
    """The desk of the real actor, fed as the bridge feeds it."""

    def __init__(self, market, writer, library):
        self.market, self.library, self.desk = market, library, library.desk
        self.writer = writer
        self.place = 0
        self.values = {}
        self.told = []

    def put(self, watch_id="w", **watch):
        self.library.put_watch(lq.PutWatch(watch_id=watch_id, model_id="main", rate_ms=0, request_id=watch_id, **watch))
        self.settle()

    def settle(self):
        self.desk._background.submit(lambda: None).result(120)
        answer = self.desk.take(MarketData("s", 0, 0, []))
        self.place = 0
        return answer

    def send(self, *messages):
        first, self.place = self.place + 1, self.place + len(messages)
        answer = self.desk.take(MarketData("s", first, self.place, [*messages]))
        assert answer.again_from is None
        self.values |= {value.watch_id: value for value in answer.values}
        self.told += answer.told
        return answer

    def last(self, watch_id="w"):
        return orjson.loads(self.values[watch_id].body)

    def tick(self, symbol, day=0, at="15:00:00", **row):
        time = f"{self.day(day)}T{at}Z" if isinstance(day, int) else f"{day}T{at}Z"
        return f"market_data.tick.{symbol}", orjson.dumps({"time": time, **row}), None

    def day(self, number):
        return self.market.dates[-4 + number]

    def price(self, symbol, moved=0.01):
        at = self.market.symbols.index(symbol)
        return float(self.market.fields["close"][-5, at]) * (1 + moved)

    def prices(self, symbols, day=0, **more):
        return [self.tick(s, day, price=self.price(s), size=10.0, **more) for s in symbols]

    def commit(self, number):
        """Have a day committed, and the desk stand behind it."""
        self.append(self.market.select(dates=[self.day(number)]).to_frame(names=COLUMNS))

    def append(self, rows):
        self.writer.append_day(AppendDay(model_id="main", feature_data=encode(rows)))
        self.desk.committed("main")
        self.desk._background.submit(lambda: None).result(120)

    def until(self, condition, deadline_s=60.0):
        """Let the desk go on until something holds."""
        end = time.monotonic() + deadline_s
        while not (held := condition()):
            assert time.monotonic() < end
            time.sleep(0.05)
            self.send()
        return held

    def status(self):
        return self.desk.status("main")


@pytest.fixture
def desk(live_market, own_store):
    actors = actors_over(live_market).actors
    made = Desk(live_market, actors[Workload.FACTOR_MODEL_CREATION], actors[Workload.FACTOR_LIBRARY])
    yield made
    made.desk._background.shutdown(wait=True)


@pytest.fixture
def names(live_market):
    """Names with a close on the last committed day."""
    close = live_market.fields["close"][-5]
    cap = live_market.fields["market_cap"][-5]
    return [s for s, c, m in zip(live_market.symbols, close, cap, strict=True) if c > 0 and m > 0]


def test_one_clock_that_is_ahead_does_not_begin_a_day_for_all(desk, names):
    desk.put(formulas={"move": "returns"})
    desk.send(desk.tick(names[0], "2031-01-06", price=desk.price(names[0])))
    desk.send(*desk.prices(names[1:5]))
    assert desk.last()["date"] == str(desk.day(0))
    values = dict(zip(desk.last()["symbols"], desk.last()["values"]["move"], strict=True))
    assert values[names[1]] == pytest.approx(0.01)
    assert values[names[0]] is None
    assert desk.status()["rejected"].get("another_day", 0) == 0


def test_ticks_of_an_earlier_day_are_refused_once_the_day_is_sure(desk, names):
    desk.put(formulas={"move": "returns"})
    desk.send(*desk.prices(names[:2], day=1))
    desk.send(*desk.prices(names[2:3], day=0))
    desk.send(*desk.prices(names[3:4], day=1))
    assert desk.last()["date"] == str(desk.day(1))
    assert desk.status()["rejected"] == {"another_day": 1}
    desk.send(*desk.prices(names[4:5], day=0))
    assert desk.status()["rejected"] == {"another_day": 2}


def test_a_bar_of_another_day_is_not_taken_into_the_day_that_runs(desk, names):
    desk.put(formulas={"move": "returns"})
    desk.send(*desk.prices(names[:4], day=1))
    before = desk.last()["values"]
    rows = desk.market.select(dates=[desk.day(0)])
    desk.send(("market_data.bar.main", bar_of(rows, final=False), None))
    desk.send(*desk.prices(names[:1], day=1))
    assert desk.last()["values"] == before
    assert desk.status()["rejected"] == {"another_day": rows.n_assets}


def test_a_tick_without_a_field_of_the_model_is_named_and_its_number_counts(desk, names):
    desk.put(formulas={"move": "returns"})
    desk.send(*desk.prices(names[:1], sequence=1))
    desk.send(desk.tick(names[1], prcie=5.0, sequence=2))
    desk.send(*desk.prices(names[2:3], sequence=3))
    assert desk.status()["rejected"] == {"unknown_field": 1}


def test_a_sum_that_passes_all_bounds_keeps_its_own_name_out_alone(desk, names):
    desk.put(formulas={"move": "returns"})
    desk.send(*[desk.tick(names[0], price=desk.price(names[0]), size=1.7e308)] * 2, *desk.prices(names[1:3]))
    values = dict(zip(desk.last()["symbols"], desk.last()["values"]["move"], strict=True))
    assert values[names[1]] == pytest.approx(0.01)
    assert values[names[0]] is None
    assert desk.status()["rejected"] == {"not_finite": 1}


def test_what_is_kept_for_the_next_plan_does_not_grow_with_the_ticks(desk, names):
    desk.put(styles=["size"])
    for _ in range(20):
        desk.send(*desk.prices(names[:2]))
    assert desk.desk._models["main"]._changed.nbytes == len(desk.market.symbols)


def test_a_message_that_breaks_its_reader_does_not_lose_those_behind_it(desk, names):
    desk.put(formulas={"move": "returns"})
    bad = [("market_data.tick.x", b"[1]", None), ("market_data.bar.main", b'{"rows": [[5]], "final": false}', None)]
    desk.send(*bad, *desk.prices(names[:2]))
    values = dict(zip(desk.last()["symbols"], desk.last()["values"]["move"], strict=True))
    assert values[names[1]] == pytest.approx(0.01)


def test_two_values_of_one_name_are_refused(desk):
    for wrong in (
        {"formulas": {"size": "returns"}, "styles": ["size"]},
        {"formulas": {"symbol": "returns"}},
        {"formulas": {"specific_return": "returns"}, "factor_returns": True},
    ):
        with pytest.raises(InvalidInput, match="two values"):
            desk.put(**wrong)
    desk.put(factors=["*"], styles=["*"], factor_returns=True)


def test_the_same_style_twice_is_one(desk, names):
    desk.put(styles=["size", "size"], encoding="arrow", only_changed=True, symbols=[names[0], names[1], names[0]])
    desk.send(*desk.prices(names[:2]))
    desk.send(*desk.prices(names[:1]))
    assert desk.status()["reason"] is None
    assert desk.values["w"].sequence >= 1


def test_a_day_ends_by_its_rules_though_nobody_watches_the_model(desk, names):
    desk.library.follow_market(lq.FollowMarket(model_id="main", closes_at="15:00", watermark_s=60.0))
    desk.settle()
    desk.send(*desk.prices(desk.market.symbols[:20], at="15:02:00"))
    assert desk.status()["state"] == "running"
    assert [told.subject for told in desk.told] == ["market_data.close.main"]


def test_the_last_watch_that_ends_does_not_end_the_following_of_the_rules(desk, names):
    desk.put(formulas={"move": "returns"})
    desk.library.follow_market(lq.FollowMarket(model_id="main", closes_at="15:00", watermark_s=60.0))
    desk.library.delete_watch(lq.DeleteWatch(watch_id="w"))
    desk.settle()
    desk.send(*desk.prices(desk.market.symbols[:20], at="15:02:00"))
    assert [told.subject for told in desk.told] == ["market_data.close.main"]
    desk.library.follow_market(lq.FollowMarket(model_id="main"))
    assert desk.status()["state"] == "not watched"


def test_returns_of_the_factors_that_moved_are_told_though_no_name_changed(desk, names):
    desk.library.follow_market(lq.FollowMarket(model_id="main", least_seen=0.0))
    desk.put(factor_returns=True, only_changed=True, symbols=[names[0]])
    desk.send(*desk.prices(names[1:10]))
    first = desk.last()
    desk.send(desk.tick(names[1], price=desk.price(names[1], 0.02)))
    second = desk.last()
    assert second["sequence"] == first["sequence"] + 1
    assert second["market_return"] != first["market_return"]
    assert (first["whole"], second["whole"], second["symbols"]) == (True, False, [])


def test_a_factor_that_no_name_speaks_for_has_no_return(desk, names):
    desk.library.follow_market(lq.FollowMarket(model_id="main", least_seen=0.0))
    desk.put(factor_returns=True)
    desk.send(desk.tick(names[0], price=desk.price(names[0], 0.02)))
    day = desk.desk._models["main"]._day.peek()
    missing = [name for name, e in zip(day.factor_names, day.standard_errors, strict=True) if not np.isfinite(e)]
    assert missing
    assert {desk.last()["factor_returns"][name] for name in missing} == {None}


def test_a_book_that_was_deleted_stops_neither_its_watch_nor_the_others(desk, names):
    books = desk.desk._portfolios
    for name, symbol in (("gone", names[0]), ("stays", names[1])):
        books.put(Portfolio(name, 0, "weights", (Holdings(None, {symbol: 1.0}),)), request_id=name)
    desk.put("a", portfolios=["gone", "stays"])
    books.delete("gone", request_id="end")
    desk.put("b", formulas={"move": "returns"})
    desk.send(*desk.prices(names[:3]))
    assert desk.last("b")["values"]["move"][desk.last("b")["symbols"].index(names[1])] == pytest.approx(0.01)
    told = desk.last("a")["portfolios"]
    assert told["gone"] is None
    assert told["stays"]["return"] == pytest.approx(0.01)
    assert "gone" in desk.desk.page(desk.desk.store.get("a"))["reason"]


def test_what_waited_over_the_end_of_a_day_is_not_taken_again_and_gaps_there_count(desk, names):
    desk.put(formulas={"traded": "volume"})
    desk.send(*desk.prices(names[:3], sequence=1)[:1])
    desk.send(*(desk.prices([name], sequence=n)[0] for n, name in enumerate(names[1:4], 2)))
    early = desk.prices(names[:1], day=1, sequence=5)
    desk.send(*early)
    desk.commit(0)
    desk.send()
    assert desk.last()["date"] == str(desk.day(1))
    desk.send(*early, *desk.prices(names[1:2], day=1, sequence=8))
    values = dict(zip(desk.last()["symbols"], desk.last()["values"]["traded"], strict=True))
    assert (values[names[0]], values[names[1]]) == (10.0, 10.0)
    assert desk.status()["rejected"] == {"duplicate": 1, "gaps": 1, "missed": 2}


def test_the_end_of_a_day_that_names_none_is_counted(desk, names):
    desk.put(formulas={"move": "returns"})
    desk.send(*desk.prices(names[:1]), ("market_data.close.main", b'{"date": "tomorrow"}', "2"))
    assert desk.status()["rejected"] == {"unreadable": 1}


def test_rows_behind_the_end_of_a_day_whose_bar_is_on_its_way_are_a_correction(desk, names):
    desk.library.follow_market(lq.FollowMarket(model_id="main", late_s=0.0))
    desk.put(formulas={"move": "returns"})
    date = str(desk.day(0))
    closed = orjson.dumps({"model_id": "main", "date": date})
    desk.send(*desk.prices(desk.market.symbols[:-1]), ("market_data.close.main", closed, "1"))
    (bar,) = [told for told in desk.told if told.subject == "market_data.bar.main"]
    late = desk.price(names[1], 0.05)
    desk.send(desk.tick(names[1], price=late, size=7.0))
    desk.send(("market_data.bar.main", bar.body, "2"))
    desk.append(from_json(orjson.loads(bar.body)["rows"]))
    (asked,) = desk.until(lambda: [told for told in desk.told if told.subject.endswith(".correct")])
    rows = orjson.loads(asked.body)["feature_data"]
    at = rows["symbol"].index(names[1])
    assert len(rows["symbol"]) == 1
    assert (rows["date"][at][:10], rows["close"][at], rows["volume"][at]) == (date, late, 17.0)
    assert desk.status()["late"]["corrections"] == 1
