"""A workload for tests: operations of the real table answered with what was given, slowly or wrongly if asked to."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from actors.runtime.base import WorkloadActor, batched
from contracts.answers import Calculation
from contracts.requests import Request
from factors.errors import UnknownSymbolError
from factors.numeric import deadline


class Asked(Request):
    """Whatever a test wants to have echoed; it may ask for work, for an error, or for the death of the process."""

    model_id: str | None = None
    given: dict[str, Any] = Field(default_factory=dict)


def asked(**given: Any) -> Asked:
    """Make a request of any fields."""
    return Asked(model_id=given.get("model_id"), given=given)


class Echo(WorkloadActor):
    """Every method echoes."""

    def _echo(self, batch: Sequence[Request]) -> list[Calculation]:
        given = [_given(request) for request in batch]
        if any("unknown_symbol" in one for one in given):
            raise UnknownSymbolError(
                "symbol X is not in the model", field="portfolio_weights", rows=[("2020-01-02", "X")]
            )
        if any("defect" in one for one in given):
            raise KeyError("a defect")
        return [self._one(one, len(batch)) for one in given]

    def _one(self, given: dict[str, Any], n_batch: int) -> Calculation:
        _work(given)
        values = {
            "echo": given,
            "n_batch": n_batch,
            "pid": os.getpid(),
            "thread": threading.get_ident(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        }
        return Calculation(values, "echoed", 1.0)

    @batched
    def factor_exposures(self, batch: Sequence[Request]) -> list[Calculation]:
        return self._echo(batch)

    def portfolio_risk(self, request: Request) -> Calculation:
        return self._one(_given(request), 1)

    def risk_model(self, request: Request) -> Calculation:
        return self._one(_given(request), 1)

    def size(self, request: Request) -> Calculation:
        return self._one(_given(request), 1)

    def create_model(self, request: Asked) -> Calculation:
        """Commit one version: a file named by the request id, made only once, as the store does."""
        folder = Path(request.given["folder"])
        made = folder / f"{request.request_id}.version"
        _work(request.given)
        try:
            with made.open("x") as file:
                file.write(str(len(list(folder.glob("*.version")))))
        except FileExistsError:
            pass  # this request made its version already
        if request.given.get("die_once") and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), 9)
        return Calculation({"pid": os.getpid()}, "written", 1.0, int(made.read_text()))


def _given(request: Request) -> dict[str, Any]:
    return request.given if isinstance(request, Asked) else request.model_dump()


def _work(given: dict[str, Any]) -> None:
    """Keep this thread for so many seconds, or as long as a file is there; or end the process.

    With `looks` it looks at its deadline, as what takes long does.
    """
    if given.get("die"):
        os.kill(os.getpid(), 9)
    end = time.perf_counter() + given.get("work_s", 0.0)
    total = 0
    while time.perf_counter() < end:
        total += sum(range(200))
    while "while_there" in given and Path(given["while_there"]).exists():
        time.sleep(0.005)
        if "looks" in given:
            deadline.check()


class Stubborn(Echo):
    """An actor that cannot prepare."""

    def prepare(self) -> None:
        raise RuntimeError("the model file is broken")
