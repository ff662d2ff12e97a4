"""What goes out on ``factor.health_metrics`` each second: what changed, and now and then the whole."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Spread(_Part):
    """Latency of what was measured lately, ms; missing where nothing was."""

    p50: float | None = None
    p99: float | None = None


class ActorMetrics(_Part):
    """One actor."""

    state: str
    device: str | None = Field(None, description="Where it sits.")
    queue_length: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class BusMetrics(_Part):
    """The bridge that publishes this, and what waits."""

    mode: str
    jetstream: str
    connections: int
    waiting: int = Field(description="Events in the outbox.")
    in_flight: int = Field(description="Events sent and not yet acknowledged.")
    requests_in_work: int
    undeliverable: int
    dropped: int
    refused: int
    rejected: int = Field(description="Durable messages that became dead letters.")


class Metrics(_Part):
    """The whole."""

    state: str
    degraded: list[dict[str, Any]] = Field(description="Each part that is not as it should be, with the reason.")
    latency_ms: dict[str, Spread] = Field(
        description="`answers`: of the actors, the slowest; `delivery`: from sending an event to its acknowledgement."
    )
    throughput_per_s: dict[str, float | None] = Field(
        description="`answers` of the actors, `requests` over NATS, `events`; since the look before."
    )
    success: float | None = Field(
        None, description="Share of the answers since the look before; missing when there were none."
    )
    devices: dict[str, int] = Field(description="Answers that each device computed, since the actors began.")
    actors: dict[str, ActorMetrics]
    models: dict[str, int] = Field(description="Newest version of each model.")
    bus: BusMetrics


class HealthMetrics(_Part):
    """One message. Whoever applies `changes` (RFC 7396, JSON merge patch) to what he has, has the whole."""

    sequence: int = Field(
        description="One more than the message before; after a gap wait for a whole, or read the bucket."
    )
    run: str = Field(description="Another one numbers anew.")
    time: str
    whole: bool
    metrics: Metrics | None = Field(None, description="Where `whole`.")
    changes: dict[str, Any] | None = Field(None, description="Where not; empty when nothing changed.")
