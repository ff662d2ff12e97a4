"""The writer and the library in the test's process, for tests that need NATS and the real actors, but no Ray."""

from __future__ import annotations

import asyncio

from fixtures_nats import ClientDouble

from contracts.errors import Unavailable
from contracts.operations import OPERATIONS, Workload
from contracts.work import work_item


class ActorsHere(ClientDouble):
    """Has the interface of `RouterClient`; the two actors are the real ones, in this process."""

    def __init__(self, writer, library):
        super().__init__()
        self.actors = {Workload.FACTOR_MODEL_CREATION: writer, Workload.FACTOR_LIBRARY: library}

    async def call(self, operation, request, *, priority, timeout_s=None, request_id=None, turn=None):
        item = work_item(operation, request, priority=priority, timeout_s=timeout_s or 60.0, request_id=request_id)
        return (await asyncio.to_thread(self.actors[OPERATIONS[operation].workload].call_heavy, [item]))[0]

    away = False
    """Whether the live call is cut off, as when the actor died."""

    async def live(self, packed):
        if self.away:
            raise Unavailable("cut off")
        return await asyncio.to_thread(self.actors[Workload.FACTOR_LIBRARY].live_call, packed)
