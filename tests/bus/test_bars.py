"""From a bar on market_data.* to the library's values on factor.library.*: real nats-server, real actors, no Ray."""

import asyncio
from collections import defaultdict

import numpy as np
import orjson
import polars as pl
import pytest
from fixtures_live import ActorsHere
from fixtures_nats import bridge_over, peer_of, stored_in, until

from actors.workloads.factor_library import FactorLibrary
from actors.workloads.factor_model_creation import FactorModelCreation
from bus.streams import EVENTS
from contracts import requests as rq
from contracts.errors import InvalidInput, Unavailable
from contracts.frames import ARROW_STREAM, encode
from contracts.operations import Workload
from contracts.settings import settings
from factors.panel.panel import Panel
from factors.sample.market import sample_market

COLUMNS = {"returns": "asset_returns"}
N_DAYS, KEPT_BACK = 80, 4
BAR = "market_data.bar.all"
LIBRARY = "factor.library.m"


@pytest.fixture(scope="module")
def market():
    return Panel.from_frame(sample_market(n_assets=30, n_days=N_DAYS).panel.to_frame(names=COLUMNS))


@pytest.fixture(scope="module")
def client(market, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
        settings.cache_clear()
        writer, library = FactorModelCreation(), FactorLibrary()
        for actor in (writer, library):
            assert actor._ready.wait(150)
            assert actor._state == "READY", actor._reason
        history = market.select(dates=market.dates[:-KEPT_BACK]).to_frame(names=COLUMNS)
        made = rq.CreateModel(model_id="m", feature_data=encode(history), request_id="made")
        writer.create_model(made)
        yield ActorsHere(writer, library)
    settings.cache_clear()


def bar(market, back, model="m"):
    """A message for the day that is so many days before the end."""
    day = market.select(dates=market.dates[N_DAYS - back :][:1]).to_frame(names=COLUMNS)
    return orjson.dumps({"model_id": model, "rows": day.to_dict(as_series=False)}, default=str)


def following(events, subject):
    return [event for event in events if event.subject == subject]


def test_a_bar_is_appended_steps_the_library_once_and_its_values_are_published(own_server, client, market):
    library = client.actors[Workload.FACTOR_LIBRARY]

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            js = nc.jetstream()
            for n, back in enumerate((4, 3), 1):
                await js.publish(BAR, bar(market, back))
                await until(lambda n=n: bridge.bars.done == n, "the bar was taken", 60.0)
                assert library.live.states()["m"]["date"] == str(market.dates[-back])
            # the first bar warmed the library over the history and its own day, the second was one step
            assert library.live.states()["m"]["steps"] == 1
            assert bridge.direct.published >= 6  # all is in the stream before the bar is done
            return following(await stored_in(nc, EVENTS), LIBRARY)

    events = asyncio.run(run())
    told = [orjson.loads(e.data) for e in events if e.headers["ce-type"] == "FACTOR_LIBRARY_UPDATED"]
    assert [data["date"] for data in told] == [str(d) for d in market.dates[-4:-2]]
    assert told[-1]["model_version"] == 3
    assert events[-1].headers["ce-type"] == "FACTOR_LIBRARY_UPDATED"
    tables = [e for e in events if e.headers["ce-type"] == "FACTOR_LIBRARY_UPDATED_VALUES"]
    assert len(tables) == sum(data["tables"] for data in told)
    assert {e.headers["Content-Type"] for e in tables} == {ARROW_STREAM}
    assert max(len(e.data) for e in events) < 1_000_000
    last = pl.read_ipc_stream(tables[-1].data)
    day = library.live.known("m").day
    assert last["symbol"].to_list() == list(day.symbols)
    assert set(last["date"].to_list()) == {market.dates[-3].item()}
    assert len(last.columns) > 2
    for name in set(last.columns) - {"date", "symbol"}:
        np.testing.assert_array_equal(last[name].to_numpy(), day.values[day.position[name]])


def test_the_same_bar_again_makes_no_second_version_and_no_second_step(own_server, client, market):
    library = client.actors[Workload.FACTOR_LIBRARY]
    before = library.live.states().get("m", {"steps": 0})["steps"]

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            js = nc.jetstream()
            message = bar(market, 2)
            for n in (1, 2):
                await js.publish(BAR, message, headers={"factor-request-id": "bar of the day"})
                await until(lambda n=n: bridge.bars.done == n, "it was taken", 60.0)
            assert library.live.states()["m"]["steps"] == before + 1
            # without its id it is another bar, of a day that is there
            await js.publish(BAR, message)
            await until(lambda: bridge.bars.rejected == 1, "it was refused")
            await until(lambda: bridge._own_outbox.counts().depth == 0, "all is in the stream")
            return await stored_in(nc, EVENTS)

    events = asyncio.run(run())
    kinds = [event.headers["ce-type"] for event in events]
    assert kinds.count("FACTOR_LIBRARY_UPDATED") == 1
    assert kinds.count("FACTOR_MODEL_UPDATED") == 1
    assert library.live.states()["m"]["steps"] == before + 1


def test_a_bar_that_comes_late_or_for_no_model_is_told_of_and_the_next_goes_on(own_server, client, market):
    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            js = nc.jetstream()
            await js.publish(BAR, bar(market, 30))
            await js.publish(BAR, bar(market, 1, model="nobody"))
            await js.publish(BAR, bar(market, 1))
            await until(lambda: bridge.bars.done == 1 and bridge.bars.rejected == 2, "each had its end", 60.0)
            await until(lambda: bridge._own_outbox.counts().depth == 0, "all is in the stream")
            return await stored_in(nc, EVENTS)

    events = asyncio.run(run())
    told = [orjson.loads(event.data) for event in following(events, "factor.rejected.market_data=2Ebar=2Eall")]
    late, unknown = (row["problem"] for row in sorted(told, key=lambda row: row["problem"]["code"]))
    assert (late["code"], unknown["code"]) == ("invalid_input", "unknown_model")
    assert str(market.dates[-30]) in late["detail"]
    assert "after" in late["detail"]
    assert "nobody" in unknown["detail"]
    assert following(events, LIBRARY)


def test_events_of_a_bar_whose_acknowledgement_was_lost_are_the_same_bytes_under_the_same_ids(
    own_server, client, market
):
    """A bar that comes again, also after the server forgot its ids, adds nothing to the stream."""
    model = market.select(dates=market.dates[: N_DAYS - 10])
    client.actors[Workload.FACTOR_MODEL_CREATION].create_model(
        rq.CreateModel(model_id="again", feature_data=encode(model.to_frame(names=COLUMNS)), request_id="made again")
    )
    message = bar(market, 10, model="again")

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            js = nc.jetstream()
            made = []

            async def keep(events, *, again=False):
                made.append(events)
                if len(made) <= 2:  # the model's, and the library's: then the process is cut off before the bar's ack
                    await publish(events, again=again)
                    if len(made) == 2:
                        raise Unavailable("cut off")
                else:
                    await publish(events, again=again)

            publish = bridge.direct.publish
            bridge.direct.publish = keep
            await js.publish(BAR, message, headers={"factor-request-id": "the bar"})
            await until(lambda: bridge.bars.done == 1, "the bar came again and was done", 60.0)
            first, second = made[:2], made[2:]
            for before, after in zip(first, second, strict=True):
                assert [(e.id, e.subject, e.type, e.data) for e in before] == [
                    (e.id, e.subject, e.type, e.data) for e in after
                ]
            assert bridge.direct.repeats == sum(map(len, first))
            return await stored_in(nc, EVENTS)

    events = asyncio.run(run())
    ids = [event.headers["ce-id"] for event in events if event.subject.endswith(".again")]
    assert len(ids) == len(set(ids)) > 2


def live_model(client, market, model, back):
    """A model that ends before the day that is so many before the end, with its library warm."""
    history = market.select(dates=market.dates[: N_DAYS - back]).to_frame(names=COLUMNS)
    made = rq.CreateModel(model_id=model, feature_data=encode(history), request_id=f"made {model}")
    client.actors[Workload.FACTOR_MODEL_CREATION].create_model(made)
    library = client.actors[Workload.FACTOR_LIBRARY]
    library.live.current(model, library.formulas, 150)


def plain(events):
    return [(event.id, event.subject, event.type, event.data) for event in events]


def of_library(events, model):
    """What the stream has of a model's library: kind, id and data, in its order."""
    found = following(events, f"factor.library.{model}")
    return [(event.headers["ce-type"], event.headers["ce-id"], event.data) for event in found]


def by_hand(client, model):
    """What is told of the newest day by a library that foresaw nothing."""
    return client.actors[Workload.FACTOR_LIBRARY].update_factors(rq.UpdateFactors(model_id=model, values=True))


def foreseen_first(client, monkeypatch):
    """Have a bar appended when the library has said what it foresees; else the faster of the two decides."""
    said = defaultdict(asyncio.Event)
    foreseen, call = client.foresee, client.call

    async def foresee(operation, request):
        try:
            return await foreseen(operation, request)
        finally:
            said[request.feature_data].set()

    async def behind(operation, request, **how):
        if operation == "append_day":
            await said[request.feature_data].wait()
        return await call(operation, request, **how)

    monkeypatch.setattr(client, "foresee", foresee)
    monkeypatch.setattr(client, "call", behind)


@pytest.mark.parametrize("cut", ["before", "in the midst", "behind"])
def test_values_that_were_foreseen_are_told_again_to_the_byte_by_a_bridge_that_was_cut_off(
    own_server, client, market, cut, monkeypatch
):
    """What was told beforehand is what the step gives, and each event is in the stream once, the tables first."""
    model = f"foreseen {cut}".replace(" ", "_")
    foreseen_first(client, monkeypatch)
    live_model(client, market, model, 9)

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            made = []

            async def keep(events, *, again=False):
                made.append(events)
                if len(made) == 2:
                    assert client.actors[Workload.FACTOR_LIBRARY].live.states()[model]["steps"] == 0, "as foreseen"
                    out = {"before": [], "in the midst": events[:1], "behind": events}[cut]
                    if out:
                        await publish(out)
                    raise Unavailable("cut off")
                await publish(events, again=again)

            publish = bridge.direct.publish
            bridge.direct.publish = keep
            await nc.jetstream().publish(BAR, bar(market, 9, model))
            await until(lambda: bridge.bars.done == 1, "the bar came again and was done", 60.0)
            assert bridge.bars.foreseen == 0, "it was made again by the step"
            assert [plain(events) for events in made[:2]] == [plain(events) for events in made[2:]]
            return await stored_in(nc, EVENTS)

    told = of_library(asyncio.run(run()), model)
    assert len(told) == len({identity for _, identity, _ in told})
    assert [kind for kind, _, _ in told] == [
        *["FACTOR_LIBRARY_UPDATED_VALUES"] * (len(told) - 1),
        "FACTOR_LIBRARY_UPDATED",
    ]
    assert [data for _, _, data in told[:-1]] == by_hand(client, model).tables


def test_values_that_were_foreseen_are_published_when_the_day_is_durable_and_the_library_steps_behind(
    own_server, client, market, monkeypatch
):
    foreseen_first(client, monkeypatch)
    live_model(client, market, "ahead", 8)
    library = client.actors[Workload.FACTOR_LIBRARY]

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            at = []

            async def keep(events, *, again=False):
                at.append(
                    (library.live.states()["ahead"]["steps"], library.slices.store.head("ahead").manifest.version)
                )
                await publish(events, again=again)

            publish = bridge.direct.publish
            bridge.direct.publish = keep
            for n in (1, 2):
                await nc.jetstream().publish(BAR, bar(market, 9 - n, "ahead"))
                await until(lambda n=n: bridge.bars.done == n, "the bar is done", 60.0)
                assert library.live.states()["ahead"]["steps"] == n
            assert bridge.bars.foreseen == 2
            assert bridge.stats()["bars"]["foreseen"] == 2
            assert at == [(0, 2), (0, 2), (1, 3), (1, 3)]
            return await stored_in(nc, EVENTS)

    told = of_library(asyncio.run(run()), "ahead")
    assert library.live.states()["ahead"]["foreseen"] == 2
    assert [data for kind, _, data in told if kind.endswith("VALUES")][-1:] == by_hand(client, "ahead").tables[-1:]


@pytest.mark.parametrize("other", ["row", "version"])
def test_values_of_another_row_or_behind_another_version_are_thrown_away(
    own_server, client, market, other, monkeypatch
):
    """The library is told of a row that differs in one price; or the past is corrected between that and the append."""
    model = f"other_{other}"
    live_model(client, market, model, 8)
    foreseen = client.foresee
    asked = asyncio.Event()
    day = market.select(dates=market.dates[N_DAYS - 9 :][:1]).to_frame(names=COLUMNS)

    async def foresee(operation, request):
        if other == "row":
            frame = pl.read_ipc_stream(request.feature_data).with_columns(pl.col("close") * 1.001)
            request = request.model_copy(update={"feature_data": encode(frame)})
        said = await foreseen(operation, request)
        assert said is not None
        asked.set()
        return said

    call = client.call

    async def behind(operation, request, **how):
        if operation == "append_day":
            await asked.wait()
            if other == "version":
                changed = day.head(1).select("date", "symbol", pl.col("close") * 1.02)
                correction = rq.CorrectDays(model_id=model, feature_data=encode(changed), request_id="between")
                await asyncio.to_thread(client.actors[Workload.FACTOR_MODEL_CREATION].correct_days, correction)
        return await call(operation, request, **how)

    monkeypatch.setattr(client, "foresee", foresee)
    monkeypatch.setattr(client, "call", behind)

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await nc.jetstream().publish(BAR, bar(market, 8, model))
            await until(lambda: bridge.bars.done == 1, "the bar is done", 60.0)
            assert bridge.bars.foreseen == 0
            return await stored_in(nc, EVENTS)

    told = of_library(asyncio.run(run()), model)
    step = by_hand(client, model)
    assert [data for kind, _, data in told if kind.endswith("VALUES")] == step.tables
    assert orjson.loads(told[-1][2])["model_version"] == step.model_version == (3 if other == "version" else 2)


def test_of_a_bar_that_is_refused_nothing_is_told_though_it_was_foreseen(own_server, client, market, monkeypatch):
    live_model(client, market, "refused", 8)
    asked = asyncio.Event()
    foreseen, call = client.foresee, client.call

    async def foresee(operation, request):
        said = await foreseen(operation, request)
        asked.set()
        return said

    async def refused(operation, request, **how):
        if operation == "append_day":
            await asked.wait()
            raise InvalidInput("the disk says no", field="feature_data")
        return await call(operation, request, **how)

    monkeypatch.setattr(client, "foresee", foresee)
    monkeypatch.setattr(client, "call", refused)

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            await nc.jetstream().publish(BAR, bar(market, 8, "refused"))
            await until(lambda: bridge.bars.rejected == 1, "the bar is refused", 60.0)
            await until(lambda: bridge._own_outbox.counts().depth == 0, "all is in the stream")
            return await stored_in(nc, EVENTS)

    assert of_library(asyncio.run(run()), "refused") == []
