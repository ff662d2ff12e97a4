"""The order of writes: of one model, one after the other, in the order of their coming."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from contracts.errors import DeadlineExceeded, QueueFull


class Order:
    """One lock per model that is being written, so that writes of a model follow each other; at most `limit` each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def of(self, model_id: str, patience_s: float) -> AsyncIterator[None]:
        """Hold the model's lock.

        Raises
        ------
        DeadlineExceeded
            It is not free within `patience_s`.
        QueueFull
            Too many writes of the model wait already.
        """
        if self._users[model_id] >= self._limit:
            raise QueueFull(f"{self._users[model_id]} writes of model {model_id} are waiting", retry_after_s=1.0)
        lock = self._locks.setdefault(model_id, asyncio.Lock())
        self._users[model_id] += 1
        try:
            try:
                async with asyncio.timeout(patience_s):
                    await lock.acquire()
            except TimeoutError:
                raise DeadlineExceeded("the deadline passed behind earlier writes of the model") from None
            try:
                yield
            finally:
                lock.release()
        finally:
            self._users[model_id] -= 1
            if not self._users[model_id]:
                del self._users[model_id], self._locks[model_id]
