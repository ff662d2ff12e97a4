"""Kernel, bucket, device: time, error, the choice, and what another choice would cost. Real devices only.

    python benchmarks/device_kernels.py [--report]

On a machine with a CPU alone there is nothing to choose, and the table says so. The last part is scenario
revaluation of 10,000 scenarios, 100 books and 3,000 names beside plain numpy, in turns, and before that the
part of a risk model that a device may compute. `--report` adds
what the machine is, parity on random data, and where Core ML would run each operation, to be pasted into a report.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contracts.work import Device
from devices import calibration, cpu, metal, neural_engine
from devices.detect import detect
from devices.dispatch import Dispatcher
from devices.kernels import KERNELS, relative_error
from devices.routing import FORMER_CLAIM
from factors.portfolio.scenarios import scenario_tail
from factors.risk.covariance import FactorCovariance

SCENARIOS, BOOKS, NAMES, FACTORS = 10_000, 100, 3_000, 40
CONFIDENCE = 0.99
SMALL_REQUEST_MS = 2.0
"""Exposures of ten names over NATS, by `benchmarks/latency.py`."""


def crossover(dispatcher: Dispatcher) -> None:
    """Measure every kernel, size and device; print time, error, choice, and the regret of always taking that device."""
    rows = calibration.calibrate(dispatcher)
    print(f"{'kernel':12} {'sizes':34} {'device':14} {'ms':>9} {'error':>9}  choice  regret")
    for name, sizes in [(kernel, sizes) for kernel in KERNELS for sizes in calibration.SIZES[kernel]]:
        named = dict(zip(KERNELS[name].names, sizes, strict=True))
        here = [row for row in rows if row["kernel"] == name and row["sizes"] == named]
        chosen = dispatcher.prefer(name, sizes, 1.0).primary.value
        least = min(row["ms"] for row in here if "ms" in row)
        for row in here:
            text = " x ".join(str(n) for n in sizes)
            if "failed" in row:
                print(f"{name:12} {text:34} {row['device']:14} failed: {row['failed']}")
                continue
            regret = 100 * (row["ms"] / least - 1)
            mark = "*" if row["device"] == chosen else ""
            print(
                f"{name:12} {text:34} {row['device']:14} {row['ms']:9.3f} {row['error']:9.1e}  {mark:6}  {regret:.0f} %"
            )
    print(gains(rows))


def gains(rows: list[dict[str, Any]]) -> str:
    """Say what each device gained over the CPU, beside what the former engine claimed."""
    of_cpu = {(row["kernel"], *row["sizes"].values()): row["ms"] for row in rows if row["device"] == Device.CPU.value}
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["device"] != Device.CPU.value and "ms" in row:
            found.setdefault(row["device"], []).append(of_cpu[row["kernel"], *row["sizes"].values()] / row["ms"])
    measured = "; ".join(f"{device} {min(each):.2g} to {max(each):.2g} times" for device, each in found.items())
    low, high = FORMER_CLAIM
    return (f"gain over the CPU, measured: {measured or 'none, no other device is here'}; the former engine claimed "
            f"{low:g} to {high:g} times, which nobody had measured")  # fmt: skip


def revaluation(rounds: int = 7) -> bool:
    """Time our revaluation with its tails beside plain numpy, in turns; whether ours is at least as fast."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(NAMES), BOOKS)
    X, shocks = rng.standard_normal((NAMES, FACTORS)), rng.standard_normal((SCENARIOS, FACTORS)) * 0.01

    def ours() -> tuple[np.ndarray, np.ndarray]:
        return scenario_tail(cpu.revalue(cpu.exposures(weights, X), shocks), CONFIDENCE)

    def plain() -> tuple[np.ndarray, np.ndarray]:
        losses = -(shocks @ (weights @ X).T)
        quantile = np.quantile(losses, CONFIDENCE, axis=0, method="inverted_cdf")
        return quantile, np.array([column[column >= q].mean() for column, q in zip(losses.T, quantile, strict=True)])

    took: dict[str, list[float]] = {"ours": [], "numpy": []}
    np.testing.assert_allclose(ours()[0], plain()[0], rtol=1e-9)
    for _ in range(rounds):
        for name, run in (("ours", ours), ("numpy", plain)):
            took[name].append(_cpu_seconds(run))
    own, other = (1e3 * float(np.median(took[name])) for name in ("ours", "numpy"))
    met = own <= other
    print(f"\n{SCENARIOS} scenarios x {BOOKS} books x {NAMES} names with VaR and ES, CPU time: {own:.1f} ms, "
          f"plain numpy {other:.1f} ms: {'met' if met else 'missed'} (at least as fast)")  # fmt: skip
    return met


def layer_us(repeats: int = 20_000, rounds: int = 5) -> float:
    """Time what the layer adds to a call on a machine with a CPU alone, in microseconds of CPU time."""
    dispatcher = Dispatcher({})
    made = np.zeros(1)

    def layered() -> None:
        for _ in range(repeats):
            dispatcher.run("exposures", (1, 10, 40), 1e-6, lambda: (), lambda: made)

    def plain() -> None:
        compute = lambda: made  # noqa: E731  as it is called without the layer
        for _ in range(repeats):
            compute()

    took = min(_cpu_seconds(layered) for _ in range(rounds)) - min(_cpu_seconds(plain) for _ in range(rounds))
    return took / repeats * 1e6


def overhead() -> bool:
    """Print what the layer adds to a call; whether it is under 1 % of a small request.

    `benchmarks/latency.py` measures both in one run.
    """
    each_us = layer_us()
    share = 100 * each_us / (SMALL_REQUEST_MS * 1e3)
    met = share < 1.0
    print(f"the layer adds {each_us:.2f} us of CPU time to a call on a CPU alone: {share:.2f} % of a request of "
          f"{SMALL_REQUEST_MS:g} ms: {'met' if met else 'missed'} (under 1 %)")  # fmt: skip
    return met


def risk_model(closes: int = 252, before: int = 252) -> None:
    """Say what part of the covariances of many closes a device may compute, so how much it can gain at most."""
    rows = np.random.default_rng(0).standard_normal((before + closes, FACTORS)) * np.geomspace(1e-3, 1e-2, FACTORS)
    own = FactorCovariance().update(rows[:before])
    took, draws = 0.0, 0

    def products(factors: np.ndarray) -> np.ndarray:
        nonlocal took, draws
        began = time.process_time()
        made = factors @ factors.transpose(0, 2, 1)
        took, draws = took + time.process_time() - began, draws + len(factors)
        return made

    whole = _cpu_seconds(lambda: own.path(rows[before:], products))
    share = f"{1e3 * took:.1f} ms: {100 * took / whole:.1f} %"
    print(f"covariances of {closes} closes of {FACTORS} factors: {1e3 * whole:.0f} ms of CPU time; a device may make "
          f"the products of their {draws} draws, which take {share}")  # fmt: skip


def _cpu_seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def parity() -> None:
    """Compare what can be run here of the other devices' kernels with the CPU, whatever runs it."""
    neural = detect()[Device.NEURAL_ENGINE].available
    if not neural:
        neural_engine._run = neural_engine.evaluate  # noqa: SLF001
    modules = {
        "MLX" + ("" if detect()[Device.METAL_GPU].available else " on the CPU"): ("mlx", metal),
        "Core ML" if neural else "Core ML's value inference": ("coremltools", neural_engine),
    }
    for label, (package, module) in modules.items():
        if importlib.util.find_spec(package) is None:
            print(f"{label}: skipped, {package} is not installed")
            continue
        for name, kernel in KERNELS.items():
            given = kernel.sample(calibration.SIZES[name][1], np.random.default_rng(1))
            error = relative_error(getattr(module, name)(*given), getattr(cpu, name)(*given))
            print(f"parity of {name:12} {label:28} {error:.1e}")


def plan() -> None:
    """Say where Core ML would run each operation of the programs; only a Mac can."""
    if not detect()[Device.NEURAL_ENGINE].available:
        print(f"compute plan: skipped, {detect()[Device.NEURAL_ENGINE].reason}")
        return
    for body, shapes in (
        ("product", ((24, 256, 128), (24, 128, 64))),
        ("product", ((1, 16384, 128), (1, 128, 128))),
        ("standardize", ((128, 24, 128), (128, 1, 1), (1, 1, 1))),
    ):
        print(f"compute plan of {body} {shapes}: {neural_engine.placement(body, shapes)}")


def main() -> int:
    """Print the table; 1 where the gate is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--report", action="store_true", help="also the machine, parity and the compute plan")
    options = parser.parse_args()
    for device, found in detect().items():
        print(f"{device.value}: {found.name if found.available else 'missing, ' + found.reason}")
    if options.report:
        print(f"{platform.platform()}, Python {platform.python_version()}, calibration {calibration.key()}")
        parity()
        plan()
    dispatcher = Dispatcher()
    try:
        dispatcher.await_ready()
        crossover(dispatcher)
    finally:
        dispatcher.close()
    risk_model()
    return 0 if all([overhead(), revaluation()]) else 1


if __name__ == "__main__":
    sys.exit(main())
