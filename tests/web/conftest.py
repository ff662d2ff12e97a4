"""The HTTP application over the real workload actors in this process: everything but Ray, NATS and Serve is real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ray_jobs_double import RayJobsDouble
from starlette.testclient import TestClient

from actors.runtime.base import WorkloadActor
from bus.face import Face
from bus.outbox import Outbox
from contracts.errors import Unavailable
from contracts.examples import JOB
from contracts.operations import OPERATIONS, Workload, devices_of
from contracts.settings import Settings, settings
from contracts.work import State, WorkResult, work_item
from jobs.runner import Jobs
from router import health as report
from router.member import Member
from router.packing import pack_items, pack_results, unpack_items, unpack_results
from router.placement import CLASS_PATHS
from web.app import make_app
from web.services import Services


class InProcessEngine:
    """Has the interface of `RouterClient`; the actors are the real classes, here."""

    def __init__(self) -> None:
        self.table = SimpleNamespace(default_model=None, bus=SimpleNamespace(connected=False, since=time.time()))
        self._actors: dict[str, WorkloadActor] = {}
        self.down: set[str] = set()

    def actor(self, workload: str) -> WorkloadActor:
        import importlib

        if workload not in self._actors:
            module, _, name = CLASS_PATHS[workload].partition(":")
            self._actors[workload] = getattr(importlib.import_module(module), name)()
        return self._actors[workload]

    async def call(
        self, operation, request, *, priority, timeout_s=None, request_id=None, turn=None, presence=None
    ) -> WorkResult:
        row = OPERATIONS[operation]
        limit = row.timeout_s if timeout_s is None else timeout_s
        item = work_item(operation, request, priority=priority, timeout_s=limit, request_id=request_id)
        actor = await asyncio.to_thread(self.actor, row.workload.value)
        # As it travels: the request is its model again, and values that are arrays in the actor arrive plain.
        results = await asyncio.to_thread(actor.call_light, unpack_items(pack_items([item])))
        return unpack_results(pack_results(results))[0]

    async def live(self, packed: bytes) -> bytes:
        raise Unavailable("no live market in this process")

    async def foresee(self, operation: str, request: Any) -> None:
        """Only tells an actor early what it will be asked; here nothing is gained by it."""

    async def health(self) -> dict[str, Any]:
        if "router" in self.down:
            raise RuntimeError("the router is down")
        members = []
        for workload in Workload:
            member = Member(workload, devices_of(workload))
            actor = self._actors.get(workload.value)
            if actor is not None:
                member.state, member.reason, member.alive = State.READY, "in this process", True
            members.append((member, actor.stats() if actor is not None else None))
        return {
            "state": "READY",
            "degraded": [],
            "starting": [m.workload.value for m, stats in members if stats is None],
            "actors": [report.describe(member, stats) for member, stats in members],
            "bus": {"connected": self.table.bus.connected, "since": self.table.bus.since},
            "default_model": self.table.default_model,
            "router": {"pid": 0, "started": time.time() - 1.0},
        }

    async def report_bus(self, connected: bool) -> None:
        self.table.bus = SimpleNamespace(connected=connected, since=time.time())

    async def routing(self) -> dict[str, Any]:
        return {"version": 1, "routes": []}


class BridgeDouble:
    """A feed that the test fills."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.told: list[list[dict[str, Any]]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def tell(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        self.told.append(rows)
        return {}

    async def status(self) -> dict[str, Any]:
        return {"connected": True, "published": len(self.events)}

    async def ask(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((what, arguments))
        if what == "events":
            return {"events": [], "last": arguments["after"], "missed": False}
        return {"dead_letters": [], "count": 0, "last": 0} if what == "dead_letters" else {}

    async def feed(self, after: int | None, timeout_s: float) -> dict[str, Any]:
        start = 0 if after is None else after
        fresh = [row for row in self.events if row["seq"] > start]
        if not fresh:
            await asyncio.sleep(0.01)
        return {"events": fresh, "last": fresh[-1]["seq"] if fresh else start, "missed": 0}


@pytest.fixture(scope="session")
def run_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    run_dir = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTOR_ENGINE_RUN_DIR", str(run_dir))
        patch.setenv("FACTOR_ENGINE_ALLOWED_HOSTS", "testserver")  # what Starlette's client asks for
        patch.setenv("FACTOR_ENGINE_HTTP_JSON_LIMIT_BYTES", str(2**20))
        patch.setenv("FACTOR_ENGINE_HTTP_BULK_LIMIT_BYTES", str(64 * 2**20))
        settings.cache_clear()
        yield settings()
    settings.cache_clear()


@pytest.fixture(scope="session")
def sample():
    from factors.sample.market import sample_market

    return sample_market(n_assets=40, n_days=320).panel.to_frame()


@pytest.fixture(scope="session")
def engine_here(run_settings) -> InProcessEngine:
    return InProcessEngine()


@pytest.fixture(scope="session")
def ray_jobs() -> Iterator[RayJobsDouble]:
    """The job server: to start Ray for each test of a route would take longer than the test."""
    made = RayJobsDouble()
    example = {"entrypoint": "python -m jobs.example", "metadata": {"kind": "example"}, "submission_id": JOB}
    made.submit_job(**example)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Jobs, "connected", staticmethod(lambda: made))
        yield made


@pytest.fixture(scope="session")
def services(run_settings, engine_here, ray_jobs) -> Services:
    outbox = Outbox(run_settings.outbox_path)
    face = Face(engine_here, outbox)
    return Services(run_settings, face=face, client=engine_here, bridge=BridgeDouble())


@pytest.fixture(scope="session")
def http(services, sample, engine_here) -> Iterator[TestClient]:
    """A client of the application, with the model `m` loaded."""
    from contracts import frames

    # The first answer of an actor loads what it runs: beside other tests that takes longer than callers wait.
    with TestClient(make_app(services), headers={"x-request-timeout-seconds": "120"}) as client:
        answer = client.put(
            "/factor-model/m/data", content=frames.encode(sample), headers={"content-type": frames.ARROW_STREAM}
        )
        assert answer.status_code == 200, answer.text
        engine_here.table.default_model = "m"
        yield client


@pytest.fixture(scope="session")
def symbols(sample) -> list[str]:
    last = sample.filter(sample["date"] == sample["date"].max())
    return last["symbol"].to_list()[:4]
