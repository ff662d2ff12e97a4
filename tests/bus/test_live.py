"""From a tick on market_data.* to the values of a watch on factor.live.*: real nats-server, real actors, no Ray."""

import asyncio
import contextlib
import datetime as dt

import nats
import numpy as np
import orjson
import polars as pl
import pytest
from fixtures_live import actors_over, ticks_of
from fixtures_live import bar_of as bar
from fixtures_nats import ClientDouble, bridge_over, peer_of, until

from bus.market import BUCKET
from clients.nats import NatsEngine
from clients.watch import line
from contracts.errors import EngineError, InvalidInput
from contracts.frames import ARROW_STREAM, encode
from contracts.live_requests import PutWatch
from contracts.operations import Workload
from jobs.replay import made_day, play, recorded_day

KEPT_BACK = 4


@pytest.fixture(scope="module")
def market(live_market):
    return live_market


@pytest.fixture
def client(market, own_store):
    return actors_over(market)


def day_of(market, back):
    """The rows of the day that is so many days before the end."""
    return market.select(dates=market.dates[-back:][:1])


class Subscriber:
    """Everything that came of one watch."""

    def __init__(self):
        self.messages = []

    async def follow(self, nc, watch_id):
        async def take(msg):
            self.messages.append(msg)

        await nc.subscribe(f"factor.live.{watch_id}", cb=take)
        await nc.flush()
        return self

    @property
    def last(self):
        return orjson.loads(self.messages[-1].data)


async def put(nc, **watch):
    reply = await nc.request("ml.factor_features.put_watch", orjson.dumps(watch), timeout=60)
    return orjson.loads(reply.data)


async def shown(nc, watch_id):
    reply = await nc.request("ml.factor_features.get_watch", orjson.dumps({"watch_id": watch_id}), timeout=60)
    return orjson.loads(reply.data)


async def live_status(nc):
    reply = await nc.request("ml.factor_features.live_status", b'{"model_id":"main"}', timeout=30)
    return orjson.loads(reply.data)


async def ready(nc, watch_id):
    async def is_ready():
        return (await shown(nc, watch_id)).get("state") in ("waiting", "live")

    await until(is_ready, "the watch is at work", 60.0)


WATCH = {
    "watch_id": "w",
    "model_id": "main",
    "formulas": {"move": "returns", "place": "rank(ts_mean(returns, 5))"},
    "styles": ["*"],
    "factor_returns": True,
    "portfolios": ["equal"],
    "rate_ms": 0,
}


def test_a_tick_moves_the_values_of_a_watch_and_the_final_bar_is_what_they_said(own_server, client, market):
    day, after = day_of(market, 4), day_of(market, 3)

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            assert (await put(nc, **WATCH))["success"]
            await ready(nc, "w")
            seen = await Subscriber().follow(nc, "w")
            messages = list(ticks_of(day))
            await nc.publish(*messages[0])
            await until(lambda: seen.messages, "the first tick's values came")
            first = seen.last
            assert first["provisional"] is True
            assert 0 < first["seen"] < 0.1
            assert first["date"] == str(day.dates[0])
            assert first["market_time"] == f"{day.dates[0]}T15:00:00.000000Z"
            for message in messages[1:]:
                await nc.publish(*message)
            await until(lambda: seen.last["seen"] == 1.0, "all names were seen")
            await until(lambda: bridge.market.journal.received == len(messages), "all came")
            last = seen.last
            js = nc.jetstream()
            await js.publish("market_data.bar.main", bar(day))
            await until(lambda: bridge.bars.done == 1, "the day is committed", 60.0)
            # the next day goes on from the committed one
            count = len(seen.messages)
            for message in ticks_of(after):
                await nc.publish(*message)
            there = int(np.isfinite(after.fields["returns"][0]).sum())
            await until(
                lambda: len(seen.messages) > count and sum(v is not None for v in seen.last["values"]["move"]) >= there,
                "the next day runs",
            )
            assert seen.last["date"] == str(after.dates[0])
            assert seen.last["model_version"] == 2
            return last, seen

    last, seen = asyncio.run(run())
    store = client.actors[Workload.FACTOR_MODEL_CREATION].store
    version = store.head("main")
    row = version.manifest.n_dates - 1
    assert version.date(row) == day.dates[0]
    # the last provisional values are those of the committed day, bit for bit
    returns = np.asarray(version.day("factor_returns", slice(row, row + 1)))[0]
    errors = np.asarray(version.day("standard_errors", slice(row, row + 1)))[0]
    known = np.isfinite(errors)
    assert 0 < known.sum() < len(known)
    told = np.array([*last["factor_returns"].values()], dtype=float)
    np.testing.assert_array_equal(told, np.where(known, returns, np.nan))  # one without an estimate is told as missing
    scores = np.asarray(version.day_asset("scores", slice(row, row + 1)))[0]
    styles = version.manifest.meta["style_names"]
    for name, values in zip(styles, scores, strict=True):
        told = np.array(last["values"][name], dtype=float)
        np.testing.assert_array_equal(told, values)
    assert last["symbols"] == list(version.symbols)
    assert set(last["portfolios"]["equal"]) >= {"return", "return_by_factor", "exposures", "risk"}
    numbers = [orjson.loads(msg.data)["sequence"] for msg in seen.messages]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_who_comes_later_finds_the_last_value_in_the_bucket_and_a_deleted_watch_is_quiet(own_server, client, market):
    day = day_of(market, 4)

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await put(nc, watch_id="w", model_id="main", formulas={"move": "returns"}, rate_ms=0)
            await ready(nc, "w")
            for message in ticks_of(day):
                await nc.publish(*message)
            js = nc.jetstream()

            async def kept():
                try:
                    return orjson.loads((await js.get_last_msg(f"KV_{BUCKET}", f"$KV.{BUCKET}.w")).data)["seen"] == 1.0
                except nats.js.errors.NotFoundError:
                    return False

            await until(kept, "the last value is kept")
            value = await bridge.watch_value("w", 0, 5.0)
            assert orjson.loads(value["body"])["seen"] == 1.0
            reply = await nc.request("ml.factor_features.delete_watch", b'{"watch_id":"w"}', timeout=30)
            assert orjson.loads(reply.data)["success"]
            sent = bridge.market.values
            for message in ticks_of(day, "16:00:00"):
                await nc.publish(*message)
            await until(lambda: bridge.market.journal.received == 60, "all came")
            await until(lambda: not len(bridge.market.journal), "all was handed on")
            assert bridge.market.values == sent
            gone = await shown(nc, "w")
            assert gone["code"] == "unknown_watch"

    asyncio.run(run())


def test_an_actor_that_died_takes_the_running_day_up_from_the_journal(own_server, client, market):
    day = day_of(market, 4)
    messages = list(ticks_of(day))

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await put(nc, watch_id="w", model_id="main", formulas={"move": "returns"}, rate_ms=0)
            await ready(nc, "w")
            seen = await Subscriber().follow(nc, "w")
            for message in messages[:20]:
                await nc.publish(*message)
            await until(lambda: seen.messages and seen.last["seen"] > 0.6, "twenty names were seen")
            client.away = True
            for message in messages[20:25]:
                await nc.publish(*message)
            fresh = await asyncio.to_thread(actors_over, market, made=False)
            client.actors = fresh.actors
            client.away = False
            await until(lambda: seen.last["seen"] > 0.8, "what was told before and meanwhile is known again", 60.0)
            for message in messages[25:]:
                await nc.publish(*message)
            await until(lambda: seen.last["seen"] == 1.0, "the day goes on")
            assert bridge.market.lost >= 1
            moves = np.array(seen.last["values"]["move"], dtype=float)
            np.testing.assert_array_equal(moves, day.fields["returns"][0])

    asyncio.run(run())


def test_tables_of_ticks_running_bars_and_bad_rows_are_taken_for_what_they_are(own_server, client, market):
    day = day_of(market, 4)
    n = day.n_assets
    symbols = [*day.symbols, "NOBODY"]
    table = pl.DataFrame(
        {
            "symbol": symbols,
            "time": [dt.datetime.fromisoformat(f"{day.dates[0]}T14:00:00")] * (n + 1),
            "returns": [*day.fields["returns"][0], 0.01],
        }
    )

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await put(nc, watch_id="w", model_id="main", formulas={"move": "returns"}, rate_ms=0, encoding="arrow")
            await ready(nc, "w")
            seen = await Subscriber().follow(nc, "w")
            await nc.publish("market_data.ticks", encode(table), headers={"Content-Type": ARROW_STREAM})
            await nc.publish("market_data.tick.X", b"no json")
            await nc.publish("market_data.bar.main", bar(day, final=False))
            await until(lambda: bridge.bars.done == 1, "the running bar commits nothing")
            await until(lambda: len(bridge.market.journal) == 0 and bridge.market.journal.received == 3, "all came")

            async def status():
                reply = await nc.request("ml.factor_features.live_status", b'{"model_id":"main"}', timeout=30)
                return orjson.loads(reply.data)

            async def told():
                rejected = (await status())["rejected"]
                return rejected.get("unknown_symbol") == 1 and rejected.get("unreadable") == 1

            await until(told, "what was not computed with is named")

            async def seen_all():
                return (await status())["seen"] == np.isfinite(day.fields["returns"]).sum()

            await until(seen_all, "the running bar is taken too")
            assert (await status())["committed"] == str(market.dates[-KEPT_BACK - 1])

            def out():
                if not seen.messages:
                    return False
                moves = pl.read_ipc_stream(seen.messages[-1].data)["move"].cast(pl.Float64).to_numpy()
                return np.isfinite(moves).sum() == np.isfinite(day.fields["returns"]).sum()

            await until(out, "the values of all names are out")
            last = pl.read_ipc_stream(seen.messages[-1].data)
            headers = seen.messages[-1].headers
            return last, headers

    last, headers = asyncio.run(run())
    assert last.columns == ["symbol", "move"]
    np.testing.assert_array_equal(last["move"].to_numpy(), day.fields["returns"][0])
    assert headers["factor-provisional"] == "true"
    assert headers["Content-Type"] == ARROW_STREAM


def test_ticks_of_a_committed_day_within_numbered_ones_leave_no_gap(own_server, client, market):
    past, day = day_of(market, 5), day_of(market, 4)

    async def run():
        async with bridge_over(own_server, client), peer_of(own_server) as nc:
            await put(nc, watch_id="w", model_id="main", formulas={"move": "returns"}, rate_ms=0)
            await ready(nc, "w")
            rows = [(day, 0), (past, 1), (day, 1), (past, 2), (past, 3), (day, 2)]
            for number, (of, i) in enumerate(rows, 1):
                subject, body = list(ticks_of(of))[i]
                await nc.publish(subject, orjson.dumps({**orjson.loads(body), "sequence": number, "source": "s"}))

            async def told():
                status = await live_status(nc)
                return status["seen"] == 3 and status["rejected"] == {"committed_day": 3}

            await until(told, "three are of a day that is over, and there is no gap")

    asyncio.run(run())


def test_factor_returns_are_withheld_until_enough_of_the_names_are_there(own_server, client, market):
    day = day_of(market, 4)
    watch = {"watch_id": "w", "model_id": "main", "factor_returns": True, "portfolios": ["equal"], "rate_ms": 0}

    async def run():
        async with bridge_over(own_server, client), peer_of(own_server) as nc:
            rules = {"model_id": "main", "least_seen": 0.6}
            await nc.request("ml.factor_features.follow_market", orjson.dumps(rules), timeout=60)
            await put(nc, **watch)
            await ready(nc, "w")
            seen = await Subscriber().follow(nc, "w")
            messages = list(ticks_of(day))
            for message in messages[:12]:
                await nc.publish(*message)
            await until(lambda: seen.messages and seen.last["seen"] > 0.35, "twelve names were seen")
            few, status = seen.last, await live_status(nc)
            assert seen.messages[-1].headers["factor-withheld"] == few["withheld"] == status["withheld"]
            for message in messages[12:]:
                await nc.publish(*message)
            await until(lambda: seen.last["seen"] == 1.0, "all names were seen")
            return few, seen.last, status

    few, whole, status = asyncio.run(run())
    assert "the returns of the factors are told from 60% of both on" in few["withheld"]
    assert {*few["factor_returns"].values()} == {None}
    assert {*few["values"]["specific_return"]} == {None}
    assert few["market_return"] is None
    book = few["portfolios"]["equal"]
    assert (book["return_by_factor"], book["specific_return"]) == (None, None)
    assert book["return"] != 0.0
    assert book["risk"] > 0.0
    assert status["least_seen"] == 0.6
    assert 0.0 < status["seen_weight"] < 0.6
    assert "withheld" not in whole
    assert sum(isinstance(value, float) for value in whole["factor_returns"].values()) > 15


def test_over_the_line_a_quiet_watch_costs_no_call_and_its_end_is_noticed(
    own_server, client, market, tmp_path, monkeypatch
):
    day = day_of(market, 4)
    messages = list(ticks_of(day))
    library = client.actors[Workload.FACTOR_LIBRARY]
    monkeypatch.setattr("bus.market.IDLE_S", 0.01)  # what a watch would cost without the line
    library.settings = library.settings.model_copy(update={"run_dir": tmp_path})
    library.listen()

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await until(lambda: bridge.market.state == "following", "the journal is read")
            assert bridge.market.lost == 0
            by_ray = client.live_calls
            await put(nc, watch_id="w", model_id="main", formulas={"move": "returns"}, rate_ms=0)
            await ready(nc, "w")
            seen = await Subscriber().follow(nc, "w")
            for message in messages[:10]:
                await nc.publish(*message)
            await until(lambda: seen.messages and seen.last["seen"] > 0.0, "values come")
            await until(lambda: len(bridge.market.journal) == 0, "all is taken")
            assert client.live_calls <= by_ray + 1  # asked where it stands, once more for the new watch

            async def costs_nothing():
                calls = bridge.market.calls
                for _ in range(30):
                    await shown(nc, "w")
                return bridge.market.calls == calls

            async with asyncio.timeout(30):  # the last values may be due once more before it is quiet
                while not await costs_nothing():
                    pass

            library._line.close()
            await until(lambda: bridge.market.lost >= 1 and bridge.market.state == "following", "its end is noticed")
            count = len(seen.messages)
            for message in messages[10:]:
                await nc.publish(*message)
            await until(lambda: len(seen.messages) > count and seen.last["seen"] == 1.0, "Ray carries the calls")

    try:
        asyncio.run(run())
    finally:
        library._line.close()


def test_a_rate_conflates_and_the_newest_is_sent_without_another_tick(own_server, client, market):
    day = day_of(market, 4)

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await put(nc, watch_id="w", model_id="main", formulas={"move": "returns"}, rate_ms=700)
            await ready(nc, "w")
            seen = await Subscriber().follow(nc, "w")
            messages = list(ticks_of(day))
            await nc.publish(*messages[0])
            await until(lambda: seen.messages, "the first goes out at once")
            for message in messages[1:]:
                await nc.publish(*message)
            await until(lambda: seen.last["seen"] == 1.0, "the newest comes when its time has come")
            assert len(seen.messages) == 2
            assert bridge.market.journal.conflated == 0

    asyncio.run(run())


def test_a_watch_that_cannot_be_is_refused_by_name_and_their_number_is_limited(own_server, client, monkeypatch):
    async def run():
        async with bridge_over(own_server, client), peer_of(own_server) as nc:
            wrong = [
                ({"factors": ["nothing"]}, "factors"),
                ({"formulas": {"a": "rank("}}, "formulas"),
                ({"formulas": {"a": "no_such_field"}}, "formulas"),
                ({"styles": ["nothing"]}, "styles"),
                ({"portfolios": ["nothing"]}, "portfolio_id"),
                ({"formulas": {"a": "close"}, "symbols": ["NOBODY"]}, "symbols"),
                ({}, None),
                ({"portfolios": ["equal"], "encoding": "arrow"}, None),
            ]
            for body, field in wrong:
                problem = await put(nc, watch_id="w", model_id="main", **body)
                assert problem["status"] in (400, 404, 422), (body, problem)
                assert field is None or problem["field"].startswith(field), (body, problem)
            desk = client.actors[Workload.FACTOR_LIBRARY].desk
            monkeypatch.setattr(desk.store, "_limit", 1)
            assert (await put(nc, watch_id="a", model_id="main", formulas={"a": "returns"}))["success"]
            full = await put(nc, watch_id="b", model_id="main", formulas={"a": "returns"})
            assert "1 watches are kept" in full["detail"]
            again = await put(nc, watch_id="a", model_id="main", formulas={"a": "close"})
            assert again["success"]

    asyncio.run(run())


def test_who_asks_without_an_actor_is_told(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge:
            await until(lambda: bridge.market.state.startswith("waits"), "it says what it waits for")
            with pytest.raises(EngineError):
                await bridge._client.live(b"")

    asyncio.run(run())


def test_a_played_market_moves_a_typed_clients_values_and_is_named_a_replay(own_server, client):
    async def run():
        async with (
            bridge_over(own_server, client) as bridge,
            NatsEngine.of_run(own_server.run_dir) as engine,
            peer_of(own_server) as nc,
        ):
            watch = PutWatch(watch_id="w", model_id="main", formulas={"move": "returns"}, rate_ms=0)
            store = client.actors[Workload.FACTOR_MODEL_CREATION].store
            day = list(made_day(store, "main", 400, "main", seed=1))
            assert day == list(made_day(store, "main", 400, "main", seed=1))
            values = engine.watch(watch)
            first = asyncio.create_task(anext(values))
            await ready(nc, "w")
            sent = await play(nc, iter(day), speed=100_000)
            assert sent == 400
            got = await asyncio.wait_for(first, 30)
            assert (got.provisional, got.replay) == (True, True)
            while got.seen < 1.0:
                got = await asyncio.wait_for(anext(values), 30)
            assert got.data["replay"] is True
            assert got.date == "2019-04-17"
            await values.aclose()
            # the stopped reader comes back and begins with the present
            await until(lambda: bridge.market.newest["w"][1].headers["factor-seen"] == "1.0", "the newest is known")
            js = nc.jetstream()

            async def kept():
                with contextlib.suppress(nats.js.errors.NotFoundError):
                    held = await js.get_last_msg(f"KV_{BUCKET}", f"$KV.{BUCKET}.w")
                    return (held.headers or {}).get("factor-seen") == "1.0"
                return False

            await until(kept, "the newest is kept")
            again = await asyncio.wait_for(anext(engine.watch("w")), 30)
            assert again.watch_id == "w"
            assert again.seen == 1.0
            assert "move" in line(again)

    asyncio.run(run())


def test_a_recorded_day_is_played_in_its_order_and_one_without_times_is_refused(tmp_path):
    moment = dt.datetime(2019, 4, 17, 15, tzinfo=dt.UTC)
    frame = pl.DataFrame(
        {"symbol": ["B", "A"], "time": [moment + dt.timedelta(seconds=2), moment], "price": [2.0, 1.0]}
    )
    frame.write_parquet(tmp_path / "day.parquet")
    first, second = recorded_day(tmp_path / "day.parquet", "main")
    assert (first.subject, second.subject) == ("market_data.tick.A", "market_data.tick.B")
    assert (first.due_s, second.due_s) == (0.0, 2.0)
    body = orjson.loads(second.body)
    assert (body["price"], body["sequence"], body["source"]) == (2.0, 2, "replay")
    frame.drop("time").write_parquet(tmp_path / "none.parquet")
    with pytest.raises(InvalidInput, match="no column 'time'"):
        list(recorded_day(tmp_path / "none.parquet", "main"))
