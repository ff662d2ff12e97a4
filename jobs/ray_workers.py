"""Chains as Ray tasks of one CPU each, no more in flight than the cluster has room for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from contracts.errors import EngineError, Unavailable, first_line
from contracts.settings import NAMESPACE
from factors.errors import FactorError

LOOK_S = 0.5
RETRIES = 3
"""A worker that dies takes its chain with it; Ray runs it again, and it goes on behind what it had made."""


class RayWorkers:
    """Runs chains on the Ray that the environment names, as a submitted job has it.

    Parameters
    ----------
    most
        Tasks at once; default: one for each CPU of the cluster.
    """

    def __init__(self, most: int | None = None) -> None:
        import ray

        self._ray = ray
        if not ray.is_initialized():
            ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
        cores: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self._most = most or max(int(cores.get("CPU", 1)), 1)

    def close(self) -> None:
        """Nothing is held: the connection ends with the process."""

    def run(
        self, function: Callable[..., float], arguments: Sequence[tuple[Any, ...]], look: Callable[[], None]
    ) -> list[float]:
        """Give the results; the first failure ends the others."""
        ray = self._ray
        environment = {"env_vars": dict.fromkeys(("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS"), "1")}
        task = ray.remote(num_cpus=1, max_retries=RETRIES, runtime_env=environment)(_in_task)
        waiting = list(enumerate(arguments))
        running: dict[Any, int] = {}
        made: dict[int, float] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._most:
                    number, one = waiting.pop(0)
                    running[task.remote(function, *one)] = number
                finished, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_S)
                for reference in finished:
                    made[running.pop(reference)] = _result(reference)
                look()
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
        return [made[number] for number in range(len(arguments))]


def _in_task(function: Callable[..., float], *arguments: Any) -> float:
    from actors.runtime.niceness import step_behind_light

    step_behind_light()
    return function(*arguments)


def _result(reference: Any) -> float:
    import ray

    try:
        seconds: float = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, EngineError | FactorError | OSError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise Unavailable(f"a worker did not come to its end: {first_line(error)}") from None
    return seconds
