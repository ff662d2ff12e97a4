"""The NATS micro service `factor-engine`: ``$SRV.PING``, ``$SRV.INFO`` and ``$SRV.STATS`` (ADR-32).

nats-py's own service handles the requests of an endpoint one after another; ours are answered at once by the request
desk, which counts them, and this only tells.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.subjects import QUEUE_GROUP, groups, may_reply
from contracts.operations import by_subject
from contracts.work import new_id

NAME = "factor-engine"
_KINDS = {"PING": "ping", "INFO": "info", "STATS": "stats"}


@dataclass
class Endpoint:
    """What one request subject did."""

    subject: str
    requests: int = 0
    errors: int = 0
    nanoseconds: int = 0
    last_error: str = ""

    @property
    def name(self) -> str:
        """The subject as an endpoint name: letters, digits, ``-`` and ``_``."""
        return self.subject.replace(".", "-").replace("*", "any")

    def stats(self) -> dict[str, Any]:
        """Give the counters as ADR-32 names them; times in nanoseconds."""
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": QUEUE_GROUP,
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": self.nanoseconds,
            "average_processing_time": self.nanoseconds // self.requests if self.requests else 0,
        }


def endpoints() -> dict[str, Endpoint]:
    """Make one endpoint for each request subject, and one for each group's other names."""
    subjects = (*by_subject(), *(f"{group}.*" for group in groups()))
    return {subject: Endpoint(subject) for subject in subjects}


class Micro:
    """Answers for one instance of the service.

    Parameters
    ----------
    known : mapping of str to Endpoint
        The request desk's counters.
    version : str
        Semantic version.
    """

    def __init__(self, known: dict[str, Endpoint], version: str) -> None:
        self._endpoints = known
        self.id = new_id()[:22]
        self._identity = {"name": NAME, "id": self.id, "version": version, "metadata": {}}
        self._started = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def start(self, nc: Client) -> None:
        """Subscribe to the control subjects on a new connection."""
        for verb in _KINDS:
            for subject in (f"$SRV.{verb}", f"$SRV.{verb}.{NAME}", f"$SRV.{verb}.{NAME}.{self.id}"):
                await nc.subscribe(subject, cb=self._answer)

    async def _answer(self, msg: Msg) -> None:
        if msg.reply and may_reply(msg.reply):
            make: Callable[[], dict[str, Any]] = getattr(self, _KINDS[msg.subject.split(".")[1]])
            await msg.respond(orjson.dumps(make()))

    def ping(self) -> dict[str, Any]:
        """Say who we are."""
        return {"type": "io.nats.micro.v1.ping_response", **self._identity}

    def info(self) -> dict[str, Any]:
        """Say what we answer."""
        listed = [
            {"name": e.name, "subject": e.subject, "queue_group": QUEUE_GROUP, "metadata": {}}
            for e in self._endpoints.values()
        ]
        return {
            "type": "io.nats.micro.v1.info_response",
            **self._identity,
            "description": "Factor models and factor definitions, computed on request",
            "endpoints": listed,
        }

    def stats(self) -> dict[str, Any]:
        """Say how often and how long."""
        return {
            "type": "io.nats.micro.v1.stats_response",
            **self._identity,
            "started": self._started,
            "endpoints": [e.stats() for e in self._endpoints.values()],
        }
