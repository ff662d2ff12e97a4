"""The cost model learns, forgets, rejects, explores within its bounds and says how sure it is."""

import importlib.util
import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.work import Device
from devices.cost_model import EXPLORED_SHARE, CostModel
from devices.estimates import bucket_of

CPU, GPU, NE = Device.CPU, Device.METAL_GPU, Device.NEURAL_ENGINE
SIZES, WORK, MOVED = (100, 3000, 40), 2.4e7, 1.7e6


def learned(seconds, n=8, model=None, sizes=SIZES, work=WORK, moved=MOVED):
    model = model or CostModel()
    for device, each in seconds.items():
        for _ in range(n):
            model.learn("exposures", sizes, work, moved, device, each, warm=True)
    return model


def ask(model, candidates=(CPU, GPU), remaining_s=math.inf, sizes=SIZES, work=WORK, moved=MOVED):
    return model.decide("exposures", sizes, work, moved, candidates, remaining_s)


def run(model, seconds, calls, candidates=(CPU, GPU), remaining_s=math.inf):
    """Send calls whose times are `seconds` by device; give the decisions."""
    made = []
    for _ in range(calls):
        decision = ask(model, candidates, remaining_s)
        model.begin(decision)
        model.finish(decision, seconds[decision.device])
        made.append(decision)
    return made


def test_the_faster_device_is_chosen_and_the_cpu_where_nothing_is_known():
    assert ask(CostModel()).device is CPU
    assert ask(learned({CPU: 2e-3, GPU: 1e-3})).device is GPU
    assert ask(learned({CPU: 1e-3, GPU: 2e-3})).device is CPU
    assert ask(learned({CPU: 2e-3, GPU: 1e-3}), candidates=(CPU,)).device is CPU


def test_a_difference_within_the_hysteresis_does_not_change_the_device():
    model = learned({CPU: 1.0e-3, GPU: 1.5e-3})
    assert ask(model).device is CPU
    for _ in range(200):
        model.learn("exposures", SIZES, WORK, MOVED, GPU, 0.98e-3)
    assert ask(model).device is CPU
    for _ in range(200):
        model.learn("exposures", SIZES, WORK, MOVED, GPU, 0.9e-3)
    assert ask(model).device is GPU


def test_the_first_live_sample_is_dropped_and_single_outliers_are_set_aside():
    model = CostModel()
    for seconds in (5.0, 1e-3, 1e-3, 1e-3, 9e-3, 1e-3, 9e-3, 1e-3):
        model.learn("exposures", SIZES, WORK, MOVED, CPU, seconds)
    assert ask(model).predicted_s == pytest.approx(1e-3)


def test_three_samples_in_a_row_beyond_half_replace_the_mean():
    model = learned({CPU: 1e-3}, n=500)
    for _ in range(3):
        model.learn("exposures", SIZES, WORK, MOVED, CPU, 4e-3)
    assert ask(model).predicted_s == pytest.approx(4e-3)


def test_a_device_that_slows_down_is_left_after_three_calls_and_found_again_when_it_is_back():
    model = learned({CPU: 2e-3, GPU: 1e-3})
    run(model, {CPU: 2e-3, GPU: 1e-3}, 50)
    slow = run(model, {CPU: 2e-3, GPU: 6e-3}, 50)
    assert [d.device for d in slow].index(CPU) == 3
    back = run(model, {CPU: 2e-3, GPU: 1e-3}, 6000)
    assert back[-1].device is GPU


def test_exploration_stays_within_its_share_of_calls_and_of_time():
    model = learned({CPU: 1e-3, GPU: 3e-3})
    made = run(model, {CPU: 1e-3, GPU: 3e-3}, 20_000)
    explored = [d for d in made if d.explored]
    assert explored
    assert {d.device for d in explored} == {GPU}
    for n in range(1, len(made) + 1, 500):
        assert sum(d.explored for d in made[:n]) <= EXPLORED_SHARE * n
    assert model.explored_s <= 0.005 * model.spent_s


@pytest.mark.parametrize("seconds", [{CPU: 1e-3, GPU: 3e-3}, {CPU: 1e-3, GPU: math.inf}])
def test_nothing_is_explored_that_the_deadline_would_not_bear(seconds):
    model = learned({device: each for device, each in seconds.items() if each < math.inf})
    assert not any(d.explored for d in run(model, {CPU: 1e-3, GPU: 3e-3}, 5000, remaining_s=0.01))
    assert any(d.explored for d in run(model, {CPU: 1e-3, GPU: 3e-3}, 5000, remaining_s=10.0))


def test_a_queue_in_front_of_a_device_counts():
    model = learned({CPU: 2e-3, GPU: 1e-3})
    waiting = [ask(model) for _ in range(3)]
    for decision in waiting[:2]:
        assert decision.device is GPU
        model.begin(decision)
    assert ask(model).device is CPU
    for decision in waiting[:2]:
        model.finish(decision, 1e-3)
    assert ask(model).device is GPU


def test_a_new_size_is_predicted_from_fixed_work_and_bytes():
    truth = (2e-4, 3e-11, 5e-10)
    model = CostModel()
    for a, b in itertools.product((1, 16, 128, 1024), (500, 3000)):
        work, moved = 2.0 * a * b * 40, 8.0 * (a * b + b * 40 + a * 40)
        for _ in range(4):
            model.learn("exposures", (a, b, 40), work, moved, CPU, float(np.dot(truth, (1, work, moved))), warm=True)
    work, moved = 2.0 * 300 * 6000 * 40, 8.0 * (300 * 6000 + 6000 * 40 + 300 * 40)
    decision = ask(model, (CPU,), sizes=(300, 6000, 40), work=work, moved=moved)
    assert decision.predicted_s == pytest.approx(float(np.dot(truth, (1, work, moved))), rel=0.02)


def test_three_buckets_that_saw_a_device_change_speak_for_the_others():
    model = CostModel()
    for a in (1, 8, 64, 512):
        learned({CPU: a * 2e-4, GPU: a * 1e-4}, model=model, sizes=(a, 3000, 40), work=a * 2.4e5, moved=1e5)
    for a in (1, 8, 64):
        for _ in range(3):
            model.learn("exposures", (a, 3000, 40), a * 2.4e5, 1e5, GPU, a * 4e-4)
    assert ask(model, sizes=(512, 3000, 40), work=512 * 2.4e5, moved=1e5).device is CPU


def slow(model, factor, times, sizes=(1, 2, 4, 8), noise=0.1):
    """Let calls of several sizes take `factor` times as long as was learned, with noise."""
    rng = np.random.default_rng(0)
    for i in range(times):
        a = sizes[i % len(sizes)]
        took = a * 1e-4 * factor * math.exp(noise * rng.standard_normal())
        model.learn("exposures", (a, 3000, 40), a * 2.4e5, 1e5, CPU, took)


def of_sizes(*sizes):
    model = CostModel()
    for a in sizes:
        learned({CPU: a * 1e-4, GPU: a * 1.2e-4}, 20, model, (a, 3000, 40), a * 2.4e5, 1e5)
    return model


def test_a_device_that_slows_down_a_little_for_all_sizes_is_noticed_after_a_dozen_calls():
    """By half is within what one call may be off; nobody asked for the largest size since."""
    model = of_sizes(1, 2, 4, 8, 512)
    asked = {"sizes": (512, 3000, 40), "work": 512 * 2.4e5, "moved": 1e5}
    slow(model, 1.5, 9)
    assert ask(model, **asked).device is CPU
    slow(model, 1.5, 6)
    assert ask(model, **asked).device is GPU
    slow(model, 1.0, 15)
    assert ask(model, **asked).device is CPU, "and when it is back"


def test_one_size_that_changed_and_noise_say_nothing_of_the_device():
    model = of_sizes(1, 2, 4, 8, 512)
    before = model.prefer("exposures", (512, 3000, 40), 512 * 2.4e5, 1e5, (CPU,)).seconds[CPU]
    slow(model, 1.45, 100, sizes=(4,))
    slow(model, 1.0, 2000, noise=0.15)
    assert model.prefer("exposures", (512, 3000, 40), 512 * 2.4e5, 1e5, (CPU,)).seconds[CPU] == before


def test_confidence_and_gain_come_from_what_was_measured():
    model = CostModel()
    rng = np.random.default_rng(0)
    for device, mean in ((CPU, 2e-3), (GPU, 1e-3)):
        for _ in range(200):
            took = mean * (1 + 0.2 * rng.standard_normal())
            model.learn("exposures", SIZES, WORK, MOVED, device, max(took, 1e-5), warm=True)
    made = model.prefer("exposures", SIZES, WORK, MOVED, (CPU, GPU))
    assert (made.primary, made.fallback) == (GPU, CPU)
    assert made.gain_low < 2.0 < made.gain_high
    # P(1e-3 (1 + .2 z1) < 2e-3 (1 + .2 z2)) = Phi(1e-3 / (.2e-3 sqrt 5))
    assert made.confidence == pytest.approx(0.987, abs=0.02)
    same = learned({CPU: 1e-3, GPU: 1e-3}).prefer("exposures", SIZES, WORK, MOVED, (CPU, GPU))
    assert same.confidence == pytest.approx(0.5)


def test_a_device_that_was_never_measured_gives_no_confidence_and_no_gain():
    model = learned({CPU: 1e-3})
    made = model.prefer("exposures", SIZES, WORK, MOVED, (CPU, GPU))
    assert (made.primary, made.gain, made.confidence) == (CPU, 1.0, 0.0)
    assert model.prefer("exposures", SIZES, WORK, MOVED, (CPU,)).confidence == 1.0


def test_asking_leaves_no_trace():
    model = learned({CPU: 1e-3})
    before = model.table()
    model.prefer("exposures", (7, 7, 7), 10.0, 10.0, (CPU, GPU))
    model.prefer("exposures", SIZES, WORK, MOVED, (CPU, GPU))
    assert model.table() == before


def test_a_table_seeds_another_model_and_does_not_replace_what_that_measured():
    told = learned({CPU: 2e-3, GPU: 1e-3}).table()
    fresh = CostModel()
    fresh.take_table(told)
    assert ask(fresh).device is GPU
    own = learned({GPU: 5e-3})
    own.take_table(told)
    assert ask(own).device is CPU


def test_buckets_are_powers_of_two():
    assert bucket_of((1, 2, 3, 4, 5, 3000)) == (0, 1, 2, 2, 3, 12)


@pytest.fixture(scope="module")
def simulation():
    path = Path(__file__).parents[2] / "benchmarks" / "routing.py"
    spec = importlib.util.spec_from_file_location("routing_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_regret_is_small_in_a_simulation_steady_and_over_a_drift(simulation):
    drawn = simulation.stream(4000, np.random.default_rng(1))
    allowed = simulation.within_tolerance()
    assert allowed == {"exposures": (CPU, GPU), "revalue": (CPU, GPU), "network": (CPU, GPU, NE)}
    for drifts, most in (((), 0.02), (((2000, GPU, 3.0),), 0.05)):
        world = simulation.World(drifts=drifts)
        ours = simulation.Ours(simulation.World(), np.random.default_rng(2))
        made = simulation.play(ours, world, drawn, 3, allowed)
        assert made.regret <= most
        assert all(d in allowed[c.kernel] for c, d in zip(drawn, made.devices, strict=True))
