"""What is known of one kernel in one bucket of sizes: a mean for each device, and the line over all buckets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contracts.work import Device

REMEMBERED = 16
"""Samples that a mean is made of: an older one counts for less, so that a device that slows down is noticed."""
BEYOND = 0.5
"""A sample that differs from the mean by more is set aside."""
IN_A_ROW = 3
ENOUGH = 3
"""Samples from which on a bucket speaks for itself."""
SELDOM = 4
"""What a device that is asked seldom is remembered by: its samples are far apart."""
UNKNOWN_SPREAD = 0.3

Bucket = tuple[int, ...]


def bucket_of(sizes: Sequence[int]) -> Bucket:
    """Give the bucket of sizes: for each the exponent of the power of two that holds it."""
    return tuple([(n - 1).bit_length() for n in sizes])


class Estimate:
    """What is known of one device in one bucket: seconds at the bucket's reference work.

    Attributes
    ----------
    mean : float
        Seconds; infinite while nothing is known.
    variance : float
        Of one call, relative to the square of the mean.
    n : int
        Samples taken in, at most those remembered.
    fixed : float
        The part of `mean` that does not grow with the work.
    """

    __slots__ = ("aside", "aside_sum", "asked_at", "fixed", "mean", "n", "seen", "source", "variance")

    def __init__(self, mean: float, fixed: float, source: str) -> None:
        self.mean, self.fixed, self.source = mean, fixed, source
        self.variance = UNKNOWN_SPREAD**2
        self.n = self.seen = self.aside = 0
        self.aside_sum = 0.0
        self.asked_at = 0

    def predict(self, scale: float) -> float:
        """Give seconds for `scale` times the reference work."""
        fixed = min(self.mean, self.fixed)
        return fixed + (self.mean - fixed) * scale

    def learn(self, seconds: float, scale: float, *, first_counts: bool = False, seldom: bool = False) -> bool:
        """Take in a measured call; whether it changed what is known. `seldom`: the device is not asked otherwise."""
        if seldom:
            self.n = min(self.n, SELDOM)
        self.seen += 1
        if self.seen == 1 and not first_counts:
            return False  # it compiles, allocates and warms caches
        if seconds > self.fixed and self.fixed < self.mean:
            seconds = self.fixed + (seconds - self.fixed) / scale
        if self.n >= ENOUGH and not seldom and abs(seconds - self.mean) > BEYOND * self.mean:
            side = 1 if seconds > self.mean else -1
            if self.aside * side < 0:
                self.aside, self.aside_sum = 0, 0.0
            self.aside += side
            self.aside_sum += seconds
            if abs(self.aside) < IN_A_ROW:
                return False
            self.mean, self.n = self.aside_sum / IN_A_ROW, IN_A_ROW
            self.variance = UNKNOWN_SPREAD**2
        elif self.n == 0:
            self.mean, self.n = seconds, 1
        else:
            self.n = min(self.n + 1, REMEMBERED)
            weight = 1.0 / self.n
            off = seconds / self.mean - 1.0
            self.mean += weight * (seconds - self.mean)
            self.variance += weight * (off * off - self.variance)
        self.aside, self.aside_sum = 0, 0.0
        self.source = "measured"
        return True

    def standard_error(self) -> float:
        """Give the standard error of the mean, relative to it."""
        return math.sqrt(self.variance / max(self.n, 1))


class Row:
    """One kernel in one bucket: its estimates by device, and the device chosen last."""

    __slots__ = ("bucket", "calls", "chosen", "estimates", "kernel", "moved", "work")

    def __init__(self, kernel: str, bucket: Bucket, work: float, moved: float) -> None:
        self.kernel, self.bucket, self.work, self.moved = kernel, bucket, work, moved
        self.estimates: dict[Device, Estimate] = {}
        self.chosen: Device | None = None
        self.calls = 0


def nonnegative_line(X: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit least relative squares with coefficients of at least 0: the best of the subsets whose own fit has none below.

    Three columns are seven subsets, so none is missed. Fewer points than columns leave columns out.
    """
    scale = X.max(axis=0)
    scale[scale <= 0.0] = 1.0
    A = X / scale / y[:, None]
    best, least = np.zeros(3), math.inf
    for size in range(1, min(3, len(y)) + 1):
        for chosen in itertools.combinations(range(3), size):
            fitted, *_ = np.linalg.lstsq(A[:, chosen], np.ones(len(y)), rcond=None)
            if (fitted < 0.0).any():
                continue
            off = float(((A[:, chosen] @ fitted - 1.0) ** 2).sum())
            if off < least - 1e-12:
                best, least = np.zeros(3), off
                best[list(chosen)] = fitted
    found: NDArray[np.float64] = best / scale
    return found
