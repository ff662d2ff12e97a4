"""A client that goes away: its read is cancelled, its write is told to end, and what was committed has its event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from bus.face import Face
from bus.outbox import Outbox
from contracts.answers import Calculation
from contracts.work import Presence, WorkResult
from router.order import Order
from web.app import make_app
from web.services import Services

DEADLINE_S = 20.0


class Slow:
    """Has the interface of `RouterClient`; an answer comes when the test lets it."""

    def __init__(self) -> None:
        self.table = SimpleNamespace(default_model="m", bus=SimpleNamespace(connected=False))
        self.order = Order(8)
        self.entered, self.may_answer = asyncio.Event(), asyncio.Event()
        self.cancelled = False
        self.presence: Presence | None = None

    async def call(
        self, operation: str, request: Any, *, presence: Presence | None = None, **options: Any
    ) -> WorkResult:
        self.presence = presence
        self.entered.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return WorkResult("r", Calculation({}, "done", 1.0, 1), None, "cpu", {"compute": 1.0})


def asking(services: Services, path: str, body: Any) -> asyncio.Task[None]:
    """Send a request to the application, as Serve does: a task that it cancels when the client has gone."""
    text = orjson.dumps(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": headers, "scheme": "http", "server": ("testserver", 80),
        "client": ("127.0.0.1", 1), "root_path": "", "app": None,
    }  # fmt: skip
    messages = iter([{"type": "http.request", "body": text, "more_body": False}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        pass

    return asyncio.create_task(make_app(services)(scope, receive, send))


def run(run_settings: Any, tmp_path: Any, scenario: Callable[[Slow, Services, Outbox], Awaitable[None]]) -> None:
    async def whole() -> None:
        outbox = Outbox(tmp_path / "outbox.db")
        try:
            engine = Slow()
            services = Services(run_settings, face=Face(engine, outbox), client=engine)
            async with asyncio.timeout(DEADLINE_S):
                await scenario(engine, services, outbox)
        finally:
            outbox.close()

    asyncio.run(whole())


def test_a_read_ends_with_its_client(run_settings, tmp_path):
    async def scenario(engine: Slow, services: Services, outbox: Outbox) -> None:
        task = asking(services, "/factor-exposures/calculate", {"portfolio_weights": {"A": 1.0}})
        await engine.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.cancelled
        assert services.meter.snapshot()["factor_exposures"]["errors"] == {"caller_gone": 1}

    run(run_settings, tmp_path, scenario)


def test_a_write_is_told_that_its_client_went_and_what_it_committed_has_its_event(run_settings, tmp_path):
    async def scenario(engine: Slow, services: Services, outbox: Outbox) -> None:
        rows = {"date": ["2024-01-02"], "symbol": ["A"], "asset_returns": [0.1], "market_cap": [1.0]}
        task = asking(services, "/factor-model/create", {"model_id": "w", "feature_data": rows})
        await engine.entered.wait()
        assert engine.presence is not None
        assert not engine.presence.gone
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.presence.gone
        assert not engine.cancelled
        assert outbox.counts().depth == 0
        engine.may_answer.set()
        (task,) = services.kept
        await task
        assert outbox.counts().depth == 1

    run(run_settings, tmp_path, scenario)
