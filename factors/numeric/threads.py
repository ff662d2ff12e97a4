"""Share a range of columns or dates among threads; kernels release the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

from factors.numeric import deadline


def count_threads(asked: int | None) -> int:
    """Give the number of threads: what was asked for, or the processors this process may use."""
    if asked is not None:
        return max(asked, 1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def spread(work: Callable[[int, int], Any], length: int, threads: int, least: int = 1) -> list[Any]:
    """Call ``work(begin, end)`` on consecutive parts of ``range(length)``, one a thread; the caller's is one of them.

    Results do not depend on the number of threads as long as each index is computed on its own. `work` must not spread
    again: the threads are few and shared. Under a deadline (`factors.numeric.deadline`) a part is done in blocks, and
    each gives a result.

    Parameters
    ----------
    least : int
        No part is shorter than this.
    """
    parts = max(1, min(threads, length // max(least, 1)))
    bounds = [length * part // parts for part in range(parts + 1)]
    limit = deadline.current()

    def part(begin: int, end: int) -> list[Any]:
        if limit is None:
            return [work(begin, end)]
        with deadline.until(limit):
            return deadline.in_blocks(work, begin, end, max(least, 1), limit)

    others = [_pool(parts - 1).submit(part, *pair) for pair in pairwise(bounds[1:])] if parts > 1 else []
    done = part(0, bounds[1])
    for other in others:
        done += other.result()
    return done


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for parts: a fit spreads hundreds of times."""
    return ThreadPoolExecutor(threads, thread_name_prefix="factors")


# A child has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
