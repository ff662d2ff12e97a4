"""A bounded mapping that several threads share: what was used longest ago goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LRU(Generic[K, V]):
    """Keeps the values that were used last, at most `limit` of them. Every method is one step under one lock.

    Parameters
    ----------
    limit : int
        Values kept; at least 1.

    Attributes
    ----------
    hits, misses, evictions : int
        Of `get` and `get_or_make`: values that were there and that were not; values that made room for others.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit is {limit}; a cache keeps at least one value")
        self.limit = limit
        self.hits = self.misses = self.evictions = 0
        self._lock = threading.Lock()
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        """Give a value and count it as used now; None where it is not kept."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
                self._values.move_to_end(key)
            return found

    def put(self, key: K, value: V) -> list[V]:
        """Keep a value as the one used last; gives what went: the key's value before, and what made room."""
        with self._lock:
            before = self._values.pop(key, None)
            gone = [] if before is None or before is value else [before]
            return gone + self._keep(key, value)

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """Give a value, made now where it is not kept.

        It is made outside the lock, so that nobody waits for it who wants something else. Two threads that want it at
        the same time may both make it; both get the one that was there first.
        """
        found = self.get(key)
        if found is not None:
            return found
        made = make()
        with self._lock:
            found = self._values.get(key)
            if found is None:
                found = made
                self._keep(key, made)
            return found

    def _keep(self, key: K, value: V) -> list[V]:
        """Put a value last and give what makes room for it; called under the lock."""
        self._values[key] = value
        gone = [self._values.popitem(last=False)[1] for _ in range(len(self._values) - self.limit)]
        self.evictions += len(gone)
        return gone

    def pop(self, key: K) -> V | None:
        """Take a value out: the caller has it for himself. None where it is not kept."""
        with self._lock:
            return self._values.pop(key, None)

    def items(self) -> list[tuple[K, V]]:
        """List what is kept, the one used longest ago first; a copy, and none of it counts as used."""
        with self._lock:
            return list(self._values.items())

    def values(self) -> list[V]:
        """List the values that are kept, the one used longest ago first; a copy, and none counts as used."""
        with self._lock:
            return list(self._values.values())
