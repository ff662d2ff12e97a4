"""Chains on one machine without a cluster: in this process, and in others beside it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from contracts.errors import Unavailable
from factors.numeric.threads import count_threads

LOOK_S = 0.5
RETRIES = 3
"""So many processes may die: their chains are begun again, and go on behind what they had made."""
ONE_THREAD = ("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Processes:
    """Runs chains here and in processes of its own, which get ready while this one plans.

    A Ray of a job's own would take six seconds of the processor for its start, and this process would only wait: two
    tasks took longer than the gate of `benchmarks/recompute.py` allows.

    Parameters
    ----------
    most
        Chains at once, the one of this process among them; default: one for each processor of this process.
    """

    def __init__(self, most: int | None = None) -> None:
        self._others = count_threads(most) - 1
        self._left = RETRIES
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor | None:
        if not self._others:
            return None
        pool = ProcessPoolExecutor(self._others, multiprocessing.get_context("spawn"), _begin)
        before = set(multiprocessing.active_children())
        with _one_thread():
            pool.submit(_prepare)
        self._begun = set(multiprocessing.active_children()) - before
        return pool

    def close(self) -> None:
        """End the processes, whatever they compute."""
        if self._pool is not None:
            for process in self._begun:
                process.kill()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def run(
        self, function: Callable[..., float], arguments: Sequence[tuple[Any, ...]], look: Callable[[], None]
    ) -> list[float]:
        """Give the results; the first failure ends the others."""
        waiting = deque(enumerate(arguments))
        running: dict[Future[float], int] = {}
        made: dict[int, float] = {}

        def tend() -> None:
            self._collect(running, made, waiting, arguments)
            while waiting and self._pool is not None and len(running) < self._others:
                number, one = waiting.popleft()
                running[self._pool.submit(function, *one)] = number
            look()

        while waiting or running:
            tend()
            if waiting:
                number, one = waiting.popleft()
                made[number] = function(*one, tend)
            elif running:
                wait(running, LOOK_S, FIRST_COMPLETED)
        return [made[number] for number in range(len(arguments))]

    def _collect(
        self,
        running: dict[Future[float], int],
        made: dict[int, float],
        waiting: deque[tuple[int, tuple[Any, ...]]],
        arguments: Sequence[tuple[Any, ...]],
    ) -> None:
        """Take what is done; when a process died, put what all of them had back, and start others."""
        died = False
        for future in [one for one in running if one.done()]:
            number = running.pop(future)
            try:
                made[number] = future.result()
            except BrokenProcessPool:
                died = True
                waiting.appendleft((number, arguments[number]))
        if died:
            waiting.extendleft((number, arguments[number]) for number in running.values())
            running.clear()
            self.close()
            if not self._left:
                raise Unavailable(f"a process of the job did not come to its end, {RETRIES + 1} times")
            self._left -= 1
            self._pool = self._started()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have processes that begin meanwhile compute with one thread each."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin() -> None:
    """End with the process that this one works for, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _prepare() -> None:
    """Read what every chain needs, so that the first one finds it there."""
    from contracts.settings import settings
    from jobs.chains import prepare

    prepare(settings())
