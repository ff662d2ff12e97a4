"""Share a range of columns or dates among threads; kernels release the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def count_threads(asked: int | None) -> int:
    """Give the number of threads: what was asked for, or the processors this process may use."""
    if asked is not None:
        return max(asked, 1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def spread(work: Callable[[int, int], Any], length: int, threads: int, least: int = 1) -> list[Any]:
    """Call ``work(begin, end)`` on consecutive parts of ``range(length)``, one a thread.

    Results do not depend on the number of threads as long as each index is computed on its own.

    Parameters
    ----------
    least : int
        No part is shorter than this; one part is run in the caller's thread.
    """
    parts = max(1, min(threads, length // max(least, 1)))
    bounds = [length * part // parts for part in range(parts + 1)]
    if parts == 1:
        return [work(0, length)]
    with ThreadPoolExecutor(parts) as pool:
        return list(pool.map(work, bounds[:-1], bounds[1:]))
