"""A process that is killed between the commit of a version and its event leaves a version that is told all the same."""

import asyncio
import os
import signal
import subprocess
import sys

import orjson
import polars as pl
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until

from bus import retell
from bus.face import Face
from bus.outbox import Outbox
from bus.retell import Retell
from bus.streams import EVENTS
from contracts import frames
from contracts.events import event
from contracts.settings import Settings
from store import ModelStore

SUBJECT = "factor.model_created.m"
WRITER = """
import asyncio, os, signal, sys
from types import SimpleNamespace
from actors.workloads.factor_model_creation import FactorModelCreation
from bus.face import Face
from bus.outbox import Outbox
from contracts.operations import OPERATIONS
from contracts.settings import settings
from contracts.work import work_item
from router.order import Order

killed = sys.argv[1] == "killed"
actor = FactorModelCreation()

class Client:
    table = SimpleNamespace(default_model=None, bus=SimpleNamespace(connected=False, since=0.0))
    order = Order(10)

    async def call(self, operation, request, *, priority, timeout_s=None, request_id=None, turn=None, presence=None):
        item = work_item(operation, request, timeout_s=280.0, request_id=request_id)
        return (await asyncio.to_thread(actor.call_light, [item]))[0]

class Killed(Outbox):
    async def put(self, events, wait_s=None):
        os.kill(os.getpid(), signal.SIGKILL)

async def run():
    outbox = (Killed if killed else Outbox)(settings().outbox_path)
    table = open(sys.argv[3], "rb").read()
    await Face(Client(), outbox).answer(
        OPERATIONS[sys.argv[2]], {"model_id": "m", "feature_data": table}, request_id=sys.argv[4], timeout_s=280.0
    )
    outbox.close()

asyncio.run(run())
"""


@pytest.fixture
def current(tmp_path, monkeypatch):
    monkeypatch.setattr(retell, "GRACE_S", 0.0)
    return Settings(run_dir=tmp_path / "run")


def write(current, tmp_path, how, operation, table, request_id):
    """Let a process of its own do one write."""
    path = tmp_path / "table.arrow"
    path.write_bytes(frames.encode(table))
    environment = {**os.environ, "FACTOR_ENGINE_RUN_DIR": str(current.run_dir)}
    command = [sys.executable, "-c", WRITER, how, operation, str(path), request_id]
    ended = subprocess.run(command, env=environment, timeout=300, capture_output=True, text=True, check=False)
    assert ended.returncode == (-signal.SIGKILL if how == "killed" else 0), ended.stderr


def retold(current):
    """Start again: look once; gives how many were told, and all that the outbox holds."""
    outbox = Outbox.of(current)
    try:
        looking = Retell(ModelStore(current.store_path), outbox, Face(ClientDouble(), outbox))
        told = asyncio.run(looking.look())
        return told, [stored.event for stored in outbox.read(0, 100)]
    finally:
        outbox.close()


def test_a_version_whose_writer_was_killed_before_its_event_is_told_at_the_next_look(current, tmp_path):
    from factors.sample.market import sample_market

    market = sample_market(n_assets=40, n_days=320).panel.to_frame()
    *earlier, last = market["date"].unique().sort()
    before, day = market.filter(pl.col("date") != last), market.filter(pl.col("date") == last)

    write(current, tmp_path, "killed", "create_model", before, "r1")
    told, events = retold(current)
    assert told == 1
    (first,) = [made for made in events if made.subject == SUBJECT]
    assert orjson.loads(first.data)["model_version"] == 1
    assert retold(current)[0] == 0, "it is told once"

    # The caller repeats it, as he had no answer: the same event, under the same id, so that it is dropped as a repeat.
    write(current, tmp_path, "alive", "create_model", before, "r1")
    again = [made for made in retold(current)[1] if made.subject == SUBJECT]
    assert [made.id for made in again] == [first.id, first.id]
    assert [made.type for made in again] == [first.type, first.type]
    fields = ("model_version", "calculation_id", "factor_values", "model_id")
    one, other = ({name: orjson.loads(made.data)[name] for name in fields} for made in again)
    assert one == other

    # A later version that was told does not hide one that was not.
    write(current, tmp_path, "killed", "append_day", day, "r2")
    late = day.with_columns(pl.col("date") + pl.duration(days=3))
    write(current, tmp_path, "alive", "append_day", late, "r3")
    told, events = retold(current)
    assert told == 1
    versions = [orjson.loads(made.data)["model_version"] for made in events if made.subject == SUBJECT]
    assert sorted(set(versions)) == [1, 2, 3]
    assert earlier


def test_a_young_version_is_left_to_who_made_it(current, tmp_path, monkeypatch):
    from factors.sample.market import sample_market

    write(current, tmp_path, "killed", "create_model", sample_market(n_assets=40, n_days=320).panel.to_frame(), "r1")
    monkeypatch.setattr(retell, "GRACE_S", 3600.0)
    assert retold(current) == (0, [])


def test_what_was_told_stays_known_after_it_was_delivered(tmp_path):
    async def run():
        outbox = Outbox(tmp_path / "outbox.db")
        made = [event(SUBJECT, "FACTOR_MODEL_UPDATED", {"model_version": number}) for number in (1, 2, 400)]
        await outbox.put(
            [*made, event(SUBJECT, "X", b"no JSON"), event("factor.risk_model.x", "X", {"model_version": 9})]
        )
        outbox.delete([stored.seq for stored in outbox.read(0, 100)])
        assert outbox.told() == {SUBJECT: {400}}, "and versions that no store keeps are forgotten"
        outbox.close()

    asyncio.run(run())


def test_a_bridge_that_starts_tells_what_was_not_told(own_server, tmp_path, monkeypatch):
    from factors.sample.market import sample_market

    monkeypatch.setattr(retell, "GRACE_S", 0.0)
    current = Settings(run_dir=own_server.run_dir)
    write(current, tmp_path, "killed", "create_model", sample_market(n_assets=40, n_days=320).panel.to_frame(), "r1")

    async def run():
        async with bridge_over(own_server, ClientDouble()), peer_of(own_server) as nc:

            async def stored():
                return [one for one in await stored_in(nc, EVENTS) if one.subject == SUBJECT]

            await until(stored, "the version is told")
            (one,) = await stored()
            assert orjson.loads(one.data)["model_version"] == 1

    asyncio.run(run())


def test_a_bars_event_that_went_past_the_outbox_counts_as_told(own_server):
    day = {"date": ["2020-01-01"], "symbol": ["A"], "asset_returns": [0.1]}

    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            await nc.jetstream().publish("market_data.bar.m", orjson.dumps({"model_id": "m", "rows": day}))
            await until(lambda: bridge.bars.done, "the bar is done")
            assert bridge.direct.published > 0
            beside = Outbox.of(Settings(run_dir=own_server.run_dir))
            assert beside.told() == {SUBJECT: {3}}
            beside.close()

    asyncio.run(run())
