"""How long a kernel takes on each device, learned from live timings, and the choice that follows from it.

A time is ``fixed + per_work * work + per_byte * bytes`` for each kernel and device. What was seen in a bucket of sizes
itself counts more than that line, as in StarPU's history models (Augonnet, Thibault and Namyst 2010), from which the
rules of samples are taken: the first is dropped, and one beyond 50 % of the mean is set aside. Unlike there, three set
aside in a row on one side replace the mean: then it is the device that changed. Old samples are forgotten. And when
the last dozen calls of a device, of several sizes, were all apart from what was predicted, its other sizes follow.

The model knows times only. Which devices may be asked at all (accuracy, faults) is for `devices.standing`.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contracts.work import Device
from devices.estimates import ENOUGH, IN_A_ROW, Bucket, Estimate, Row, bucket_of, nonnegative_line

HYSTERESIS = 0.03
"""Another device is taken when it is faster by more, so that two equal ones are not changed between all the time."""
EXPLORED_SHARE = 0.02
"""Calls at most that go to a device which is not thought the fastest, to learn whether it has become so."""
EXPLORED_TIME = 0.004
"""What they may cost together at most, as a share of all time spent."""
EXPLORE_EVERY = 50
"""Calls of one bucket between two such calls to one device."""
VOTES = 3
"""Buckets that must have seen a device change, one after the other, until the others are taken to have changed too."""
CHANGED = 1.4
TOGETHER = 12
"""Last calls of a device, whatever they computed: when `ALIKE` of them took longer than predicted, or shorter, the
device changed. So it is noticed soon, for sizes too that are asked for seldom."""
ALIKE = 10
APART = math.log(1.12)
LEAST_CHANGE = math.log(1.25)
BUCKETS = 4
"""Buckets that those calls are of at least: that one size changed says nothing of the device."""
SAFE = 4.0
"""A call is explored only where the deadline is so many times its predicted time away."""
ROWS_KEPT = 4096
REFIT_EVERY = 256


@dataclass(slots=True)
class Decision:
    """Where a call goes. `predicted_s` is its own time, without the queue; None where nothing is known."""

    device: Device
    predicted_s: float | None
    explored: bool
    row: Row
    scale: float


@dataclass(frozen=True)
class Preference:
    """A choice with its reasons; see `CostModel.prefer`.

    Attributes
    ----------
    primary, fallback : Device
        The fastest, and the one that follows; the same where there is one only.
    gain : float
        Time on the CPU over time on `primary`; 1 on the CPU; NaN while one of the two was never measured.
    gain_low, gain_high : float
        Its interval of 95 %, from the standard errors of both means.
    confidence : float
        Probability that `primary` is the fastest, from the measured spread of single calls; 0 while another was never
        measured.
    seconds : dict
        Predicted seconds by device; None where nothing is known.
    samples : dict
        Samples by device.
    """

    primary: Device
    fallback: Device
    gain: float
    gain_low: float
    gain_high: float
    confidence: float
    seconds: dict[Device, float | None]
    samples: dict[Device, int]


class CostModel:
    """Learns times and chooses; for use by several threads. Memory is bounded."""

    def __init__(self, lanes: dict[Device, int] | None = None) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, Bucket], Row] = {}
        self._lines: dict[tuple[str, Device], np.ndarray] = {}
        self._lanes = lanes or {}
        self._backlog: dict[Device, float] = dict.fromkeys(Device, 0.0)
        self._votes: dict[Device, list[tuple[Row, float]]] = {}
        self._lately: dict[Device, deque[tuple[Row, float]]] = {d: deque(maxlen=TOGETHER) for d in Device}
        self._learned = 0
        self.calls = 0
        self.explored = 0
        self.spent_s = 0.0
        self.explored_s = 0.0

    # How a call goes: decide, begin, finish ------------------------------------------------------------------------

    def decide(
        self,
        kernel: str,
        sizes: Sequence[int],
        work: float,
        moved: float,
        candidates: Sequence[Device],
        remaining_s: float = math.inf,
    ) -> Decision:
        """Choose the device of one call.

        Parameters
        ----------
        kernel, sizes
            The kernel and the sizes of its arguments.
        work, moved
            Floating-point operations and bytes of the call.
        candidates
            Devices that may run it, the CPU first.
        remaining_s
            Seconds until the caller's deadline.
        """
        with self._lock:
            row = self._row(kernel, bucket_of(sizes), work, moved)
            scale = work / row.work
            row.calls += 1
            self.calls += 1
            best, best_s, own = candidates[0], math.inf, math.inf
            kept_s = math.inf
            for device in candidates:
                estimate = row.estimates.get(device) or self._estimate(row, device)
                seconds = estimate.predict(scale)
                cost = seconds + self._backlog[device] / self._lanes.get(device, 1)
                if cost < best_s:
                    best, best_s, own = device, cost, seconds
                if device is row.chosen:
                    kept_s, kept_own = cost, seconds
            if best is not row.chosen and kept_s < best_s * (1.0 + HYSTERESIS):
                assert row.chosen is not None
                best, best_s, own = row.chosen, kept_s, kept_own
            row.chosen = best
            if len(candidates) > 1 and self.explored + 1 <= EXPLORED_SHARE * self.calls:
                other = self._to_explore(row, scale, candidates, best, best_s, remaining_s)
                if other is not None:
                    self.explored += 1
                    known = row.estimates[other].predict(scale)
                    return Decision(other, known if known < math.inf else None, True, row, scale)
            row.estimates[best].asked_at = row.calls
            return Decision(best, own if own < math.inf else None, False, row, scale)

    def _to_explore(
        self, row: Row, scale: float, candidates: Sequence[Device], best: Device, best_s: float, remaining_s: float
    ) -> Device | None:
        """Find a device whose time is old, whose call is paid for by what was saved up, and safe for the deadline."""
        found, oldest = None, EXPLORE_EVERY - 1
        for device in candidates:
            if device is best:
                continue
            estimate = row.estimates[device]
            age = row.calls - estimate.asked_at
            if age <= oldest and estimate.n:
                continue
            own = estimate.predict(scale)
            cost = own + self._backlog[device] / self._lanes.get(device, 1)
            if cost == math.inf:
                # Nothing is known: it is tried where the deadline would bear a hundred times the best.
                cost, safe = best_s, remaining_s > 25.0 * SAFE * best_s
            else:
                safe = remaining_s > SAFE * cost
            extra = max(cost - best_s, 0.0)
            if safe and best_s < math.inf and self.explored_s + extra <= EXPLORED_TIME * self.spent_s:
                found, oldest = device, age
        if found is not None:
            row.estimates[found].asked_at = row.calls
        return found

    def begin(self, decision: Decision) -> None:
        """Count the call into the queue in front of its device."""
        if decision.predicted_s is not None:
            with self._lock:
                self._backlog[decision.device] += decision.predicted_s

    def finish(self, decision: Decision, seconds: float | None) -> None:
        """Take the call out of the queue, and its time in; None: it gave no result, and its time says nothing."""
        with self._lock:
            if decision.predicted_s is not None:
                self._backlog[decision.device] = max(0.0, self._backlog[decision.device] - decision.predicted_s)
            if seconds is None:
                return
            self.spent_s += seconds
            row, scale = decision.row, decision.scale
            if decision.explored and row.chosen is not None and row.chosen is not decision.device:
                best = row.estimates[row.chosen].predict(scale)
                self.explored_s += max(0.0, seconds - best) if best < math.inf else 0.0
            self._take(row, decision.device, seconds, scale, seldom=decision.explored)

    def learn(
        self,
        kernel: str,
        sizes: Sequence[int],
        work: float,
        moved: float,
        device: Device,
        seconds: float,
        *,
        warm: bool = False,
    ) -> None:
        """Take in a measured call that was not decided here, such as one of a calibration (`warm`: after a first)."""
        with self._lock:
            row = self._row(kernel, bucket_of(sizes), work, moved)
            if device not in row.estimates:
                self._estimate(row, device)
            self._take(row, device, seconds, work / row.work, first_counts=warm)

    def _take(
        self,
        row: Row,
        device: Device,
        seconds: float,
        scale: float,
        *,
        first_counts: bool = False,
        seldom: bool = False,
    ) -> None:
        estimate = row.estimates[device]
        before, known = estimate.mean, estimate.n
        predicted = estimate.predict(scale)
        if known >= ENOUGH and not seldom and seconds > 0.0:
            self._look_at_all(device, row, math.log(seconds / predicted))
        if not estimate.learn(seconds, scale, first_counts=first_counts, seldom=seldom):
            return
        self._learned += 1
        if known >= ENOUGH:
            if seldom:
                self._vote(device, row, seconds / predicted)
            elif estimate.n == IN_A_ROW:
                self._vote(device, row, estimate.mean / before)
        if estimate.n in (1, ENOUGH) or self._learned % REFIT_EVERY == 0:
            self._fit(row.kernel, device)

    def _vote(self, device: Device, row: Row, ratio: float) -> None:
        """Take in how a device changed in one bucket; when several say the same, the others follow."""
        votes = self._votes.setdefault(device, [])
        same = not votes or (votes[0][1] > 0.0) is (ratio > 1.0)
        if 1.0 / CHANGED < ratio < CHANGED or not same:
            votes.clear()
        if 1.0 / CHANGED < ratio < CHANGED or any(voter is row for voter, _ in votes):
            return
        votes.append((row, math.log(ratio)))
        if len(votes) < VOTES:
            return
        factor = math.exp(sorted(change for _, change in votes)[VOTES // 2])
        self._follow(device, factor, [voter for voter, _ in votes])

    def _look_at_all(self, device: Device, row: Row, change: float) -> None:
        """Take in how a call's time was apart from what was predicted; when the last ones say the same, all follow."""
        lately = self._lately[device]
        lately.append((row, change))
        if len(lately) < TOGETHER or abs(change) < APART:
            return
        side = 1.0 if change > 0.0 else -1.0
        if sum([side * each > APART for _, each in lately]) < ALIKE or len({id(r) for r, _ in lately}) < BUCKETS:
            return
        middle = sorted([each for _, each in lately])[TOGETHER // 2]
        if side * middle > LEAST_CHANGE:
            apart = [(r, side * each > APART) for r, each in lately]
            changed = {id(r) for r, is_apart in apart if is_apart}
            last = {id(r): (r, is_apart) for r, is_apart in apart}
            # One that was apart and is so no longer has followed by itself.
            known = [r for r, is_apart in last.values() if not is_apart and id(r) in changed]
            self._follow(device, math.exp(middle), known)

    def _follow(self, device: Device, factor: float, known: Sequence[Row]) -> None:
        """Let what is known of a device in all buckets but those that have seen it change by a factor."""
        for row in self._rows.values():
            found = row.estimates.get(device)
            if found is not None and not any(row is one for one in known):
                found.mean, found.fixed, found.n = found.mean * factor, found.fixed * factor, min(found.n, ENOUGH)
                found.aside, found.aside_sum = 0, 0.0
        for key in self._lines:
            if key[1] is device:
                self._lines[key] = self._lines[key] * factor
        self._votes[device] = []
        self._lately[device].clear()

    # What is known -------------------------------------------------------------------------------------------------

    def _row(self, kernel: str, bucket: Bucket, work: float, moved: float) -> Row:
        row = self._rows.get((kernel, bucket))
        if row is None:
            if len(self._rows) >= ROWS_KEPT:
                self._rows.pop(next(iter(self._rows)))
            row = self._rows[kernel, bucket] = Row(kernel, bucket, max(work, 1.0), moved)
        return row

    def _estimate(self, row: Row, device: Device) -> Estimate:
        """Make the estimate of a device that was not seen in this bucket yet: by the kernel's line, if there is one."""
        line = self._lines.get((row.kernel, device))
        if line is None:
            made = Estimate(math.inf, 0.0, "unknown")
        else:
            made = Estimate(float(line @ (1.0, row.work, row.moved)), float(line[0]), "line")
        row.estimates[device] = made
        return made

    def _fit(self, kernel: str, device: Device) -> None:
        """Fit fixed, work and bytes to the buckets of a kernel, each weighing the same in relative terms."""
        points = [
            (row.work, row.moved, found)
            for row in self._rows.values()
            if row.kernel == kernel and (found := row.estimates.get(device)) is not None and found.n >= 1
        ]
        if not points:
            return
        line = nonnegative_line(
            np.array([[1.0, work, moved] for work, moved, _ in points]), np.array([e.mean for *_, e in points])
        )
        self._lines[kernel, device] = line
        for row in self._rows.values():
            found = row.estimates.get(device) if row.kernel == kernel else None
            if found is not None and found.n < 1:
                found.mean, found.fixed, found.source = float(line @ (1.0, row.work, row.moved)), float(line[0]), "line"

    def prefer(
        self, kernel: str, sizes: Sequence[int], work: float, moved: float, candidates: Sequence[Device]
    ) -> Preference:
        """Say what would be chosen for these sizes without a queue, how sure that is, and what it gains."""
        with self._lock:
            row = self._rows.get((kernel, bucket_of(sizes))) or Row(kernel, bucket_of(sizes), max(work, 1.0), moved)
            scale = work / row.work
            found = {device: row.estimates.get(device) or self._fresh(row, device) for device in candidates}
        seconds = {device: estimate.predict(scale) for device, estimate in found.items()}
        ordered = sorted(candidates, key=lambda device: seconds[device])
        primary = ordered[0]
        confidence = 1.0
        for other in ordered[1:]:
            spread = math.hypot(*(seconds[d] * math.sqrt(found[d].variance) for d in (primary, other)))
            confidence *= _normal((seconds[other] - seconds[primary]) / spread) if spread < math.inf else 0.0
        if seconds[primary] == math.inf:
            confidence = 0.0 if len(candidates) > 1 else 1.0
        gain, low, high = 1.0, 1.0, 1.0
        if primary is not Device.CPU:
            cpu = found.get(Device.CPU)
            known = cpu is not None and seconds[Device.CPU] < math.inf and seconds[primary] < math.inf
            gain = seconds[Device.CPU] / seconds[primary] if known else math.nan
            off = 1.96 * math.hypot(cpu.standard_error(), found[primary].standard_error()) if cpu and known else 0.0
            low, high = gain * math.exp(-off), gain * math.exp(off)
        return Preference(
            primary, ordered[1] if len(ordered) > 1 else primary, gain, low, high, confidence,
            {device: value if value < math.inf else None for device, value in seconds.items()},
            {device: estimate.n for device, estimate in found.items()},
        )  # fmt: skip

    def _fresh(self, row: Row, device: Device) -> Estimate:
        kept = row.estimates.copy()
        made = self._estimate(row, device)
        row.estimates = kept
        return made

    def table(self) -> list[dict[str, Any]]:
        """Give what was learned as plain values: a row for each kernel and bucket."""
        with self._lock:
            return [
                {
                    "kernel": row.kernel,
                    "sizes_up_to": [2**power for power in row.bucket],
                    "bucket": list(row.bucket),
                    "work": row.work,
                    "bytes": row.moved,
                    "calls": row.calls,
                    "chosen": row.chosen.value if row.chosen is not None else None,
                    "devices": {
                        device.value: {
                            "ms": e.mean * 1e3 if e.mean < math.inf else None,
                            "fixed_ms": e.fixed * 1e3,
                            "spread": math.sqrt(e.variance),
                            "samples": e.n,
                            "from": e.source,
                        }
                        for device, e in row.estimates.items()
                    },
                }
                for row in self._rows.values()
            ]

    def take_table(self, table: Sequence[dict[str, Any]]) -> None:
        """Take in a table as `table` gave it, where nothing was measured here yet: the seed of a calibration."""
        with self._lock:
            for said in table:
                row = self._row(said["kernel"], tuple(said["bucket"]), said["work"], said["bytes"])
                for name, about in said["devices"].items():
                    known = row.estimates.get(Device(name))
                    if about["ms"] is None or about["samples"] < 1 or (known is not None and known.n):
                        continue
                    made = Estimate(about["ms"] / 1e3, about["fixed_ms"] / 1e3, "calibration")
                    made.n, made.seen = min(int(about["samples"]), ENOUGH), 1
                    made.variance = float(about["spread"]) ** 2
                    row.estimates[Device(name)] = made
            for kernel, device in {(s["kernel"], Device(name)) for s in table for name in s["devices"]}:
                self._fit(kernel, device)


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
