"""The processes of the estimators that were asked for last; each is ended when it takes too long or others come."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.learning.estimator_process import HEAD
from contracts.errors import EngineError, InternalError, InvalidInput
from factors.errors import FactorError
from factors.learning.dense import DenseNetwork

ROOT = Path(__file__).resolve().parents[2]
MEMORY_MB = 2000
PROCESSES_MOST = 3
LOAD_S, PREDICT_S = 60.0, 40.0
ANSWER_BYTES = 256 * 2**20
_GIVEN = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Keeper:
    """Loads estimators, each in a process of its own, and asks them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, EstimatorProcess] = OrderedDict()
        self.started = 0

    def try_out(
        self, content: bytes, trusted: Sequence[str], features: Sequence[str], form: str = "skops"
    ) -> tuple[dict[str, Any], bytes]:
        """Load a file that nobody knows yet.

        Returns
        -------
        dict, bytes
            What it holds: `kind`, `allows_missing`, `saved_by`. Its network (`DenseNetwork.to_bytes`) where it is one
            of dense layers, else nothing.

        Raises
        ------
        InvalidInput
            What is wrong with it; names the field.
        """
        self.started += 1
        process = EstimatorProcess()
        try:
            return process.load(content, trusted, features, form)
        finally:
            process.end()

    def predict(
        self, key: str, load: Callable[[], tuple[bytes, Sequence[str], Sequence[str]]], matrix: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Predict, float64 [n_rows], for features [n_rows, n_features]; `load` gives file, trusted types and features.

        `key` is the estimator's id, a blank, and its version.

        Raises
        ------
        InvalidInput
            The estimator cannot do it; or it ended its process, or took too long.
        """
        with self._lock:
            process = self._kept.pop(key, None)
            try:
                if process is None or not process.alive:
                    if process is not None:
                        process.end()
                    self.started += 1
                    process = EstimatorProcess()
                    process.load(*load())
                values = process.predict(matrix)
            except BaseException:
                if process is not None:
                    process.end()
                raise
            self._kept[key] = process
            while len(self._kept) > PROCESSES_MOST:
                self._kept.popitem(last=False)[1].end()
            return values

    def forget(self, estimator_id: str) -> None:
        """End the processes of an estimator's versions."""
        self._end(lambda key: key.partition(" ")[0] == estimator_id)

    def close(self) -> None:
        """End them all."""
        self._end(lambda _: True)

    def _end(self, which: Callable[[str], bool]) -> None:
        with self._lock:
            ended = [self._kept.pop(key) for key in list(self._kept) if which(key)]
        for process in ended:
            process.end()


class EstimatorProcess:
    """One process with one estimator; it knows nothing of the engine, not even its settings."""

    def __init__(self) -> None:
        given = {name: os.environ[name] for name in _GIVEN if name in os.environ}
        path = [str(ROOT), given.get("PYTHONPATH", "")]
        given["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
        command = [sys.executable, "-m", "actors.learning.estimator_process", str(MEMORY_MB), str(os.getpid())]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", env={**given, **_ONE_THREAD}
        )

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._child.poll() is None

    def load(
        self, content: bytes, trusted: Sequence[str], features: Sequence[str], form: str = "skops"
    ) -> tuple[dict[str, Any], bytes]:
        """Load a file; see `Keeper.try_out`."""
        task = {"do": "load", "trusted": list(trusted), "features": list(features), "form": form}
        told, network = self._ask(task, content, LOAD_S)
        about = {
            "kind": str(told.get("kind"))[:200],
            "allows_missing": told.get("allows_missing") is True,
            "saved_by": str(told.get("saved_by"))[:50],
        }
        if network:
            try:
                DenseNetwork.from_bytes(network)  # the process is not trusted with what it says
            except FactorError as error:
                raise InvalidInput(str(error), field="estimator") from None
        return about, network

    def predict(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predict; see `Keeper.predict`."""
        content = np.ascontiguousarray(matrix, dtype="<f8").tobytes()
        _, body = self._ask({"do": "predict", "shape": list(matrix.shape)}, content, PREDICT_S)
        if len(body) != 8 * len(matrix):
            raise InternalError("the process of the estimator answered with another number of values")
        return np.frombuffer(body, "<f8").astype(np.float64)

    def _ask(self, task: dict[str, Any], content: bytes, limit_s: float) -> tuple[dict[str, Any], bytes]:
        assert self._child.stdin is not None
        text = json.dumps(task).encode()
        until = time.monotonic() + limit_s
        try:
            self._child.stdin.write(HEAD.pack(len(text), len(content)) + text + content)
            self._child.stdin.flush()
            n_told, n_bytes = HEAD.unpack(self._read(HEAD.size, until))
            if n_told + n_bytes > ANSWER_BYTES:
                raise InternalError("the process of the estimator announced too long an answer")
            told = json.loads(self._read(n_told, until))
            body = self._read(n_bytes, until)
        except TimeoutError:  # an OSError too
            raise InvalidInput(f"the estimator took longer than {limit_s:g} s", field="estimator") from None
        except (OSError, EOFError):
            raise self._why_ended() from None
        if "refused" in told:
            raise InvalidInput(str(told["refused"]), field=str(told.get("field", "estimator")))
        return told, body

    def _read(self, n_bytes: int, until: float) -> bytes:
        assert self._child.stdout is not None
        out = bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(self._child.stdout, selectors.EVENT_READ)
            while len(out) < n_bytes:
                if not ready.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError
                part = os.read(self._child.stdout.fileno(), min(n_bytes - len(out), 2**20))
                if not part:
                    raise EOFError
                out += part
        return bytes(out)

    def _why_ended(self) -> EngineError:
        self.end()
        code = self._child.returncode
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return InvalidInput(f"the file ends the process that loads it ({name})", field="estimator")

    def end(self) -> None:
        """End it; nothing of it is kept."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(0)
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
