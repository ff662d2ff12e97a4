"""Books that are asked for together are one product on a device; whatever it does, each answer is right and in time."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from fixtures_actors import ask

from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import UnknownSymbol
from contracts.work import Device, Priority, work_item
from devices.dispatch import Dispatcher
from devices.lanes import ProcessLane
from tests.devices import stand_in
from tests.devices.favoured import favouring

CPU, NE = Device.CPU, Device.NEURAL_ENGINE
WAIT_S = 60.0


def requests_of(symbols, n=12):
    rng = np.random.default_rng(0)
    out = []
    for _ in range(n):
        chosen = rng.choice(len(symbols), int(rng.integers(1, 6)), replace=False)
        weights = {symbols[i]: float(w) for i, w in zip(chosen, rng.standard_normal(len(chosen)), strict=True)}
        out.append(rq.PortfolioRisk(model_id="m", portfolio_weights=weights))
    return out


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Where what the device does next is written."""
    path = tmp_path / "kind.txt"
    path.write_text(str(stand_in.WELL))
    monkeypatch.setenv("STAND_IN", str(path))
    return path


@pytest.fixture
def on_device(fitted, risks, told, monkeypatch):
    """The actor with a device that is thought the fastest whenever it may be asked."""
    lane = ProcessLane("tests.devices.stand_in")
    monkeypatch.setattr(risks, "devices", favouring(Dispatcher({NE: lane}), NE))
    try:
        assert lane.await_ready(WAIT_S)
        yield risks
    finally:
        lane.close()


@pytest.fixture
def patient(monkeypatch):
    """A busy machine may keep the device's process waiting for longer than a device is waited for."""
    monkeypatch.setattr("devices.dispatch.LEAST_PATIENCE_S", WAIT_S)


def plain(values):
    """All numbers of an answer, in their order."""
    if isinstance(values, dict):
        return [number for value in values.values() for number in plain(value)]
    return [values]


def test_books_that_are_asked_for_together_are_answered_as_alone_to_the_bit(risks, steady, names):
    batch = requests_of([*steady, names[0], names[2], names[3]])
    batch.append(batch[0].model_copy(update={"benchmark_weights": dict.fromkeys(steady, 1 / len(steady))}))
    batch.append(batch[0].model_copy(update={"portfolio_weights": {names[1]: 0.5, steady[0]: 0.5}}))
    batch.append(batch[0].model_copy(update={"portfolio_weights": {"NOPE": 1.0}}))
    together = risks.portfolio_risk(batch)
    assert isinstance(together[-1], UnknownSymbol)
    for request, answer in zip(batch[:-1], together, strict=False):
        alone = ask(risks.portfolio_risk, request)
        assert (answer.values, answer.details, answer.message) == (alone.values, alone.details, alone.message)
        assert answer.device is CPU


def test_a_device_computes_them_as_one_product_and_the_first_are_compared(on_device, patient, steady, names):
    batch = requests_of([*steady, names[2], names[3]])
    batch.append(batch[0].model_copy(update={"benchmark_weights": dict.fromkeys(steady, 1 / len(steady))}))
    first, second = on_device.portfolio_risk(batch), on_device.portfolio_risk(batch)
    assert {answer.device for answer in first} == {CPU}
    assert {answer.device for answer in second} == {NE}
    for right, answer in zip(first, second, strict=True):
        given, expected = np.array(plain(answer.values)), np.array(plain(right.values))
        np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-9)
        assert (given != expected).any(), "it is the device's"
    assert on_device.devices.told()["answered"] == {"cpu": 1, "neural_engine": 1}, "a batch is one call"


def test_what_stands_in_for_a_name_is_each_books_own(on_device, patient, steady, names):
    weights = {names[1]: 0.5, steady[0]: 0.5}
    batch = [
        rq.PortfolioRisk(model_id="m", portfolio_weights=weights, uncovered=uncovered)
        for uncovered in ("warn", "proxy")
    ]
    right = on_device.portfolio_risk(batch)
    for answer, expected in zip(on_device.portfolio_risk(batch), right, strict=True):
        assert answer.device is NE
        assert answer.values["total_risk"] == pytest.approx(expected.values["total_risk"], rel=1e-6)
    assert right[0].values["total_risk"] != right[1].values["total_risk"]


@pytest.mark.parametrize("what", ["killed", "hangs", "not a number"])
def test_a_device_that_fails_in_the_middle_of_a_batch_is_answered_for_within_the_deadline(
    on_device, told, steady, what
):
    batch = requests_of(steady)
    right = [answer.values for answer in on_device.portfolio_risk(batch)]
    told.write_text(str(stand_in.NOT_A_NUMBER if what == "not a number" else stand_in.HANGS))
    begun = told.with_suffix(".begun")
    begun.unlink()
    lane = on_device.devices.lanes[NE]
    pid, ended = lane.pid, threading.Event()

    def kill():
        until = time.monotonic() + WAIT_S
        while not begun.exists() and time.monotonic() < until and not ended.wait(0.005):
            pass
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    if what == "killed":
        killer.start()
    # As the queue hands them over: a hanging device has the caller's time but what the CPU needs.
    limit_s = 8.0 if what == "hangs" else WAIT_S
    items = [work_item("portfolio_risk", one, priority=Priority.NORMAL, timeout_s=limit_s) for one in batch]
    began = time.monotonic()
    try:
        answers = on_device._compute("portfolio_risk", items)
    finally:
        ended.set()
        if what == "killed":
            killer.join()
    assert time.monotonic() - began < limit_s
    assert all(isinstance(answer, Calculation) and answer.device is CPU for answer in answers)
    assert [answer.values for answer in answers] == right
    (reason,) = on_device.devices.standing.told()
    assert {"killed": "ended with -9", "hangs": "no answer within", "not a number": "numbers that are none"}[
        what
    ] in reason["reason"]
    assert "the CPU computes instead" in reason["reason"]
    assert on_device.stats()["notes"]["degraded"] == [reason]
