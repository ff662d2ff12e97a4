"""Who asks: set where a request comes in, read where a write is noted."""

from __future__ import annotations

from contextvars import ContextVar

UNKNOWN = "unknown"
LOCAL = "local"
"""Whoever asks over HTTP where no token is required."""
caller: ContextVar[str] = ContextVar("caller", default=UNKNOWN)
"""`local`, `token:<name>`, `nats:<peer engine>`, `durable:<peer engine>`, `feed`, or `start`."""
