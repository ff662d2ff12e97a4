"""Events of a job: peers see how far it is on ``factor.batch.{job_id}``, in the form of every other result."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from typing import Any

from bus.outbox import Outbox, OutboxError, outbox_for_face
from contracts.bus_mode import BusMode, ModeFile
from contracts.errors import first_line
from contracts.events import event, token
from contracts.settings import settings
from contracts.work import Device, Priority

KIND = "FACTOR_BATCH"
EVERY_S = 5.0
"""Between two changes of the stage so much lies between two events: the stream keeps them for days."""


class JobEvents:
    """Puts what a job tells into the node's outbox; what cannot be put is left out, since the next one says more."""

    def __init__(self) -> None:
        self._outbox: Outbox | None = None
        self.trouble: str | None = None
        """Why peers are told nothing, where the outbox cannot be opened: no reason to make no results."""
        try:
            self._outbox = outbox_for_face(settings())
        except (OutboxError, OSError, sqlite3.Error) as error:
            self.trouble = first_line(error)
        self._mode = ModeFile.of(settings())
        self._stage: tuple[str, str] | None = None
        self._at = 0.0

    def __call__(self, told: dict[str, Any]) -> None:
        """Tell how far the job is."""
        stage = (told["stage"], told["state"])
        now = time.monotonic()
        if self._outbox is None or told["job_id"] is None or self._mode.now is BusMode.OFF:
            return
        if stage == self._stage and now - self._at < EVERY_S:
            return
        self._stage, self._at = stage, now
        made = event(f"factor.batch.{token(told['job_id'])}", KIND, self._data(told), priority=Priority.LOW)
        try:
            asyncio.run(self._outbox.put([made]))
        except OutboxError:
            return

    @staticmethod
    def _data(told: dict[str, Any]) -> dict[str, Any]:
        name = f"{told['job_id']}:{told['started_at']}:{told['at']}"
        return {
            "calculation_id": hashlib.blake2b(name.encode(), digest_size=16).hexdigest(),
            "factor_type": "job",
            "factor_values": told,
            "calculation_time_ms": round(1e3 * (told["at"] - told["started_at"]), 3),
            "hardware_used": Device.CPU.value,
            "confidence_score": 1.0,
            "messagebus_published": True,
            "model_id": told["model_id"],
        }

    def close(self) -> None:
        """Let the outbox go."""
        if self._outbox is not None:
            self._outbox.close()
