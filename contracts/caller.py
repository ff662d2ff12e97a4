"""Who asks, under which id, and in which trace: set where a request comes in, read where it is noted or handed on."""

from __future__ import annotations

from contextvars import ContextVar

UNKNOWN = "unknown"
LOCAL = "local"
"""Whoever asks over HTTP where no token is required."""
caller: ContextVar[str] = ContextVar("caller", default=UNKNOWN)
"""`local`, `token:<name>`, `nats:<peer engine>`, `durable:<peer engine>`, `feed`, or `start`."""


class Asked:
    """A request while it is answered; whoever learns the id that its caller gave puts it here.

    Parameters
    ----------
    id
        What logs name it by, at the face and in the actor.
    """

    __slots__ = ("id",)

    def __init__(self, id: str) -> None:  # noqa: A002
        self.id = id


asked: ContextVar[Asked | None] = ContextVar("asked", default=None)
"""The request that is answered now; None where nobody asks."""
traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""The span that what is done now belongs to, as W3C writes it; empty where there is none (`contracts.tracing`)."""


def request_id() -> str:
    """Give the id of the request that is answered now; empty where nobody asks."""
    found = asked.get()
    return found.id if found is not None else ""
