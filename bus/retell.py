"""Events of model versions that were committed and never told: their process died between the commit and the outbox.

The manifests are the truth, and the outbox keeps which version of which model it was given an event of, in the
transaction that keeps the event. What is in the one and not in the other is told here, under the id that it would have
had, so that an event that was on its way all the same is dropped as a repeat.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bus.face import Face
from bus.outbox import Outbox
from bus.outbox_table import MODEL_EVENTS
from bus.streams import MARKET_DATA
from contracts.answers import Calculation
from contracts.errors import EngineError, UnknownModel
from contracts.events import token
from contracts.operations import OPERATIONS
from contracts.requests import ModelRef
from contracts.work import Priority
from store import ModelStore

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""A version as young as this may still be told by the process that made it."""
EVERY_S = 15.0
WANTED_S = 0.5
_UPDATED = "append_day"
"""The row whose event tells of a version that no row of its own made, such as a job's."""


class Untold(NamedTuple):
    """A version that nobody told of."""

    model_id: str
    operation: str
    request_id: str
    made: Calculation


class Retell:
    """Looks for untold versions and tells them.

    Parameters
    ----------
    store
        The models.
    outbox
        What was told, and where events go.
    face
        Makes the events.
    wanted
        While it says no, nothing is told: another bridge does, or the bus is off.

    Attributes
    ----------
    told
        Versions told so far.
    """

    def __init__(
        self, store: ModelStore, outbox: Outbox, face: Face, wanted: Callable[[], bool] = lambda: True
    ) -> None:
        self._wanted = wanted
        self._store = store
        self._outbox = outbox
        self._face = face
        self.told = 0

    async def run(self) -> None:
        """Look now and then, for as long as the bridge lives."""
        while True:
            # What is committed while the bus is off is told when it is on again.
            if self._wanted():
                await self.look()
            await asyncio.sleep(EVERY_S if self._wanted() else WANTED_S)

    async def look(self) -> int:
        """Tell what nobody told, oldest first; gives how many versions that were."""
        found = await asyncio.to_thread(lambda: list(self._untold()))
        for one in found:
            row = OPERATIONS.get(one.operation, OPERATIONS[_UPDATED])
            request = ModelRef(model_id=one.model_id)
            text = f"{one.operation}:{one.model_id}:{one.request_id}"
            identity = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
            await self._face.announce(row, request, one.made, identity, {}, Priority.NORMAL)
            log.warning("version %s of %s was committed and not told; it is now", one.made.model_version, one.model_id)
        self.told += len(found)
        return len(found)

    def _untold(self) -> Iterator[Untold]:
        told = self._outbox.told()
        for model_id, newest in self._store.newest():
            known = told.get(f"{MODEL_EVENTS}{token(model_id)}", set())
            # Of a model that was never told of, the newest version says all that can be asked for.
            first = min(known) + 1 if known else newest.version
            for number in range(max(first, newest.version - self._store.keep_versions), newest.version + 1):
                if number not in known:
                    yield from self._one(model_id, number)

    def _one(self, model_id: str, number: int) -> Iterator[Untold]:
        # The mathematics behind it is loaded only where there is something to tell.
        from actors.workloads.factor_model_creation import deletion, describe

        try:
            version = self._store.version(model_id, number)
            manifest = version.manifest
            age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(manifest.created_at)
            if age.total_seconds() < GRACE_S:
                return
            if manifest.request_id.startswith(f"{MARKET_DATA}-"):
                return  # a bar's: it comes again from the journal until its events are out
            made = deletion(model_id, number) if manifest.deleted else describe(version)
        except UnknownModel:  # retired meanwhile
            return
        except (EngineError, OSError, ValueError, KeyError) as error:
            log.warning("version %s of %s cannot be told: %s", number, model_id, error)
            return
        yield Untold(model_id, manifest.operation, manifest.request_id, made)
