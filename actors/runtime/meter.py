"""What an actor measures of itself: calls, errors, devices, latency per operation and stage, and what to expect."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, deque
from typing import Any

WINDOW = 1024
"""Recent samples kept per operation and stage; quantiles are over these, counts and sums over everything."""
RECENT_COSTS = 15
"""Recent batches from which the next one's cost is predicted: their median, so that one cold call does not mislead."""
UNKNOWN_COST_S = 1e-3
FOLDED = 128
"""Answers that are counted together: to count each where it is given costs three times as much, as nothing of the meter
is in the processor's cache then."""
BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Upper bounds of a histogram's buckets; what took longer is in one more. Around the promises: 1, 2, 5 ms."""


def quantile(ordered: list[float], q: float) -> float:
    """Give the `q` quantile of ascending samples by nearest rank; 0 of none."""
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


class _Stage:
    """Samples of one stage, seconds."""

    __slots__ = ("buckets", "count", "recent", "total_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.count = 0
        self.total_s = 0.0
        self.recent: deque[float] = deque(maxlen=WINDOW)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_s += seconds
        self.recent.append(seconds)
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1

    def summary(self) -> dict[str, float]:
        ordered = sorted(self.recent)
        return {
            "count": self.count,
            "sum_ms": self.total_s * 1e3,
            "p50": quantile(ordered, 0.5) * 1e3,
            "p99": quantile(ordered, 0.99) * 1e3,
        }


class _Operation:
    """All that is counted of one operation."""

    __slots__ = ("calls", "costs", "devices", "errors", "expected_s", "stages")

    def __init__(self) -> None:
        self.calls = 0
        self.errors: Counter[str] = Counter()
        self.devices: Counter[str] = Counter()
        self.stages: dict[str, _Stage] = {}
        self.costs: deque[float] = deque(maxlen=RECENT_COSTS)
        self.expected_s = UNKNOWN_COST_S


class Meter:
    """Counts and latencies per operation; for use by several threads. Memory is bounded per operation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operations: dict[str, _Operation] = {}
        self._overall = _Stage()
        # One deque for good: whoever puts something into it needs no lock.
        self._new: deque[tuple[str, str, bool, dict[str, float]]] = deque()

    def _of(self, operation: str) -> _Operation:
        found = self._operations.get(operation)
        if found is None:
            found = self._operations[operation] = _Operation()
        return found

    def answered(self, operation: str, device: str, **stages_s: float) -> None:
        """Count one answer that `device` computed, and the seconds that each stage took."""
        self._note(operation, device, True, stages_s)

    def failed(self, operation: str, code: str, **stages_s: float) -> None:
        """Count one answer that was a problem, by its code."""
        self._note(operation, code, False, stages_s)

    def _note(self, operation: str, what: str, answered: bool, stages_s: dict[str, float]) -> None:
        """Keep an answer to be counted with others."""
        self._new.append((operation, what, answered, stages_s))
        if len(self._new) >= FOLDED:
            with self._lock:
                self._fold()

    def _fold(self) -> None:
        """Count what is new; the lock is held."""
        for _ in range(len(self._new)):
            operation, what, answered, stages_s = self._new.popleft()
            row = self._of(operation)
            row.calls += 1
            (row.devices if answered else row.errors)[what] += 1
            self._stages(row, stages_s)

    def _stages(self, row: _Operation, stages_s: dict[str, float]) -> None:
        total = 0.0
        for name, seconds in stages_s.items():
            stage = row.stages.get(name)
            if stage is None:
                stage = row.stages[name] = _Stage()
            stage.add(seconds)
            total += seconds
        self._overall.add(total)

    def learn(self, operation: str, seconds: float, n_items: int) -> None:
        """Take in that a batch of `n_items` took `seconds` to compute."""
        with self._lock:
            row = self._of(operation)
            row.costs.append(seconds / n_items)
            ordered = sorted(row.costs)
            row.expected_s = ordered[len(ordered) // 2]

    def expected_s(self, operation: str) -> float:
        """Predict the seconds that one item will take."""
        row = self._operations.get(operation)
        return row.expected_s if row is not None else UNKNOWN_COST_S

    def overall(self) -> dict[str, float]:
        """Give count, sum_ms, p50 and p99 of all stages together, over all operations."""
        with self._lock:
            self._fold()
            return self._overall.summary()

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Give calls, errors by code, devices and ``stages_ms`` per operation.

        Of a stage: count, sum_ms, p50 and p99, and ``buckets``, how many took at most each of `BUCKETS_S`, or longer.
        """
        with self._lock:
            self._fold()
            return {
                name: {
                    "calls": row.calls,
                    "errors": dict(row.errors),
                    "devices": dict(row.devices),
                    "stages_ms": {
                        stage: {**samples.summary(), "buckets": list(samples.buckets)}
                        for stage, samples in row.stages.items()
                    },
                }
                for name, row in self._operations.items()
            }
