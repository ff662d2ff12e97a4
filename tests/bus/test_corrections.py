"""A correction over the bus, to its end: the event says from when history changed, and the library follows."""

import asyncio

import numpy as np
import orjson
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until

from actors.workloads.factor_library import FactorLibrary
from actors.workloads.factor_model_creation import FactorModelCreation
from bus.streams import EVENTS
from contracts import requests as rq
from contracts.frames import encode
from contracts.operations import OPERATIONS, Workload
from contracts.settings import settings
from contracts.work import work_item
from factors.panel.panel import Panel
from factors.sample.market import sample_market

N_DAYS, BACK = 80, 3
SUBJECT = "toraniko.model_request.correct"


class ActorsHere(ClientDouble):
    """Has the interface of `RouterClient`; the two actors are the real ones, in this process."""

    def __init__(self, writer, library):
        super().__init__()
        self.actors = {Workload.FACTOR_MODEL_CREATION: writer, Workload.FACTOR_LIBRARY: library}

    async def call(self, operation, request, *, priority, timeout_s=None, request_id=None, turn=None, presence=None):
        item = work_item(operation, request, priority=priority, timeout_s=timeout_s or 60.0, request_id=request_id)
        return (await asyncio.to_thread(self.actors[OPERATIONS[operation].workload].call_heavy, [item]))[0]


@pytest.fixture(scope="module")
def market():
    return Panel.from_frame(sample_market(n_assets=30, n_days=N_DAYS).panel.to_frame())


@pytest.fixture(scope="module")
def client(market, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
        settings.cache_clear()
        writer, library = FactorModelCreation(), FactorLibrary()
        for actor in (writer, library):
            assert actor._ready.wait(150)
            assert actor._state == "READY", actor._reason
        history = market.select(dates=market.dates[: -BACK - 2]).to_frame()
        writer.create_model(rq.CreateModel(model_id="m", feature_data=encode(history)))
        for row in range(N_DAYS - BACK - 2, N_DAYS):
            day = market.select(dates=market.dates[row : row + 1]).to_frame()
            writer.append_day(rq.AppendDay(model_id="m", feature_data=encode(day)))
        yield ActorsHere(writer, library)
    settings.cache_clear()


def test_the_event_says_from_when_history_changed_and_the_library_follows(own_server, client, market):
    writer, library = client.actors[Workload.FACTOR_MODEL_CREATION], client.actors[Workload.FACTOR_LIBRARY]
    library.update_factors(rq.UpdateFactors(model_id="m"))
    before = library.live.known("m").day.values.copy()
    date, symbol = market.dates[-BACK], market.symbols[4]
    rows = {"date": [str(date)], "symbol": [symbol], "asset_returns": [0.07], "close": [123.0]}

    async def run():
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            sent = orjson.dumps({"model_id": "m", "feature_data": rows})
            told = orjson.loads((await nc.request(SUBJECT, sent, timeout=60)).data)
            await until(lambda: bridge._own_outbox.counts().depth == 0, "all is in the stream")
            return told, await stored_in(nc, EVENTS)

    told, events = asyncio.run(run())
    made = told["calculation_result"]
    assert made["factor_values"]["history_changed_from"] == str(date)
    (event,) = [e for e in events if e.subject == "factor.model_created.m"]
    body = orjson.loads(event.data)
    assert body["factor_values"]["history_changed_from"] == str(date)
    assert body["factor_values"]["n_rows_changed"] == 1
    assert body["model_version"] == made["model_version"]
    # The library of the corrected model is, to the bit, that of a model that never had the fault.
    at = market.symbols.index(symbol)
    fields = {name: values.copy() for name, values in market.fields.items()}
    fields["returns"][-BACK, at], fields["close"][-BACK, at] = 0.07, 123.0
    truth = Panel(market.dates, market.symbols, fields, market.categories)
    writer.create_model(rq.CreateModel(model_id="truth", feature_data=encode(truth.to_frame())))
    for model in ("m", "truth"):
        library.update_factors(rq.UpdateFactors(model_id=model))
    ours, theirs = (library.live.known(model).day for model in ("m", "truth"))
    assert ours.number == made["model_version"]
    np.testing.assert_array_equal(ours.values, theirs.values)
    assert not np.array_equal(ours.values, before, equal_nan=True)
