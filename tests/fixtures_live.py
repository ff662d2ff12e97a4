"""The writer and the library in the test's process, for tests that need NATS and the real actors, but no Ray."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
from fixtures_nats import ClientDouble

from actors.workloads.factor_library import FactorLibrary
from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import requests as rq
from contracts.errors import Unavailable
from contracts.frames import encode
from contracts.handed_tables import take
from contracts.operations import OPERATIONS, Workload
from contracts.work import work_item

COLUMNS = {"returns": "asset_returns"}


class ActorsHere(ClientDouble):
    """Has the interface of `RouterClient`; the two actors are the real ones, in this process."""

    def __init__(self, writer, library):
        super().__init__()
        library._handed = library.settings.store_path / "handed"  # not into the run directory of who runs the tests
        self.actors = {Workload.FACTOR_MODEL_CREATION: writer, Workload.FACTOR_LIBRARY: library}

    async def call(self, operation, request, *, priority, timeout_s=None, request_id=None, turn=None, presence=None):
        item = work_item(operation, request, priority=priority, timeout_s=timeout_s or 60.0, request_id=request_id)
        return (await asyncio.to_thread(self.actors[OPERATIONS[operation].workload].call_heavy, [item]))[0]

    async def foresee(self, operation, request):
        item = work_item(operation, request)
        (made,) = await asyncio.to_thread(self.actors[Workload.FACTOR_LIBRARY].foresee, [item])
        return None if made is None else replace(made, tables=take(made.tables))

    away = False
    """Whether the live call is cut off, as when the actor died."""
    live_calls = 0

    async def live(self, packed):
        if self.away:
            raise Unavailable("cut off")
        self.live_calls += 1
        return await asyncio.to_thread(self.actors[Workload.FACTOR_LIBRARY].live_call, packed)


def actors_over(market, made=True, keep=4, model="main"):
    """Make both actors over the store of the settings, with a model of all but the last days."""
    writer, library = FactorModelCreation(), FactorLibrary()
    for actor in (writer, library):
        assert actor._ready.wait(150)
        assert actor._state == "READY", actor._reason
    if made:
        history = market.select(dates=market.dates[:-keep]).to_frame(names=COLUMNS)
        writer.create_model(rq.CreateModel(model_id=model, feature_data=encode(history), request_id="made"))
    return ActorsHere(writer, library)


def ticks_of(day, at="15:00:00"):
    """What a feed would say of a whole day, one message a name."""
    fields = {name: values[0] for name, values in day.fields.items()}
    time = f"{day.dates[0]}T{at}Z"
    for i, symbol in enumerate(day.symbols):
        row = {name: float(values[i]) for name, values in fields.items() if values[i] == values[i]}
        if row:
            yield f"market_data.tick.{symbol}", orjson.dumps({"symbol": symbol, "time": time, **row})


def bar_of(day, model="main", **more):
    rows = day.to_frame(names=COLUMNS).to_dict(as_series=False)
    return orjson.dumps({"model_id": model, "rows": rows, **more}, default=str)
