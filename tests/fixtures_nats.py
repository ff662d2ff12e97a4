"""Fixtures with a real nats-server, and a double of the RouterClient for tests that need no Ray."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import nats
import pytest

from bus.bridge import Bridge
from contracts.answers import Calculation
from contracts.errors import Unavailable
from contracts.settings import Settings
from contracts.work import WorkResult
from engine.nats_server import NatsServer
from router.order import Order

DEADLINE_S = 60.0


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory):
    """One server for the tests that do not kill theirs."""
    server = NatsServer(tmp_path_factory.mktemp("run"), port=0)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may kill and start again; its run directory is the test's."""
    server = NatsServer(tmp_path / "run", port=0)
    server.start()
    yield server
    server.stop()


class ClientDouble:
    """Has the interface of `RouterClient`; computes what the test says, and remembers the calls."""

    def __init__(self, compute=None):
        self.table = SimpleNamespace(default_model="main", bus=SimpleNamespace(connected=False, since=0.0))
        self.calls = []
        self.reported = []
        self.foreseen = []
        self.order = Order(1000)
        self._compute = compute or (lambda operation, request: {"market": 1.0})

    async def call(self, operation, request, *, priority, timeout_s=None, request_id=None, turn=None, presence=None):
        self.calls.append(SimpleNamespace(operation=operation, request=request, priority=priority,
                                          timeout_s=timeout_s, request_id=request_id))  # fmt: skip
        began = time.perf_counter()
        made = self._compute(operation, request)
        values = await made if asyncio.iscoroutine(made) else made
        value = Calculation(values, f"{operation} done", 0.9, 3)
        stages = {"queue": 0.0, "compute": (time.perf_counter() - began) * 1e3}
        return WorkResult(request_id or "r", value, None, "cpu", stages)

    async def report_bus(self, connected):
        self.reported.append(connected)
        self.table.bus = SimpleNamespace(connected=connected, since=time.time())

    async def health(self):
        return {"state": "READY", "actors": []}

    async def foresee(self, operation, request):
        self.foreseen.append((operation, request))

    async def live(self, packed):
        raise Unavailable("nobody holds a running day here")


async def until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait until the condition holds; fail with what was waited for."""
    end = time.monotonic() + deadline_s
    while True:
        held = condition()
        if asyncio.iscoroutine(held):
            held = await held
        if held:
            return
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def bridge_over(server: NatsServer, client, **changes) -> AsyncIterator[Bridge]:
    """Run a bridge in this process, ready to answer."""
    current = Settings(run_dir=server.run_dir, **changes)
    bridge = Bridge(current, client)
    await bridge.start()
    try:
        await until(lambda: bridge.status()["jetstream"] == "ready", "the bridge has its streams")
        yield bridge
    finally:
        await bridge.stop()


@asynccontextmanager
async def peer_of(server: NatsServer) -> AsyncIterator[nats.NATS]:
    """Connect as a peer engine does."""
    nc = await nats.connect(**server.access.options(), max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    try:
        yield nc
    finally:
        await nc.close()


async def stored_in(nc: nats.NATS, stream: str) -> list[SimpleNamespace]:
    """Read everything that a stream holds, in order."""
    js = nc.jetstream()
    state = (await js.stream_info(stream)).state
    out = []
    for seq in range(max(state.first_seq, 1), state.last_seq + 1):
        with contextlib.suppress(nats.js.errors.NotFoundError):
            message = await js.get_msg(stream, seq)
            out.append(SimpleNamespace(subject=message.subject, headers=message.headers or {}, data=message.data))
    return out
