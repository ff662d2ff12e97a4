"""Chains as Ray tasks of one CPU each, no more in flight than the cluster has room for."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import Any

from contracts.errors import EngineError, Unavailable, first_line
from contracts.files import replacing
from contracts.settings import NAMESPACE, settings
from factors.errors import FactorError

LOOK_S = 0.5
RETRIES = 3
"""A worker that dies takes its chain with it; Ray runs it again, and it goes on behind what it had made."""


class RayWorkers:
    """Runs chains on the Ray that the environment names, as a submitted job has it; else on one of its own.

    Parameters
    ----------
    most
        Tasks at once; default: one for each CPU of the cluster.
    """

    def __init__(self, most: int | None = None) -> None:
        self._own = "RAY_ADDRESS" not in os.environ
        import ray

        self._ray = ray
        if not ray.is_initialized():
            options: dict[str, Any] = {"address": "local", "include_dashboard": False} if self._own else {}
            ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **options)
        cores: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self._most = most or max(int(cores.get("CPU", 1)), 1)

    def close(self) -> None:
        """End the Ray that was started here."""
        if self._own:
            self._ray.shutdown()

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
                    running[task.remote(not self._own, function, *one)] = number
                finished, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_S)
                for reference in finished:
                    made[running.pop(reference)] = _result(reference)
                look()
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
        return [made[number] for number in range(len(arguments))]


def _in_task(beside_others: bool, function: Callable[..., float], *arguments: Any) -> float:
    if beside_others:
        from actors.runtime.niceness import step_behind_light

        step_behind_light()
    return function(*arguments)


def prepare_environment() -> None:
    """Have a Ray of one's own ask for a token and listen on loopback only; before Ray is imported.

    A process that the environment sends to a cluster has that one's token already.
    """
    if "RAY_ADDRESS" in os.environ:
        return
    token = settings().run_dir.resolve() / "ray" / "token"
    if not token.exists():
        token.parent.mkdir(parents=True, exist_ok=True)
        with replacing(token, private=True, keep_first=True) as out:
            out.write(secrets.token_hex(32).encode())
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(token))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray starts its workers at 15; nobody else's answers wait behind those of a Ray of one's own.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if sys.platform == "linux":
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


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
