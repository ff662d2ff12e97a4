"""A cluster whose head is lost, under the shipped units: with all that ran on it, its Ray alone, the engine's command.

The tests are one story and run in the order in which they stand: each leaves the cluster whole for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import nats
import orjson
import psutil
import pytest
from fixtures_nats import stored_in
from flows import Days, Flow, HttpDoor, NatsDoor, reader, writer
from hosts import why_not, with_signal
from running_cluster import BOTH, LOGIN, Load, RunningCluster
from running_engine import lifecycle, small_market, until
from units import Unit

from bus.streams import EVENTS
from store import ModelStore

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    lifecycle,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]
ENOUGH = 10
WAIT_S = 700.0
SECOND = "second"
ENGINES = "-m launch run"
"""In the command line of the engine's unit, and of no other process."""
WORKERS = ("ray::WorkloadHost", "ray::BridgeActor", "ray::Router", "ray::OutpostActor")
_log = logging.getLogger(__name__)


class Cluster(RunningCluster):
    """A head and a node whose units are up, and a third host that has nats-server."""

    def __init__(self) -> None:
        super().__init__(FACTOR_ENGINE_KEEP_VERSIONS="5000")
        self.bus = self.network.host("bus")
        self.joined = {"node": BOTH}
        self.market = small_market(self.shared)
        self.units: dict[str, Unit] = {}

    def start(self) -> None:
        """Start nats-server, and all units at once, as machines do that are switched on together."""
        self.start_nats(self.bus)
        self.units["head"] = Unit(
            "factor-engine-head.service",
            lambda words: self.started(self.head, "head", [sys.executable, *words], **self.of_engine()),
        )
        joining = [sys.executable, *self.joining(BOTH)]  # the unit's command, with devices
        self.units["node"] = Unit(
            "factor-engine-node.service",
            lambda _words: self.started(self.node, "node", joining, **self.ahead()),
        )
        self.start_unit_of_engine()

    def of_engine(self) -> dict[str, str]:
        """Give the settings; one of each process is enough here, and two processors have to start all of them anew."""
        return {**super().of_engine(), "FACTOR_ENGINE_BRIDGES": "1", "FACTOR_ENGINE_HTTP_REPLICAS": "1"}

    def start_unit_of_engine(self) -> None:
        command = [sys.executable, "-m", "launch"]
        market = ["--data", str(self.market)]
        self.units["engine"] = Unit(
            "factor-engine.service",
            lambda words: self.started(self.head, "engine", [*command, *words, *market], **self.of_engine()),
        )

    def lives(self) -> dict[str, int]:
        return {name: len(unit.lives) for name, unit in self.units.items()}

    def processes(self) -> list[psutil.Process]:
        return [process for host in (self.head, self.node) for process in host.processes()]

    def close(self) -> None:
        for unit in self.units.values():
            unit.leave()
        super().close()

    def store(self) -> ModelStore:
        return ModelStore(self.run_dir / "store")

    def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Give subject, id and content of all that is on the stream of events, in its order."""
        return self.bus.within(asyncio.run, _events(self.nats_url))


async def _events(url: str) -> list[tuple[str, str, dict[str, Any]]]:
    nc = await nats.connect(url, **LOGIN)
    try:
        found = await stored_in(nc, EVENTS)
    finally:
        await nc.close()
    named = [(e, e.headers.get("Nats-Msg-Id")) for e in found if e.data.startswith(b"{")]
    return [(e.subject, identity, orjson.loads(e.data)) for e, identity in named if identity is not None]


@pytest.fixture(scope="module")
def days(cluster) -> Days:
    return Days(cluster.market)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    try:
        made.start()
        made.until_healthy("the cluster is up")
        yield made
    finally:
        made.close()


def test_units_that_are_started_together_make_the_cluster(cluster):
    assert cluster.ask("GET", "/health").json()["default_model"] == "main"
    rows = Days(cluster.market)
    answer = cluster.ask("POST", "/factor-model/create", json={"model_id": SECOND, "feature_data": rows.history(120)})
    assert answer.status_code == 200, answer.text


def all_of_it(cluster: Cluster) -> None:
    cluster.head.kill_all()


def its_control_store(cluster: Cluster) -> None:
    (store,) = cluster.head.processes("gcs/gcs_server")
    with_signal(store, signal.SIGKILL)


@pytest.mark.parametrize("lose", [all_of_it, its_control_store])
def test_a_lost_head_comes_back_by_its_units_with_every_write_and_event_once(cluster, days, lose):
    former, lives = cluster.processes(), cluster.lives()
    models = {model: cluster.store().head(model).manifest for model in ("main", SECOND)}
    over_nats: Callable[[], NatsDoor] = lambda: NatsDoor(cluster, cluster.bus)  # noqa: E731
    mark = lose.__name__
    flows = [
        Flow(lambda: HttpDoor(cluster), reader(f"http-{mark}")),
        Flow(over_nats, reader(f"nats-{mark}")),
        Flow(lambda: HttpDoor(cluster), writer("main", days, models["main"].n_dates)),
        Flow(over_nats, writer(SECOND, days, models[SECOND].n_dates)),
    ]
    with contextlib.ExitStack() as flowing:
        for flow in flows:
            flowing.enter_context(flow)
        until(lambda: all(flow.answered > ENOUGH for flow in flows), "all flow", WAIT_S)
        lose(cluster)
        until(lambda: all(n > lives[name] for name, n in cluster.lives().items()), "all units start again", WAIT_S)
        cluster.until_healthy("the head is back")
        counts = [flow.answered for flow in flows]
        whole = time.monotonic()
        until(lambda: all(f.answered > n + ENOUGH for f, n in zip(flows, counts, strict=True)), "all flow", WAIT_S)
    for flow in flows:
        _log.warning("%s: %s, %s unanswered", mark, dict(flow.door.outcomes), len(flow.door.unanswered))
        assert flow.door.unclear == []
    # Over NATS a request that a process had in work when it ended is answered by nobody; over HTTP the connection ends.
    assert [asked for flow in flows for asked in flow.door.unanswered if asked > whole] == []
    assert [flow.door.unanswered for flow in flows if isinstance(flow.door, HttpDoor)] == [[], []]
    assert set(former) & set(cluster.processes()) == set()
    assert cluster.ask("GET", "/health").json()["default_model"] == "main"
    for model, flow in (("main", flows[2]), (SECOND, flows[3])):
        writes_are_there_once(cluster, model, models[model], flow)
    until(lambda: cluster.ask("GET", "/messagebus/status").json()["outbox"]["depth"] == 0, "all events left", WAIT_S)
    events_are_there_once(cluster, flows)


def writes_are_there_once(cluster: Cluster, model: str, before: Any, flow: Flow) -> None:
    """See that each acknowledged day made the version that was told, and no other was made."""
    store = cluster.store()
    made = [m for m in store.kept(model) if m.version > before.version]
    assert {m.request_id: m.version for m in made} == flow.versions
    assert len(made) == len(flow.versions) > 2 * ENOUGH
    dates = store.head(model).dates
    assert len(dates) == before.n_dates + len(made)
    assert len(set(dates.tolist())) == len(dates)


def events_are_there_once(cluster: Cluster, flows: list[Flow]) -> None:
    """See that what was said to be on its way came once, and in the order in which it was made."""
    for model, flow in (("main", flows[2]), (SECOND, flows[3])):
        wanted = sorted(flow.versions.values())

        def told(model: str = model, first: int = wanted[0]) -> list[int]:
            subject = f"factor.model_created.{model}"
            found = [data["model_version"] for name, _, data in cluster.events() if name == subject]
            return [version for version in found if version >= first]

        until(lambda told=told, wanted=wanted: set(told()) >= set(wanted), "each version is told", WAIT_S)
        assert told() == wanted
    events = cluster.events()
    ids = Counter(identity for _, identity, _ in events)
    assert [identity for identity, count in ids.items() if count > 1] == []
    for flow in flows[:2]:
        known = {*flow.events, *flow.held}
        came = [one for _, _, data in events if (one := data.get("calculation_id")) in known]
        _log.warning("of %s events held in memory %s came", len(flow.held), len(set(flow.held) & set(came)))
        assert [one for one in came if one in set(flow.events)] == flow.events
        assert max(Counter(came).values()) == 1


def test_the_engines_command_dies_alone_and_is_started_again_while_requests_are_answered(cluster):
    engine, before = cluster.units["engine"], cluster.lives()
    with Load(cluster) as load:
        until(lambda: len(load.answers) > ENOUGH, "requests flow", WAIT_S)
        for process in cluster.head.processes(ENGINES):
            with_signal(process, signal.SIGKILL)
        until(lambda: len(engine.lives) > before["engine"], "the unit starts it again", WAIT_S)
        assert engine.now.said("Ready after", WAIT_S), engine.now.text
        count = len(load.answers)
        until(lambda: len(load.answers) > count + ENOUGH, "requests flow on", WAIT_S)
    assert load.failed() == {}
    assert {**cluster.lives(), "engine": before["engine"]} == before
    cluster.until_healthy("the engine is as it was")


def test_a_stopped_engine_leaves_the_cluster_and_is_put_on_it_again(cluster):
    assert cluster.units["engine"].stop() == 0
    hosts = (cluster.head, cluster.node)
    until(lambda: not [p for host in hosts for name in WORKERS for p in host.processes(name)], "it is gone", WAIT_S)
    assert cluster.units["head"].now.process.poll() is None
    cluster.start_unit_of_engine()
    assert cluster.units["engine"].now.said("Ready after", WAIT_S), cluster.units["engine"].now.text
    cluster.until_healthy("the engine is back")
