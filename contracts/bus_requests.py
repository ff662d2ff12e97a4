"""What callers send about the message bus itself: its mode, dead letters, stored events."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.requests import Request

_MOST = 2**53


class BusRequest(BaseModel):
    """A request about the bus; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SetBusMode(BusRequest):
    """Change what the message bus does while the engine runs."""

    mode: Literal["off", "publish", "full"] = Field(
        description="`full`: requests and market data are taken, events published. `publish`: events only. "
        "`off`: neither."
    )


class DeadLettersPage(BusRequest):
    """Which dead letters."""

    after: int = Field(0, ge=0, le=_MOST, description="`last` of the page before.")
    limit: int = Field(50, ge=1, le=200, description="Rows at most.")


class LetterNumber(BusRequest):
    """One dead letter."""

    letter_id: int = Field(ge=1, le=_MOST, description="Its `id`.")


class EventsPage(BusRequest):
    """Which stored events."""

    after: int = Field(0, ge=0, le=_MOST, description="`last` of the page before; 0: from the oldest that is kept.")
    limit: int = Field(100, ge=1, le=500, description="Events at most.")
    subject: str = Field(
        "factor.>",
        max_length=250,
        pattern=r"^factor(\.([A-Za-z0-9_=-]+|\*))*(\.>)?$",
        description="Which subjects, with NATS's wildcards.",
    )


class TestBroadcast(Request):
    """Publish a test event and say what became of it."""

    __test__ = False  # not a pytest class

    message: str = Field("test", max_length=1000)
