"""Apple's Core AI, which takes Core ML's place from macOS 27, as a second witness of the Neural Engine's arithmetic.

It runs float16 programs on Linux, and adds in float16, where coremltools' value inference adds products in float32. So
what stays within the stated bounds here was rounded as often as a device may.
"""

import itertools
import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oracle_agreement import oracle_python

from contracts.work import Device
from devices import cpu, neural_engine
from devices.kernels import KERNELS, relative_error
from tests.devices.test_kernels import SIZES, within_bounds

ROOT = Path(__file__).parents[2]
NE = Device.NEURAL_ENGINE
pytestmark = pytest.mark.oracle
CASES = [(name, sizes) for name, each in SIZES.items() for sizes in each if np.prod(sizes) < 100_000]


@pytest.fixture(scope="module")
def core_ai(tmp_path_factory):
    """Run a body on Core AI, as `devices.neural_engine.evaluate` does on value inference; it tells the types."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("the oracles have coreai-core on Linux of x86_64 only")
    python = oracle_python("coreai")
    folder = tmp_path_factory.mktemp("core_ai")
    files = {"in": str(folder / "in.npz"), "out": str(folder / "out.npz")}
    errors = folder / "errors.txt"
    with errors.open("wb") as out:
        process = subprocess.Popen(
            [python, ROOT / "oracles" / "core_ai_programs.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None

    def run(body, *arrays, constants=()):
        named = {f"x{i}": array for i, array in enumerate(arrays)} | {f"c{i}": c for i, c in enumerate(constants)}
        np.savez(files["in"], **named)
        process.stdin.write(json.dumps({**files, "body": body}) + "\n")
        process.stdin.flush()
        said = process.stdout.readline()
        assert said, errors.read_text()[-2000:]
        assert json.loads(said)["dtype"] == "float16"
        with np.load(files["out"]) as data:
            return (data["made"].astype(np.float64),)

    with process:
        yield run
        process.stdin.close()


@pytest.fixture(autouse=True)
def programs_run_on_core_ai(core_ai, monkeypatch):
    monkeypatch.setattr(neural_engine, "_run", core_ai)


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_a_kernel_stays_within_its_stated_bound_where_sums_are_float16_too(name, sizes):
    within_bounds(NE, name, KERNELS[name].sample(sizes, np.random.default_rng(1)))


@pytest.mark.parametrize("activations", ["ri", "ti", "si", "rtsi"])
def test_networks_of_each_activation_stay_within_the_bound(activations):
    rng = np.random.default_rng(2)
    wide = [7, *[9] * (len(activations) - 1), 1]
    layers = []
    for n_in, n_out in itertools.pairwise(wide):
        layers += [rng.standard_normal((n_in, n_out)) / np.sqrt(n_in), rng.standard_normal(n_out) * 0.1]
    within_bounds(NE, "network", (rng.standard_normal((17, 7)), activations, *layers))


def test_scores_with_missing_names_and_a_date_of_equal_values_are_the_cpus():
    rng = np.random.default_rng(3)
    values, known = rng.standard_normal((4, 300)) * 1e6 + 1e7, rng.random((4, 300)) < 0.7
    values[2], values[~known] = 5.0, np.nan
    within_bounds(NE, "standardize", (values, known, 2.5))


def test_it_is_another_arithmetic_than_products_that_are_added_in_float32(core_ai, monkeypatch):
    """As numpy adds those of float16, and so coremltools' value inference. Else it would be no second witness."""
    given = KERNELS["exposures"].sample((8, 1000, 10), np.random.default_rng(4))

    def added_in_float32(_, x, y):
        return ((x.astype(np.float16) @ y.astype(np.float16)).astype(np.float64),)

    errors = []
    for run in (added_in_float32, core_ai):
        monkeypatch.setattr(neural_engine, "_run", run)
        errors.append(relative_error(neural_engine.exposures(*given), cpu.exposures(*given)))
    assert 0.0 < 2.0 * errors[0] < errors[1] < 1e-2, errors
