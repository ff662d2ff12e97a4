"""Everything between a feed and a subscriber is cut off in the midst of ticks and bars, and gives what a twin gives."""

import asyncio
import contextlib

import nats
import numpy as np
import orjson
import pytest
from fixtures_live import COLUMNS, actors_over, bar_of, ticks_of
from fixtures_nats import bridge_over, peer_of, stored_in, until

from bus import inbound
from bus.streams import EVENTS
from contracts.operations import Workload
from contracts.settings import settings
from engine.nats_server import NatsServer
from factors.panel.panel import Panel
from factors.sample.market import sample_market

DAYS = 3
FACTORS = ["barra_rstr", "barra_dastd"]


@pytest.fixture(scope="module")
def market():
    return Panel.from_frame(sample_market(n_assets=30, n_days=70).panel.to_frame(names=COLUMNS))


def day(market, number):
    return market.select(dates=market.dates[len(market.dates) - DAYS + number :][:1])


class Engine:
    """A bridge and its actors over one server, each of which can be cut off without a word."""

    def __init__(self, server, market):
        self.server, self.market = server, market
        self.client = actors_over(market, keep=DAYS)
        self._bridge = None

    async def __aenter__(self):
        await self.begin()
        return self

    async def __aexit__(self, *_):
        await self._bridge.__aexit__(None, None, None)

    async def begin(self):
        self._bridge = bridge_over(self.server, self.client)
        self.bridge = await self._bridge.__aenter__()

    async def kill_bridge(self):
        """Cut it off in the midst of its work: nothing is finished, nothing said."""
        for task in self.bridge._tasks:
            task.cancel()
        await self._bridge.__aexit__(None, None, None)
        await self.begin()

    async def kill_actors(self):
        self.client.away = True
        fresh = await asyncio.to_thread(actors_over, self.market, keep=DAYS, made=False)
        self.client.actors = fresh.actors
        self.client.away = False

    async def kill_server(self):
        self.server.process.kill()
        self.server.process.wait()
        self.server.start()


async def say(nc, subject, body, number):
    """Publish until the stream has it; its id keeps it from being there twice."""
    js = nc.jetstream()
    while True:
        try:
            await js.publish(subject, body, headers={"Nats-Msg-Id": f"n{number}"}, timeout=2)
        except (nats.errors.Error, TimeoutError):
            await asyncio.sleep(0.1)
        else:
            return


def valued(value):
    return sum(v is not None for v in value["values"]["specific_return"])


async def published(nc, date):
    with contextlib.suppress(nats.errors.Error, TimeoutError):
        last = await nc.jetstream().get_last_msg(EVENTS, "factor.library.main")
        return last.headers["ce-type"] == "FACTOR_LIBRARY_UPDATED" and orjson.loads(last.data)["date"] == date
    return False


async def live_through(server, market, faults):
    """Feed some days; gives the final events, the last live values of each day, and what the model holds."""
    seen, lasts, number = [], [], 0

    async def take(msg):
        seen.append(orjson.loads(msg.data))

    async with Engine(server, market) as engine, peer_of(server) as nc:
        await nc.subscribe("factor.live.w", cb=take)
        await nc.flush()
        watch = {"watch_id": "w", "model_id": "main", "factors": FACTORS, "factor_returns": True, "rate_ms": 0}
        reply = await nc.request("ml.factor_features.put_watch", orjson.dumps(watch), timeout=60)
        assert orjson.loads(reply.data)["success"], reply.data
        for which in range(DAYS):
            today = day(market, which)
            date = str(today.dates[0])
            messages = list(ticks_of(today))
            for at, (subject, body) in enumerate(messages):
                number += 1
                await say(nc, subject, body, number)
                if at == len(messages) // 2:
                    for fault in faults.get((which, "ticks"), ()):
                        await getattr(engine, fault)()
            store = engine.client.actors[Workload.FACTOR_MODEL_CREATION].store
            head = store.head("main")
            row = head.manifest.n_dates - 1
            covered = np.isfinite(np.asarray(head.day_asset("fields/market_cap", slice(row, row + 1)))[0])
            full = int((np.isfinite(today.fields["close"][0]) & covered).sum())
            whole = lambda date=date, full=full: seen and seen[-1]["date"] == date and valued(seen[-1]) >= full  # noqa: E731
            await until(whole, f"the values of {date} are whole", 90.0)
            lasts.append({name: seen[-1][name] for name in ("date", "values", "factor_returns", "symbols")})
            number += 1
            await say(nc, "market_data.bar.main", bar_of(today), number)
            for fault in faults.get((which, "bar"), ()):
                await getattr(engine, fault)()
            await until(lambda date=date: published(nc, date), f"{date} is committed and its values are out", 90.0)
        events = [event for event in await stored_in(nc, EVENTS) if event.subject == "factor.library.main"]
        version = engine.client.actors[Workload.FACTOR_MODEL_CREATION].store.head("main")
        days = slice(version.manifest.n_dates - DAYS, version.manifest.n_dates)
        arrays = [np.asarray(version.day("factor_returns", days)), np.asarray(version.day_asset("scores", days))]
        return events, lasts, version.manifest.n_dates, arrays


def run(folder, market, monkeypatch, faults):
    folder.mkdir()
    monkeypatch.setenv("FACTOR_ENGINE_STORE_DIR", str(folder / "store"))
    monkeypatch.setattr(inbound, "ACK_WAIT_S", 3.0)  # so long waits what was taken when it was cut off
    settings.cache_clear()
    server = NatsServer(folder / "run", port=0)
    server.start()
    try:
        return asyncio.run(live_through(server, market, faults))
    finally:
        server.stop()
        settings.cache_clear()


def test_a_market_through_faults_gives_the_same_bytes_as_one_without(tmp_path, market, monkeypatch):
    faults = {
        (0, "ticks"): ("kill_bridge",),
        (0, "bar"): ("kill_server",),
        (1, "ticks"): ("kill_server", "kill_actors"),
        (1, "bar"): ("kill_bridge", "kill_actors"),
        (2, "ticks"): ("kill_actors",),
    }
    plain = run(tmp_path / "plain", market, monkeypatch, {})
    through = run(tmp_path / "through", market, monkeypatch, faults)
    ids = [event.headers["ce-id"] for event in through[0]]
    assert len(ids) == len(set(ids)), "a final event arrived twice"
    assert [(e.headers["ce-id"], e.headers["ce-type"], e.data) for e in through[0]] == [
        (e.headers["ce-id"], e.headers["ce-type"], e.data) for e in plain[0]
    ]
    assert through[1] == plain[1], "live values differ"
    assert through[2] == plain[2], "a bar is in the model twice, or not at all"
    for one, other in zip(through[3], plain[3], strict=True):
        np.testing.assert_array_equal(one, other)
