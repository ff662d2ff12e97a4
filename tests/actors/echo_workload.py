"""A workload for tests: operations of the real table answered with what was given, slowly or wrongly if asked to."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from actors.runtime.base import WorkloadActor
from actors.runtime.queue import Answer
from factors.errors import UnknownSymbolError

Batch = list[dict[str, Any]]


class Echo(WorkloadActor):
    """Every method echoes; a payload may ask for work, for an error, or for the death of the process."""

    def _echo(self, batch: Batch) -> list[Answer]:
        if any("unknown_symbol" in payload for payload in batch):
            raise UnknownSymbolError(
                "symbol X is not in the model", field="portfolio_weights", rows=[("2020-01-02", "X")]
            )
        if any("defect" in payload for payload in batch):
            raise KeyError("a defect")
        return [self._one(payload, len(batch)) for payload in batch]

    def _one(self, payload: dict[str, Any], n_batch: int) -> Answer:
        _work(payload)
        values = {
            "echo": payload,
            "n_batch": n_batch,
            "pid": os.getpid(),
            "thread": threading.get_ident(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        }
        return {"values": values, "message": "echoed", "confidence_score": 1.0, "hardware_used": "cpu"}

    def factor_exposures(self, batch: Batch) -> list[Answer]:
        return self._echo(batch)

    def portfolio_risk(self, batch: Batch) -> list[Answer]:
        return self._echo(batch)

    def risk_model(self, batch: Batch) -> list[Answer]:
        return self._echo(batch)

    def size(self, batch: Batch) -> list[Answer]:
        return self._echo(batch)

    def create_model(self, batch: Batch) -> list[Answer]:
        return [self._write(payload) for payload in batch]

    def _write(self, payload: dict[str, Any]) -> Answer:
        """Commit one version: a file named by the request id, made only once, as the store does."""
        folder = Path(payload["folder"])
        _work(payload)
        try:
            with (folder / f"{payload['request_id']}.version").open("x") as file:
                file.write(str(len(list(folder.glob("*.version")))))
        except FileExistsError:
            pass  # this request made its version already
        if payload.get("die_once") and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), 9)
        version = int((folder / f"{payload['request_id']}.version").read_text())
        return {"values": {"pid": os.getpid()}, "model_version": version, "message": "written", "hardware_used": "cpu"}


def _work(payload: dict[str, Any]) -> None:
    """Keep this thread for so many seconds, or as long as a file is there."""
    end = time.perf_counter() + payload.get("work_s", 0.0)
    total = 0
    while time.perf_counter() < end:
        total += sum(range(200))
    while "while_there" in payload and Path(payload["while_there"]).exists():
        time.sleep(0.005)


class Stubborn(Echo):
    """An actor that cannot prepare."""

    def prepare(self) -> None:
        raise RuntimeError("the model file is broken")
