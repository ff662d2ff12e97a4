"""Where a device's kernels run: one thread for the Metal GPU, a process of its own for the Neural Engine.

MLX's arrays and streams belong to the thread that made them. Core ML frees the inputs of a prediction on another thread
without Python's lock, which ends the process now and then (coremltools PR 2827), and a prediction holds that lock while
it waits: so it has a process beside the actor, and when that dies or hangs the actor does not.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import mmap
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from devices.kernels import Result
from devices.neural_engine import OutOfRangeError
from factors.errors import FactorError

MOST_ABANDONED = 3
"""Threads that hang in a device; beyond, the device is not asked any more until the actor is restarted."""
ALIGNED = 64
START_S = 120.0
"""A process that is not ready by then is ended: coremltools takes seconds to load."""
LINE_BYTES = 65_536
LAST_WORDS_S = 2.0


class StalledError(Exception):
    """The device did not answer in time."""


class DiedError(Exception):
    """The device's process ended."""


class NotForDeviceError(Exception):
    """The arguments are none for a device with short numbers, or are wrong: the CPU computes, or says so."""


class DeviceLane(Protocol):
    """What runs a device's kernels, one at a time."""

    restarts: int

    @property
    def ready(self) -> bool:
        """Whether a call would be taken up at once."""

    def await_ready(self, timeout_s: float) -> bool:
        """Wait until a call would be taken up; whether that is so."""

    def run(self, kernel: str, arguments: Sequence[Any], timeout_s: float) -> Result:
        """Run a kernel; raises `StalledError`, `DiedError`, `NotForDeviceError`, or what the device raises."""

    def close(self) -> None:
        """End what runs."""


class ThreadLane:
    """Runs a module's kernels on one thread of this process. A thread that hangs cannot be ended: it is left behind."""

    def __init__(self, module: ModuleType, name: str) -> None:
        self._module, self._name = module, name
        self._lock = threading.Lock()
        self._pool = self._thread()
        self.restarts = 0

    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix=self._name)

    @property
    def ready(self) -> bool:
        """Whether not too many threads hang."""
        return self.restarts < MOST_ABANDONED

    def await_ready(self, timeout_s: float) -> bool:
        """Give `ready`: a thread needs no time."""
        del timeout_s
        return self.ready

    def run(self, kernel: str, arguments: Sequence[Any], timeout_s: float) -> Result:
        """Run a kernel; see `DeviceLane.run`."""
        with self._lock:
            pool = self._pool
            future: Future[Result] = pool.submit(getattr(self._module, kernel), *arguments)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            if future.done():  # the kernel's own
                raise
            with self._lock:
                if self._pool is pool:
                    pool.shutdown(wait=False, cancel_futures=True)
                    self._pool = self._thread()
                    self.restarts += 1
            raise StalledError(f"no answer within {timeout_s:.2g} s") from None
        except (FactorError, OutOfRangeError) as error:
            raise NotForDeviceError(str(error)) from None

    def close(self) -> None:
        """Take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class ProcessLane:
    """Runs a module's kernels in a process of its own, which is started again when it dies or hangs.

    Arrays go by memory that both map; what was asked and answered by lines of JSON on the process's standard streams.

    Parameters
    ----------
    module
        Name of the module with the kernels.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._turn = threading.Lock()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  as long as this
        self._memory: mmap.mmap | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._up = threading.Event()
        self._closed = False
        self.restarts = -1
        self._starter: threading.Thread | None = None
        self._start()

    @property
    def ready(self) -> bool:
        """Whether the process has loaded its module."""
        return self._up.is_set()

    def await_ready(self, timeout_s: float) -> bool:
        """Wait until a call would be taken up."""
        return self._up.wait(timeout_s)

    @property
    def pid(self) -> int | None:
        """The process; None while there is none."""
        return self._process.pid if self._process is not None else None

    def _start(self) -> None:
        """Start the process on a thread, so that nobody waits until it has loaded its module."""
        self._up.clear()
        self.restarts += 1
        self._starter = threading.Thread(target=self._load, name="device-start", daemon=True)
        self._starter.start()

    def _load(self) -> None:
        process = subprocess.Popen(  # our own argument list, no shell
            [sys.executable, "-m", "devices.kernel_process", self._module, str(self._file.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[self._file.fileno()],
            bufsize=0,
        )
        self._process = process
        if self._closed:
            self._end(process)
            return
        with contextlib.suppress(DiedError, StalledError):
            self._answer(process, START_S)
            self._up.set()
            return
        self._end(process)

    def run(self, kernel: str, arguments: Sequence[Any], timeout_s: float) -> Result:
        """Run a kernel; see `DeviceLane.run`."""
        began = time.monotonic()
        if not self._turn.acquire(timeout=max(timeout_s, 0.0)):
            raise StalledError(f"others kept it for {timeout_s:.2g} s")
        try:
            process = self._process
            if process is None or not self._up.is_set():
                raise DiedError("its process is not up yet")
            try:
                line = json.dumps({"kernel": kernel, **self._put(arguments)}).encode() + b"\n"
                assert process.stdin is not None
                process.stdin.write(line)
                said = self._answer(process, timeout_s - (time.monotonic() - began))
            except (DiedError, StalledError, OSError) as error:
                self._end(process)
                if not self._closed:
                    self._start()
                if isinstance(error, OSError):
                    raise DiedError(f"its process ended: {error}") from None
                raise
            if "refused" in said:
                raise NotForDeviceError(said["refused"])
            if "error" in said:
                raise RuntimeError(said["error"])
            if self._memory is None or len(self._memory) != said["size"]:
                self._memory = mmap.mmap(self._file.fileno(), said["size"])  # it made room for its results
            results = tuple(taken(self._memory, about).copy() for about in said["arrays"])
            return results if said["several"] else results[0]
        finally:
            self._turn.release()

    def _put(self, arguments: Sequence[Any]) -> dict[str, Any]:
        """Write the arguments into the shared memory; the process makes room behind them for its results."""
        needed = bytes_of(arguments)
        size = max(1 << 20, 2 * needed)
        if self._memory is None or len(self._memory) < size:
            os.ftruncate(self._file.fileno(), size)
            self._memory = mmap.mmap(self._file.fileno(), size)
        about, at = placed(self._memory, arguments, 0)
        return {"arguments": about, "size": len(self._memory), "from": at}

    @staticmethod
    def _answer(process: subprocess.Popen[bytes], timeout_s: float) -> dict[str, Any]:
        assert process.stdout is not None
        deadline = time.monotonic() + timeout_s
        got = b""
        while not got.endswith(b"\n"):
            left = deadline - time.monotonic()
            try:
                if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                    raise StalledError(f"no answer within {timeout_s:.2g} s")
                part = os.read(process.stdout.fileno(), LINE_BYTES)
            except ValueError:  # the stream was closed by who ended the process
                raise DiedError("its process was ended") from None
            if not part:
                code = process.wait(LAST_WORDS_S)
                raise DiedError(f"its process ended with {code}")
            got += part
        said: dict[str, Any] = json.loads(got)
        return said

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def close(self) -> None:
        """End the process."""
        self._closed = True
        if self._starter is not None and self._process is None:
            self._starter.join(LAST_WORDS_S)
        if self._process is not None:
            self._end(self._process)
        if self._starter is not None:
            self._starter.join(LAST_WORDS_S)
        if self._memory is not None:
            with contextlib.suppress(BufferError):
                self._memory.close()
        self._file.close()


def bytes_of(arrays: Sequence[Any]) -> int:
    """Give the bytes that `placed` needs for arrays."""
    return sum(a.nbytes + ALIGNED for a in arrays if isinstance(a, np.ndarray))


def placed(memory: mmap.mmap, arrays: Sequence[Any], at: int) -> tuple[list[Any], int]:
    """Write arrays into memory from `at` on; give what they are, and where the next may begin."""
    about: list[Any] = []
    for value in arrays:
        if not isinstance(value, np.ndarray):
            about.append(value)
            continue
        np.ndarray(value.shape, value.dtype, memory, at)[...] = value
        about.append({"dtype": value.dtype.str, "shape": value.shape, "at": at})
        at += -(-value.nbytes // ALIGNED) * ALIGNED
    return about, at


def taken(memory: mmap.mmap, about: Any) -> Any:
    """Give an array that `placed` wrote, in place; what is no array as it stands."""
    if not isinstance(about, dict):
        return about
    return np.ndarray(tuple(about["shape"]), np.dtype(about["dtype"]), memory, about["at"])


def metal_lane() -> DeviceLane:
    """Give the Metal GPU's lane."""
    return ThreadLane(importlib.import_module("devices.metal"), "metal")


def neural_engine_lane() -> DeviceLane:
    """Give the Neural Engine's lane."""
    return ProcessLane("devices.neural_engine")
