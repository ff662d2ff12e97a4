"""Reads and writes that flow to an engine, over HTTP and over NATS, while a test takes parts of it away."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

import httpx
import nats
import orjson
import polars as pl
from hosts import Host
from running_cluster import EXPOSURES, LOGIN, PORT, PORTFOLIO, RunningCluster, fault

PAUSE_S = 0.2
REQUEST_S = 20.0
"""The deadline that a request over NATS has. Over HTTP it is the operation's, a minute at most."""
PATIENCE_S = {"http": 90.0, "nats": 30.0}
"""So long a caller waits: an error that comes at the deadline has its time to come."""
PATHS = {"exposures": EXPOSURES, "append": "/factor-model/{model_id}/append"}
SUBJECTS = {"exposures": "risk.factor_request.factor_exposures", "append": "toraniko.model_request.append"}


class Door(Protocol):
    """A way into the engine. What is no answer is counted: a problem is one that says that asking again helps."""

    outcomes: Counter[str]
    unclear: list[str]
    unanswered: list[float]
    """When those were asked (`time.monotonic`) of which nothing came before their caller gave up."""

    def ask(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Ask for exposures, or for a day to be appended; None for what is no answer."""

    def close(self) -> None:
        """Let go of it."""


class HttpDoor:
    """The HTTP face of the head, from the head's own network."""

    def __init__(self, cluster: RunningCluster) -> None:
        self.outcomes, self.unclear, self.unanswered = Counter[str](), list[str](), list[float]()
        cluster.head.enter()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", trust_env=False, timeout=PATIENCE_S["http"])

    def ask(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        path = PATHS[what].format(**body)
        sent = {name: value for name, value in body.items() if name != "model_id"}
        began = time.monotonic()
        try:
            answer = self._client.post(path, json=sent)
        except httpx.TimeoutException:
            self.unanswered.append(began)
            return None
        except httpx.HTTPError as error:
            self.outcomes[type(error).__name__] += 1
            return None
        self.outcomes[str(answer.status_code)] += 1
        if (wrong := fault(answer)) is not None:
            self.unclear.append(wrong)
        return answer.json() if answer.status_code == 200 else None

    def close(self) -> None:
        self._client.close()


class NatsDoor:
    """The request subjects, from another host than the engine's."""

    def __init__(self, cluster: RunningCluster, host: Host) -> None:
        self.outcomes, self.unclear, self.unanswered = Counter[str](), list[str](), list[float]()
        host.enter()
        self._loop = asyncio.new_event_loop()
        self._nc = self._loop.run_until_complete(nats.connect(cluster.nats_url, **LOGIN))

    def ask(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        began = time.monotonic()
        headers = {"factor-timeout-ms": str(int(REQUEST_S * 1e3))}
        asked = self._nc.request(SUBJECTS[what], orjson.dumps(body), timeout=PATIENCE_S["nats"], headers=headers)
        try:
            answer: dict[str, Any] = orjson.loads(self._loop.run_until_complete(asked).data)
        except nats.errors.NoRespondersError:
            self.outcomes["no responders"] += 1
            return None
        except nats.errors.TimeoutError:
            self.unanswered.append(began)
            return None
        if answer.get("success"):
            self.outcomes["200"] += 1
            return answer
        self.outcomes[str(answer.get("status"))] += 1
        if not (answer.get("retryable") and answer.get("detail")):
            self.unclear.append(str(answer)[:300])
        return None

    def close(self) -> None:
        self._loop.run_until_complete(self._nc.close())
        self._loop.close()


class Days:
    """The days behind a market: its last day again and again."""

    def __init__(self, market: Path) -> None:
        frame = pl.read_parquet(market)
        self.last = frame["date"].max()
        self._frame = frame
        self._rows = frame.filter(pl.col("date") == self.last)

    def history(self, count: int) -> dict[str, list[Any]]:
        """Give the last so many days of the market."""
        first = self._frame["date"].unique().sort()[-count]
        rows = self._frame.filter(pl.col("date") >= first).with_columns(pl.col("date").cast(pl.String))
        return rows.to_dict(as_series=False)

    def rows(self, number: int) -> dict[str, list[Any]]:
        day = dt.date.fromisoformat(str(self.last)) + dt.timedelta(days=number)
        return self._rows.with_columns(pl.lit(str(day)).alias("date")).to_dict(as_series=False)


class Flow:
    """A reader or a writer on a thread of its own.

    Attributes
    ----------
    answered
        How often it had an answer.
    events
        Of a reader: the ids of what the engine said to be on the bus, or durably on its way there.
    held
        The same of what it said to be on its way only.
    versions
        Of a writer: the version of the model that each day made, by the id of its request.
    """

    def __init__(self, door: Callable[[], Door], work: Callable[[Flow], None]) -> None:
        self._door, self._work = door, work
        self.stop, self.given_up, self.opened = threading.Event(), threading.Event(), threading.Event()
        self.answered = 0
        self.events: list[str] = []
        self.held: list[str] = []
        self.versions: dict[str, int] = {}
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    door: Door

    def _run(self) -> None:
        try:
            self.door = self._door()
            self.opened.set()
            self._work(self)
            self.door.close()
        except BaseException as error:  # noqa: BLE001  raised again where the block ends
            self._failed = error
        finally:
            self.opened.set()

    def ask(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        answer = self.door.ask(what, body)
        self.answered += answer is not None
        self.stop.wait(PAUSE_S)
        return answer

    def __enter__(self) -> Self:
        self._thread.start()
        self.opened.wait()
        return self

    def __exit__(self, _kind: object, failed: BaseException | None, _trace: object) -> None:
        if failed is not None:
            self.given_up.set()
        self.stop.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed


def reader(book: str) -> Callable[[Flow], None]:
    """Ask for the exposures of a book, which nobody else asks for."""

    def work(flow: Flow) -> None:
        while not flow.stop.is_set():
            answer = flow.ask("exposures", {**PORTFOLIO, "portfolio_id": book})
            if answer is not None:
                made = answer["calculation_result"]
                (flow.events if made["messagebus_published"] else flow.held).append(made["calculation_id"])

    return work


def writer(model: str, days: Days, first: int) -> Callable[[Flow], None]:
    """Append day after day to a model, which nobody else writes, each until it is acknowledged."""

    def work(flow: Flow) -> None:
        for number in itertools.count(first):
            identity = f"{model}-{number}"
            body = {"model_id": model, "feature_data": days.rows(number), "request_id": identity}
            while (answer := flow.ask("append", body)) is None:
                if flow.given_up.is_set():
                    return
            flow.versions[identity] = answer["model_version"]
            if flow.stop.is_set():
                return

    return work
