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
            for _ in range(self._others):  # each begins one, as long as none of them is ready
                pool.submit(_prepare)
        self._begun = set(multiprocessing.active_children()) - before
        return pool

    def close(self) -> None:
        """End the processes, whatever they compute."""
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in self._begun:
                process.kill()
            pool.shutdown(cancel_futures=True)

    def run(
        self, function: Callable[..., float], arguments: Sequence[tuple[Any, ...]], look: Callable[[], None]
    ) -> list[float]:
        """Give the results; the first failure ends the others."""
        chains = _Chains(arguments)

        def fill(before: Future[float] | None = None) -> None:
            """Give a chain to each process without one; the pool calls it from its own thread behind each chain.

            This process may be in the midst of a block then, and the other one would wait for its end.
            """
            with chains.lock:
                if before is not None and (before.cancelled() or before.exception() is not None):
                    return
                pool = self._pool
                while chains.waiting and pool is not None and chains.under_way < self._others:
                    number = chains.waiting[0]
                    try:
                        future = pool.submit(function, *arguments[number])
                    except BrokenProcessPool:
                        chains.died = True
                        return
                    chains.waiting.popleft()
                    chains.running[future] = number
                    future.add_done_callback(fill)

        def tend() -> None:
            if chains.collect():
                self._replace()
            fill()
            look()

        try:
            while chains.waiting or chains.running:
                tend()
                number = chains.take()
                if number is not None:
                    chains.made[number] = function(*arguments[number], tend)
                elif chains.running:
                    wait(list(chains.running), LOOK_S, FIRST_COMPLETED)
        finally:
            with chains.lock:
                chains.waiting.clear()
        return [chains.made[number] for number in range(len(arguments))]

    def _replace(self) -> None:
        self.close()
        if not self._left:
            raise Unavailable(f"a process of the job did not come to its end, {RETRIES + 1} times")
        self._left -= 1
        self._pool = self._started()


class _Chains:
    """Numbers of the chains that wait, and of those that processes are at."""

    def __init__(self, arguments: Sequence[tuple[Any, ...]]) -> None:
        self.lock = threading.RLock()
        self.waiting = deque(range(len(arguments)))
        self.running: dict[Future[float], int] = {}
        self.made: dict[int, float] = {}
        self.died = False

    @property
    def under_way(self) -> int:
        """How many are not done yet."""
        return sum(not future.done() for future in self.running)

    def take(self) -> int | None:
        """Take the next one that waits."""
        with self.lock:
            return self.waiting.popleft() if self.waiting else None

    def collect(self) -> bool:
        """Take what is done; when a process died, have what all of them had wait again, and say so."""
        with self.lock:
            for future in [one for one in self.running if one.done()]:
                number = self.running.pop(future)
                try:
                    self.made[number] = future.result()
                except BrokenProcessPool:
                    self.died = True
                    self.waiting.appendleft(number)
            died, self.died = self.died, False
            if died:
                self.waiting.extendleft(self.running.values())
                self.running.clear()
            return died


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
