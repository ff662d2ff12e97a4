"""What a watch may ask for, over the real path: everything, forms, changed names only; its cost; its end unheard."""

import asyncio
import contextlib

import numpy as np
import orjson
import polars as pl
import pytest
from fixtures_live import COLUMNS, actors_over, ticks_of
from fixtures_nats import bridge_over, peer_of, until
from nats.errors import Error as NatsError

import bus.market
from clients.nats import NatsEngine
from contracts import requests as rq
from contracts.errors import BodyTooLarge
from contracts.live_call import TOO_LARGE
from contracts.operations import Workload


@pytest.fixture(scope="module")
def market(live_market):
    return live_market


@pytest.fixture
def client(market, own_store):
    return actors_over(market)


@pytest.fixture(scope="module")
def day(market):
    return market.select(dates=market.dates[-4:][:1])


async def ask(nc, name, **body):
    return orjson.loads((await nc.request(f"ml.factor_features.{name}", orjson.dumps(body), timeout=60)).data)


async def at_work(nc, watch_id):
    async def said():
        return (await ask(nc, "get_watch", watch_id=watch_id))["state"] in ("waiting", "live")

    await until(said, f"{watch_id} is at work", 90.0)


async def follow(nc, watch_id, **watch):
    """Put a watch and wait until it is at work; gives what comes of it."""
    got = []

    async def take(msg):
        got.append(orjson.loads(msg.data))

    await nc.subscribe(f"factor.live.{watch_id}", cb=take)
    answer = await ask(nc, "put_watch", watch_id=watch_id, model_id="main", rate_ms=0, **watch)
    assert answer["success"], answer
    await at_work(nc, watch_id)
    return got


async def play(nc, day, at="15:00:00"):
    for message in ticks_of(day, at):
        await nc.publish(*message)


def whole(got):
    return got and got[-1]["seen"] == 1.0


def numbers(values):
    return np.array([np.nan if v is None else v for v in values])


def test_everything_is_what_the_model_can_compute_and_equals_the_committed_day(own_server, client, day):
    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            got = await follow(nc, "all", factors=["*"])
            await play(nc, day)
            await until(lambda: whole(got), "all names were seen")
            listed = await ask(nc, "list_watches")
            rows = {name: values[0] for name, values in day.fields.items()}
            assert np.isfinite(rows["returns"]).sum() > 20
            frame = day.to_frame(names=COLUMNS).to_dict(as_series=False)
            body = orjson.dumps({"model_id": "main", "rows": frame}, default=str)
            await nc.jetstream().publish("market_data.bar.main", body)
            await until(lambda: bridge.bars.done == 1, "the day is committed", 90.0)
            return got[-1], listed

    last, listed = asyncio.run(run())
    library = client.actors[Workload.FACTOR_LIBRARY]
    able = library.definitions(rq.Definitions(model_id="main")).body["computable"]
    assert len(last["values"]) == able > 400
    final = library.live.known("main").day
    assert str(final.date) == last["date"]
    for name, values in last["values"].items():
        np.testing.assert_array_equal(numbers(values), final.values[final.position[name]], err_msg=name)
    (row,) = listed["watches"]
    assert (listed["count"], row["watch_id"], row["state"]) == (1, "all", "live")
    assert row["values"] == able * len(last["symbols"])
    assert row["cost_ms"] > 0.0
    assert row["plan_ms"] > 0.0
    assert row["plan_share"] == 1.0


def test_ranked_and_zscored_values_are_those_of_the_raw_ones_and_share_one_plan(own_server, client, day):
    async def run():
        async with bridge_over(own_server, client), peer_of(own_server) as nc:
            formula = {"formulas": {"move": "returns"}, "styles": ["size"]}
            watches = {form: await follow(nc, form, form=form, **formula) for form in ("raw", "ranked", "zscored")}
            await play(nc, day)
            await until(lambda: all(map(whole, watches.values())), "all names were seen")
            rows = {row["watch_id"]: row for row in (await ask(nc, "list_watches"))["watches"]}
            shares = [row["plan_share"] for row in rows.values()]
            np.testing.assert_allclose(shares, 1 / 3)
            return {form: got[-1]["values"] for form, got in watches.items()}

    values = asyncio.run(run())
    for name in ("move", "size"):
        raw = numbers(values["raw"][name])
        there = np.isfinite(raw)
        assert there.sum() > 15
        below = (raw[there][None, :] < raw[there][:, None]).sum(axis=1)
        same = (raw[there][None, :] == raw[there][:, None]).sum(axis=1)
        np.testing.assert_allclose(numbers(values["ranked"][name])[there], (below + (same + 1) / 2) / there.sum())
        scored = numbers(values["zscored"][name])[there]
        np.testing.assert_allclose([scored.mean(), scored.std(ddof=1)], [0.0, 1.0], atol=1e-9)
        assert (np.argsort(scored, kind="stable") == np.argsort(raw[there], kind="stable")).mean() > 0.8
        assert np.isnan(numbers(values["ranked"][name])[~there]).all()


def rounded(table):
    return table.select("symbol", pl.exclude("symbol").cast(pl.Float32))


def test_single_precision_is_the_double_one_rounded_whole_and_of_changed_names(own_server, client, day):
    wanted = {"model_id": "main", "factors": ["*"], "styles": ["size"], "rate_ms": 0}
    forms = {
        "double": {"encoding": "arrow"},
        "single": {"encoding": "arrow_float32"},
        "changed": {"encoding": "arrow_float32", "only_changed": True},
    }

    async def run():
        async with bridge_over(own_server, client), peer_of(own_server) as nc:
            got = {}

            def taking(name):
                async def take(msg):
                    if msg.headers.get("factor-seen") == "1.0":
                        got[name] = pl.read_ipc_stream(msg.data)

                return take

            for name, form in forms.items():
                await nc.subscribe(f"factor.live.{name}", cb=taking(name))
                answer = await ask(nc, "put_watch", watch_id=name, **wanted, **form)
                assert answer["success"], answer

                async def at_work(name=name):
                    return (await ask(nc, "get_watch", watch_id=name))["state"] in ("waiting", "live")

                await until(at_work, f"{name} is at work", 90.0)
            await play(nc, day)

            def agree():
                if len(got) < len(forms) or not rounded(got["double"]).equals(got["single"]):
                    return False
                of_changed = pl.col("symbol").is_in(got["changed"]["symbol"].to_list())
                return rounded(got["double"]).filter(of_changed).equals(got["changed"])

            await until(agree, "all three are of the last tick", 90.0)
            answer = await ask(nc, "put_watch", watch_id="book", model_id="main", portfolios=["market"],
                               encoding="arrow_float32")  # fmt: skip
            assert "portfolios come as JSON" in answer["detail"], answer
            return got

    tables = asyncio.run(run())
    assert len(tables["double"].columns) > 400
    assert set(tables["double"].dtypes[1:]) == {pl.Float64}
    assert set(tables["single"].dtypes[1:]) == set(tables["changed"].dtypes[1:]) == {pl.Float32}


def test_the_first_value_of_a_watch_that_needs_nothing_new_is_whole(own_server, client, day, monkeypatch):
    """The plan has its factors already, so that a tick gives its value before anything is made anew for it."""
    body = {"factors": ["alpha101_101"], "styles": ["size"]}
    desk = client.actors[Workload.FACTOR_LIBRARY].desk

    async def run():
        async with bridge_over(own_server, client), peer_of(own_server) as nc:
            first = await follow(nc, "first", **body)
            await play(nc, day)
            await until(lambda: whole(first), "all names were seen")
            monkeypatch.setattr(desk, "_rebuild", lambda *_, **__: None)
            got = []

            async def take(msg):
                got.append(orjson.loads(msg.data))

            await nc.subscribe("factor.live.second", cb=take)
            assert (await ask(nc, "put_watch", watch_id="second", model_id="main", rate_ms=0, **body))["success"]
            before = len(first)
            await nc.publish(*next(iter(ticks_of(day))))
            await until(lambda: got and len(first) > before, "both have a value")
            return first[-1], got[0]

    first, second = asyncio.run(run())
    assert second["symbols"] == first["symbols"]
    assert second["values"].keys() == first["values"].keys() == {"alpha101_101", "size"}
    assert all(len(values) == len(second["symbols"]) for values in second["values"].values())


def test_windows_speak_early_where_that_is_asked_beside_a_watch_of_full_ones(own_server, client, day, market):
    long = f"mean(returns, {len(market.dates) + 5})"
    body = {"formulas": {"mean": long}, "factors": ["alpha101_101"]}

    async def run():
        async with bridge_over(own_server, client), peer_of(own_server) as nc:
            full = await follow(nc, "full", **body)
            early = await follow(nc, "early", **body, min_periods="one")
            assert (await ask(nc, "get_watch", watch_id="early"))["watch"]["min_periods"] == "one"
            await play(nc, day)
            await until(lambda: whole(full) and whole(early), "all names were seen")
            return full[-1], early[-1]

    full, early = asyncio.run(run())
    assert not np.isfinite(numbers(full["values"]["mean"])).any()
    assert full["values"]["alpha101_101"] == early["values"]["alpha101_101"]
    first = market.dates.tolist().index(day.dates[0].item())
    past = market.fields["returns"][: first + 1]
    got = dict(zip(early["symbols"], numbers(early["values"]["mean"]), strict=True))
    seen = 0
    for i, symbol in enumerate(market.symbols):
        if np.isfinite(past[-1, i]):
            assert got[symbol] == pytest.approx(np.nanmean(past[:, i]), rel=1e-9), symbol
            seen += 1
    assert seen > 15


def test_only_the_names_whose_values_changed_come_again(own_server, client, day):
    messages = list(ticks_of(day))

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            got = await follow(nc, "w", formulas={"move": "returns"}, only_changed=True)
            for message in messages:
                await nc.publish(*message)
            await until(lambda: whole(got), "all names were seen")
            whole_first, count = got[0]["symbols"], len(got)
            await nc.publish(*messages[3])  # the same again: nothing changed
            body = orjson.loads(messages[5][1])
            await nc.publish(messages[5][0], orjson.dumps({**body, "returns": 0.0125}))
            await until(lambda: len(got) > count, "a change came")
            await until(lambda: bridge.market.journal.received == len(messages) + 2, "all came")
            return whole_first, got[count:], got

    first, later, got = asyncio.run(run())
    assert len(first) == day.n_assets, "the first message is whole"
    assert [(m["symbols"], m["values"]["move"]) for m in later] == [([day.symbols[5]], [0.0125])]
    merged = {}
    for message in got:
        merged |= dict(zip(message["symbols"], message["values"]["move"], strict=True))
    expected = day.fields["returns"][0].copy()
    expected[5] = 0.0125
    np.testing.assert_array_equal(numbers([merged[s] for s in day.symbols]), expected)


def test_a_watch_ends_unheard_though_no_market_data_comes(own_server, client, monkeypatch):
    # An answer of the server that is later than the next question counts as a listener: not so often, then.
    monkeypatch.setattr(bus.market, "ASK_EVERY_S", 0.5)
    monkeypatch.setattr(bus.market, "ASKS", 3)

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            asked = []

            async def take(msg):
                asked.append((msg.data, msg.headers))

            await nc.subscribe("factor.live.quiet-heard", cb=take)
            await nc.flush()
            for name in ("quiet-heard", "quiet-unheard"):
                answer = await ask(nc, "put_watch", watch_id=name, model_id="main", formulas={"move": "returns"},
                                   rate_ms=0, idle_s=10)  # fmt: skip
                assert answer["success"]

            async def ended():
                return (await ask(nc, "get_watch", watch_id="quiet-unheard")).get("code") == "unknown_watch"

            await until(ended, "nobody listened for so long", 90.0)
            assert (await ask(nc, "get_watch", watch_id="quiet-heard"))["state"] == "waiting"
            assert bridge.market.ended == 1
            assert asked
            assert all(data == b"" and headers["factor-state"] == "waiting" for data, headers in asked)
            await ask(nc, "delete_watch", watch_id="quiet-heard")

            async def forgotten():
                return not bridge.market._asked

            await until(forgotten, "what was known of the watches is forgotten", 60.0)

    asyncio.run(run())


def test_a_watch_to_which_nobody_listens_ends_and_one_that_is_heard_goes_on(own_server, client, day, monkeypatch):
    monkeypatch.setattr(bus.market, "ASK_EVERY_S", 0.2)

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await follow(nc, "heard", formulas={"move": "returns"}, idle_s=10)
            answer = await ask(nc, "put_watch", watch_id="unheard", model_id="main", formulas={"move": "returns"},
                               rate_ms=0, idle_s=10)  # fmt: skip
            assert answer["success"]
            last = list(ticks_of(day))

            async def ended():
                await nc.publish(*last[0])
                return (await ask(nc, "get_watch", watch_id="unheard")).get("code") == "unknown_watch"

            await until(ended, "nobody listened for so long", 90.0)
            assert (await ask(nc, "get_watch", watch_id="heard"))["state"] == "live"
            assert bridge.market.ended == 1

    asyncio.run(run())


def test_a_value_over_the_servers_largest_message_says_so_and_ends_no_connection(own_server, client, day):
    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            got = []

            async def take(msg):
                got.append((msg.headers, msg.data))

            await nc.subscribe("factor.live.large", cb=take)
            bridge._nc._max_payload = 20_000
            answer = await ask(
                nc, "put_watch", watch_id="large", model_id="main", factors=["*"], rate_ms=0, encoding="arrow"
            )
            assert answer["success"]
            await at_work(nc, "large")
            await play(nc, day)
            await until(lambda: [1 for headers, _ in got if TOO_LARGE in headers], "a value came", 90.0)
            headers, data = next(each for each in got if TOO_LARGE in each[0])
            assert data == b""
            assert headers[TOO_LARGE].endswith("NATS takes 20000")
            whole = await bridge.watch_value("large", 0, 30.0)
            assert len(whole["body"]) > 20_000, "the websocket has it"
            assert bridge.stats()["live"]["values_too_large"] >= 1
            assert bridge.status()["connections"] == 1

            async def kept():
                with contextlib.suppress(NatsError):
                    return await nc.jetstream().get_last_msg("KV_factor_live", "$KV.factor_live.large")

            await until(kept, "it is in the bucket", 30.0)
            async with NatsEngine(own_server.access) as engine:
                with pytest.raises(BodyTooLarge, match=r"watch large has \d+ bytes, NATS takes 20000"):
                    await anext(engine.watch("large"))

    asyncio.run(run())
