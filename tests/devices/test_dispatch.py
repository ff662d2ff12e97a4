"""Whatever a device does, the caller gets the right answer in time, and what ran is told as it was."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from contracts.work import Device
from devices import cpu
from devices.dispatch import LEARNED_EACH, LEARNED_FIRST, Dispatcher
from devices.kernels import KERNELS
from devices.lanes import DiedError, NotForDeviceError, ProcessLane, StalledError, ThreadLane
from factors.errors import NonFiniteError
from factors.numeric import deadline
from tests.devices import stand_in

CPU, GPU, NE = Device.CPU, Device.METAL_GPU, Device.NEURAL_ENGINE
WAIT_S = 60.0
SIZES = (3, 50, 4)


def case(kind):
    rng = np.random.default_rng(0)
    shocks = rng.standard_normal((50, 4))
    shocks[0, 0] = kind
    return rng.standard_normal((3, 4)), shocks


@pytest.fixture
def process():
    lane = ProcessLane("tests.devices.stand_in")
    try:
        assert lane.await_ready(WAIT_S)
        yield lane
    finally:
        lane.close()


@pytest.fixture
def with_process(process):
    return favouring(Dispatcher({NE: process}), NE)


def favouring(dispatcher, device, name="revalue", sizes=SIZES):
    """Let the model think that the device is the fastest, whatever these small calls really take."""
    kernel = KERNELS[name]
    for which, seconds in ((CPU, 1e-3), (device, 1e-5)):
        for _ in range(5):
            dispatcher.model.learn(name, sizes, kernel.work(*sizes), kernel.moved(*sizes), which, seconds, warm=True)
    dispatcher.model._take = lambda *_, **__: None
    return dispatcher


def ask(dispatcher, kind=stand_in.WELL, tolerance=1e-6, on_cpu=None):
    arguments = case(kind)
    result, device = dispatcher.run("revalue", SIZES, tolerance, lambda: arguments, on_cpu)
    np.testing.assert_allclose(result, cpu.revalue(*arguments), rtol=1e-12)
    return device


def test_the_first_call_is_compared_and_later_ones_are_the_devices(with_process):
    assert ask(with_process) is CPU
    assert with_process.standing.error(NE, "revalue") == 0.0
    assert [ask(with_process) for _ in range(5)] == [NE] * 5
    told = with_process.told()
    assert told["answered"] == {"cpu": 1, "neural_engine": 5}
    assert told["share"]["neural_engine"] == pytest.approx(5 / 6)
    assert told["errors"]["neural_engine"] == {"revalue": 0.0}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (stand_in.NOT_A_NUMBER, "numbers that are none"),
        (stand_in.RAISES, "RuntimeError: no stream in this thread"),
        (stand_in.LEAVES, "its process ended with 3"),
    ],
)
def test_a_device_that_fails_is_answered_for_by_the_cpu_and_left_alone(with_process, kind, reason):
    assert [ask(with_process), ask(with_process)] == [CPU, NE]
    assert ask(with_process, kind) is CPU
    (told,) = with_process.standing.told()
    assert reason in told["reason"]
    assert told["component"].startswith("device:neural_engine")
    assert ask(with_process) is CPU


def test_a_device_that_hangs_is_answered_for_within_the_deadline(with_process):
    assert [ask(with_process), ask(with_process)] == [CPU, NE]
    until = time.time() + 5.0
    with deadline.until(until):
        assert ask(with_process, stand_in.HANGS) is CPU
    assert time.time() < until
    assert "no answer within" in with_process.standing.told()[0]["reason"]
    assert with_process.lanes[NE].await_ready(WAIT_S)
    assert with_process.told()["restarts"] == {"neural_engine": 1}


def test_a_process_that_is_killed_in_the_middle_is_answered_for_and_started_again(with_process):
    assert [ask(with_process), ask(with_process)] == [CPU, NE]
    lane = with_process.lanes[NE]
    first = lane.pid
    asked = threading.Event()
    kill = threading.Thread(target=lambda: (asked.wait(), os.kill(first, signal.SIGKILL)))
    kill.start()
    put = lane._put
    lane._put = lambda arguments: (asked.set(), put(arguments))[1]
    with deadline.until(time.time() + WAIT_S):
        assert ask(with_process, stand_in.HANGS) is CPU
    kill.join()
    assert with_process.fallbacks == {"neural_engine": 1}
    assert lane.await_ready(WAIT_S)
    assert lane.pid != first
    # and tried again later, with a check
    with_process.standing.quarantined[NE, None].until = 0.0
    assert [ask(with_process), ask(with_process)] == [CPU, NE]
    assert with_process.standing.told() == []


def test_a_device_beyond_the_tolerance_never_answers(with_process):
    assert ask(with_process, stand_in.WRONG) is CPU
    assert with_process.standing.error(NE, "revalue") == pytest.approx(0.01)
    assert [ask(with_process) for _ in range(5)] == [CPU] * 5
    arguments = case(stand_in.WRONG)
    result, device = with_process.run("revalue", SIZES, 0.1, lambda: arguments)
    assert device is NE
    np.testing.assert_allclose(result, 1.01 * cpu.revalue(*arguments))


def test_a_device_that_becomes_inaccurate_is_noticed_by_a_sample_of_live_results(with_process):
    ask(with_process)
    arguments = case(stand_in.WRONG)
    for _ in range(3000):
        _, device = with_process.run("revalue", SIZES, 1e-6, lambda: arguments)
        if with_process.standing.error(NE, "revalue") > 1e-6:
            break
    assert device is CPU
    assert with_process.candidates("revalue", 1e-6) == (CPU,)


def test_each_network_is_compared_by_itself_and_one_that_errs_says_nothing_of_others(with_process):
    ask(with_process)  # the kernel whole
    well, wrong = case(stand_in.WELL), case(stand_in.WRONG)
    for of, given, after in (("good", well, NE), ("bad", wrong, CPU)):
        seen = [with_process.run("revalue", SIZES, 1e-6, lambda given=given: given, of=of)[1] for _ in range(3)]
        assert seen == [CPU, after, after], of
    assert with_process.told()["errors"]["neural_engine"] == pytest.approx(
        {"revalue": 0.0, "revalue good": 0.0, "revalue bad": 0.01}
    )
    # One whose process dies is away for all of them; a kernel that raises, in this kernel for all.
    raising = case(stand_in.RAISES)
    assert with_process.run("revalue", SIZES, 1e-6, lambda: raising, of="good")[1] is CPU
    assert with_process.run("revalue", SIZES, 1e-6, lambda: well, of="good")[1] is CPU
    assert with_process.candidates("revalue other", 1.0) == (CPU,)
    assert with_process.candidates("exposures", 1.0) == (CPU, NE)


def test_what_is_no_call_for_the_device_says_nothing_against_it(with_process):
    ask(with_process)
    assert ask(with_process, stand_in.TOO_LARGE) is CPU
    assert with_process.standing.told() == []
    assert ask(with_process, stand_in.PRINTS) is NE


def test_a_fault_of_the_arguments_is_told_as_the_cpu_tells_it():
    lane = ThreadLane(SimpleNamespace(exposures=cpu.exposures), "test")
    dispatcher = favouring(Dispatcher({GPU: lane}), GPU, "exposures", (1, 2, 1))
    with pytest.raises(NonFiniteError, match="1 assets that have weight"):
        dispatcher.run("exposures", (1, 2, 1), 1e-6, lambda: (np.array([[0.5, 0.5]]), np.array([[1.0], [np.nan]])))
    assert dispatcher.standing.told() == []
    dispatcher.close()


def test_missing_results_that_are_missing_on_the_cpu_too_are_no_fault(process):
    dispatcher = favouring(Dispatcher({NE: process}), NE, "book_risk", (1, 3, 1))
    X = np.array([[1.0], [2.0], [np.nan]])
    arguments = np.array([[0.5, 0.5, 0.0]]), X, np.eye(1)
    for expected in (CPU, NE):
        result, device = dispatcher.run("book_risk", (1, 3, 1), 1e-6, lambda: arguments)
        assert device is expected
        assert np.isnan(result[1][0, 2])
    assert dispatcher.standing.told() == []


def test_when_the_time_left_is_the_cpus_own_the_device_is_not_asked(with_process):
    ask(with_process)
    with deadline.until(time.time() + 0.02):
        assert ask(with_process, stand_in.HANGS) is CPU
    assert with_process.standing.told() == []


def test_the_cpus_quicker_way_is_taken_where_the_cpu_computes():
    dispatcher = Dispatcher({})
    assert ask(dispatcher, on_cpu=lambda: cpu.revalue(*case(stand_in.WELL))) is CPU

    def refuse():
        raise AssertionError("the arguments were made")

    assert dispatcher.run("revalue", SIZES, 1e-6, refuse, lambda: 7) == (7, CPU)


def test_on_a_machine_with_a_cpu_alone_everything_is_learned_and_said():
    dispatcher = Dispatcher({})
    for _ in range(5):
        ask(dispatcher)
    (row,) = dispatcher.model.table()
    assert row["devices"]["cpu"]["samples"] >= 3
    made = dispatcher.prefer("revalue", SIZES, 1e-6)
    assert (made.primary, made.gain, made.confidence) == (CPU, 1.0, 1.0)
    assert dispatcher.told()["share"] == {"cpu": 1.0}


def test_with_a_cpu_alone_the_first_calls_are_learned_from_and_then_some_of_the_others():
    dispatcher = Dispatcher({})
    n = LEARNED_FIRST + 10 * LEARNED_EACH
    assert {ask(dispatcher) for _ in range(n)} == {CPU}
    assert dispatcher.model.calls == LEARNED_FIRST + 10
    assert dispatcher.told()["answered"] == {"cpu": n}


def test_a_device_beside_the_cpu_is_told_of_every_call(with_process):
    before = with_process.model.calls
    n = LEARNED_FIRST + 2 * LEARNED_EACH
    for _ in range(n):
        ask(with_process)
    assert with_process.model.calls == before + n


def test_a_thread_that_hangs_is_left_behind_and_after_three_the_device_too():
    free = threading.Event()
    module = SimpleNamespace(revalue=lambda _a, shocks: free.wait(WAIT_S) if shocks[0, 0] else shocks)
    lane = ThreadLane(module, "test")
    try:
        for hung in range(3):
            assert lane.ready
            with pytest.raises(StalledError):
                lane.run("revalue", case(stand_in.HANGS), 0.01)
            assert lane.restarts == hung + 1
            np.testing.assert_array_equal(lane.run("revalue", case(0), WAIT_S), case(0)[1])
        assert not lane.ready
    finally:
        free.set()
        lane.close()


def test_all_calls_of_a_thread_lane_are_on_one_thread():
    seen = []
    lane = ThreadLane(SimpleNamespace(revalue=lambda *_: seen.append(threading.get_ident())), "test")
    callers = [threading.Thread(target=lane.run, args=("revalue", (), WAIT_S)) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    lane.close()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_the_metal_kernels_run_on_a_thread_lane():
    pytest.importorskip("mlx.core")
    from devices import metal

    dispatcher = favouring(Dispatcher({GPU: ThreadLane(metal, "metal")}), GPU)
    arguments = case(stand_in.WELL)
    for expected in (CPU, GPU, GPU):
        result, device = dispatcher.run("revalue", SIZES, 1e-5, lambda: arguments)
        assert device is expected
        np.testing.assert_allclose(result, cpu.revalue(*arguments), atol=1e-5)
    dispatcher.close()


def test_a_lane_says_what_it_raises(process):
    with pytest.raises(RuntimeError, match="no stream"):
        process.run("revalue", case(stand_in.RAISES), WAIT_S)
    with pytest.raises(NotForDeviceError, match="70000"):
        process.run("revalue", case(stand_in.TOO_LARGE), WAIT_S)
    with pytest.raises(DiedError):
        process.run("revalue", case(stand_in.LEAVES), WAIT_S)


def test_large_arrays_come_back_whole(process):
    rng = np.random.default_rng(1)
    small, large = case(0), (rng.standard_normal((40, 3)), rng.standard_normal((60_000, 3)))
    large[1][0, 0] = 0.0
    for arguments in (small, large, small):
        np.testing.assert_array_equal(process.run("revalue", arguments, WAIT_S), cpu.revalue(*arguments))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_nothing_is_left_of_a_lane_that_was_closed():
    lane = ProcessLane("tests.devices.stand_in")
    assert lane.await_ready(WAIT_S)
    pid = lane.pid
    lane.close()
    assert not Path(f"/proc/{pid}").exists()
