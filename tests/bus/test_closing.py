"""The end of the running day without a bar of the feed, and rows that come after it: nothing lost, nothing twice."""

import asyncio

import numpy as np
import orjson
import pytest
from fixtures_live import COLUMNS, actors_over, bar_of, ticks_of
from fixtures_nats import bridge_over, peer_of, stored_in, until

from bus.streams import EVENTS, MARKET_DATA
from contracts import requests as rq
from contracts.frames import encode
from contracts.operations import Workload

KEPT_BACK = 4
RULES = {"model_id": "main", "closes_at": "20:00", "late_s": 0.2}


@pytest.fixture(scope="module")
def market(live_market):
    return live_market


@pytest.fixture
def client(market, own_store):
    return actors_over(market, keep=KEPT_BACK)


def day_of(market, back):
    return market.select(dates=market.dates[-back:][:1])


async def ask(nc, name, **body):
    reply = await nc.request(f"ml.factor_features.{name}", orjson.dumps(body), timeout=60)
    return orjson.loads(reply.data)


async def begin(nc, **rules):
    assert (await ask(nc, "follow_market", **{**RULES, **rules}))["success"]
    assert (await ask(nc, "put_watch", watch_id="w", model_id="main", factors=["barra_rstr"], rate_ms=0))["success"]
    await at_work(nc)


async def at_work(nc):
    async def is_ready():
        return (await ask(nc, "get_watch", watch_id="w"))["state"] in ("waiting", "live")

    await until(is_ready, "the watch is at work", 60.0)


async def status(nc):
    return await ask(nc, "live_status", model_id="main")


def head(client):
    return client.actors[Workload.FACTOR_MODEL_CREATION].store.head("main")


def last_row(version, name):
    row = version.manifest.n_dates - 1
    return np.asarray(version.day_asset(f"fields/{name}", slice(row, row + 1)))[0]


def trade(symbol, date, at, price, size, **more):
    body = {"symbol": symbol, "price": float(price), "size": size, "time": f"{date}T{at}Z", **more}
    return f"market_data.tick.{symbol}", orjson.dumps(body)


async def with_nothing_in_memory(own_server, client, market, late):
    """Begin with fresh actors: what the journal tells again changes nothing, and another late row does."""
    fresh = await asyncio.to_thread(actors_over, market, made=False)
    client.actors = fresh.actors
    async with bridge_over(own_server, client), peer_of(own_server) as nc:
        await at_work(nc)

        async def settled():
            said = (await status(nc))["late"]
            return said["rows"] == 2 and said["waiting"] == 0

        await until(settled, "the journal was read again", 60.0)
        said = await status(nc)
        await nc.publish(*late)
        await until(lambda: head(client).manifest.version == 4, "another late row is another version", 60.0)
        return said


def test_a_day_of_which_every_active_name_was_seen_after_the_close_commits_itself_once(own_server, client, market):
    day = day_of(market, 4)
    messages, after = list(ticks_of(day)), list(ticks_of(day, "20:00:00"))

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await begin(nc)
            for message in [*messages, *after[:-1]]:
                await nc.publish(*message)
            there = len(messages) + len(after) - 1
            await until(lambda: bridge.market.journal.received == there and not len(bridge.market.journal), "all came")

            async def runs():  # what left the journal is with the actor for a moment
                return (await status(nc))["date"] == str(day.dates[0])

            await until(runs, "the day runs")
            assert bridge.market.told == 0
            await nc.publish(*after[-1])
            await until(lambda: head(client).manifest.version == 2, "the day committed itself", 60.0)
            await until(lambda: bridge.bars.done == 1, "its bar is done")
            told = await stored_in(nc, MARKET_DATA)
            ends = [orjson.loads(m.data) for m in told if m.subject == "market_data.close.main"]
            assert ends == [{"model_id": "main", "date": str(day.dates[0]), "why": "seen"}]
            assert (await status(nc))["committed"] == str(day.dates[0])
            return await stored_in(nc, EVENTS)

    events = asyncio.run(run())
    ids = [event.headers["ce-id"] for event in events]
    assert len(ids) == len(set(ids))
    kinds = [event.headers["ce-type"] for event in events]
    assert kinds == ["FACTOR_MODEL_UPDATED", "FACTOR_LIBRARY_UPDATED_VALUES", "FACTOR_LIBRARY_UPDATED"]
    # the bytes are those of the same rows appended
    writer = client.actors[Workload.FACTOR_MODEL_CREATION]
    history = market.select(dates=market.dates[:-KEPT_BACK]).to_frame(names=COLUMNS)
    writer.create_model(rq.CreateModel(model_id="twin", feature_data=encode(history)))
    writer.append_day(rq.AppendDay(model_id="twin", feature_data=encode(day.to_frame(names=COLUMNS))))
    ours, theirs = head(client), writer.store.head("twin")
    row = slice(ours.manifest.n_dates - 1, ours.manifest.n_dates)
    assert ours.dates[-1] == theirs.dates[-1]
    np.testing.assert_array_equal(ours.day("factor_returns", row), theirs.day("factor_returns", row))
    np.testing.assert_array_equal(ours.day_asset("scores", row), theirs.day_asset("scores", row))


def test_a_watermark_commits_what_is_there_and_late_rows_become_one_correction(own_server, client, market):
    day, after = day_of(market, 4), day_of(market, 3)
    date, messages = str(day.dates[0]), list(ticks_of(day))
    names = [s for s in day.symbols if np.isfinite(day.fields["close"][0, day.symbols.index(s)])]

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await begin(nc, watermark_s=600, late_s=3.0)  # long enough for three messages on a busy machine
            for message in messages[:-1]:
                await nc.publish(*message)
            for message in list(ticks_of(day, "20:09:59"))[:-1]:
                await nc.publish(*message)
            past = list(ticks_of(day, "20:10:00"))[:3]
            for message in past[:2]:
                await nc.publish(*message)
            there = 2 * len(messages)
            await until(lambda: bridge.market.journal.received == there and not len(bridge.market.journal), "all came")
            assert bridge.market.told == 0, "two clocks end no day"
            await nc.publish(*past[2])
            await until(lambda: bridge.bars.done == 1, "the day committed itself", 60.0)
            first = head(client)
            missing = np.isnan(last_row(first, "close"))[first.symbols.index(day.symbols[-1])]
            # the next day runs, and rows of the committed one come late: one of a name that was there, one that was not
            for message in list(ticks_of(after))[:10]:
                await nc.publish(*message)
            x = names[0]
            before = {name: last_row(first, name)[first.symbols.index(x)] for name in ("close", "volume", "returns")}
            late = trade(x, date, "20:11:00", before["close"] * 1.01, 1000.0, sequence=5, source="late")
            await nc.publish(*late)
            await nc.publish(*late)  # its number is known
            await nc.publish(*messages[-1])
            await until(lambda: bridge.durable.done == 1, "one correction is done", 60.0)

            async def settled():
                now = await status(nc)
                return now["date"] == str(after.dates[0]) and now["seen"] >= 9 and now["late"]["waiting"] == 0

            await until(settled, "the next day goes on beside the corrected one", 60.0)
            said = await status(nc)
        return first, before, missing, x, said

    first, before, missing, x, said = asyncio.run(run())
    assert missing, "the bar had no row of the last name"
    version = head(client)
    assert version.manifest.version == 3
    assert version.dates[-1] == first.dates[-1]
    at = version.symbols.index(x)
    assert last_row(version, "close")[at] == before["close"] * 1.01
    assert last_row(version, "volume")[at] == before["volume"] + 1000.0
    np.testing.assert_allclose(last_row(version, "returns")[at], (1 + before["returns"]) * 1.01 - 1, rtol=1e-9)
    last = version.symbols.index(day.symbols[-1])
    assert last_row(version, "close")[last] == day.fields["close"][0, -1]
    assert said["late"]["rows"] >= 2
    assert {x, day.symbols[-1]} <= {*said["late"]["symbols"]}

    late = trade(x, date, "20:12:00", before["close"] * 1.02, 1.0)
    said = asyncio.run(with_nothing_in_memory(own_server, client, market, late))
    assert said["late"]["corrections"] == 0
    assert last_row(head(client), "volume")[at] == before["volume"] + 1001.0


def test_rows_after_a_final_bar_of_the_feed_correct_it_too(own_server, client, market):
    day = day_of(market, 4)

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await begin(nc)
            for message in list(ticks_of(day)):
                await nc.publish(*message)
            await nc.jetstream().publish("market_data.bar.main", bar_of(day, final=True))
            await until(lambda: bridge.bars.done == 1, "the bar is done", 60.0)
            x, close = day.symbols[0], day.fields["close"][0, 0]
            await nc.publish(*trade(x, str(day.dates[0]), "20:30:00", close * 1.02, 10.0))
            await nc.publish(*trade(x, str(day_of(market, 5).dates[0]), "20:30:00", close * 1.03, 10.0))
            await until(lambda: bridge.durable.done == 1, "the correction is done", 60.0)
            assert last_row(head(client), "close")[0] == close * 1.02

            async def refused():
                return (await status(nc))["rejected"].get("committed_day") == 1

            await until(refused, "the row of a day before is refused")
            assert bridge.bars.rejected == 0

    asyncio.run(run())
    assert head(client).manifest.version == 3
