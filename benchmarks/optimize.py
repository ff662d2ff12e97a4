"""Weights of least risk under limits, beside skfolio's MeanRisk on the same problem.

Ours works on the factored form, skfolio on the dense covariance; both give the same weights, which is checked. Each is
timed after a first try that loads what it needs, and the best of the repeats counts on both sides.

    python benchmarks/optimize.py [--names 500,3000] [--repeats 3]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from factors.portfolio.limits import Limits
from factors.portfolio.optimize import Problem, optimize

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venv-oracles" / "bin" / "python"
N_FACTORS = 24
LEAST_RATIO = 3.0
VARIANCE_ERROR = 1e-4
"""By so much may the two variances differ, as a share: solvers stop at tolerances of their own."""


def problem_of(n_names: int) -> Problem:
    """Draw a factor model."""
    rng = np.random.default_rng(7)
    root = rng.standard_normal((N_FACTORS, N_FACTORS + 5)) * 0.002
    exposures = np.column_stack([np.ones(n_names), rng.standard_normal((n_names, N_FACTORS - 1))])
    return Problem(
        exposures=exposures,
        factor_covariance=root @ root.T,
        specific_variance=(0.008 + 0.02 * rng.random(n_names)) ** 2,
    )


def dense(problem: Problem) -> np.ndarray:
    """Give the covariance of names."""
    X = problem.exposures
    covariance: np.ndarray = X @ problem.factor_covariance @ X.T + np.diag(problem.specific_variance)
    return covariance


def peer(covariance: np.ndarray, most: float, repeats: int) -> tuple[list[float], np.ndarray]:
    """Let skfolio do the same; gives its seconds and weights."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(given, covariance=covariance, most=most)
        script = Path(__file__).parent / "peers" / "skfolio_optimize.py"
        command = [PEER, script, given, found, str(repeats + 1)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])[1:], np.load(found)["weights"]


def main() -> int:
    """Time both at each size; the exit code is 1 when a gate is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", default="500,3000")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if not PEER.exists():
        raise SystemExit("the oracle environment is not built: make oracles")
    met = True
    for n_names in map(int, options.names.split(",")):
        problem, most = problem_of(n_names), 10.0 / n_names
        seconds = []
        for _ in range(options.repeats + 1):
            began = time.perf_counter()
            weights = optimize(problem, Limits(position=(0.0, most))).weights
            seconds.append(time.perf_counter() - began)
        covariance = dense(problem)
        theirs, other = peer(covariance, most, options.repeats)
        ours = min(seconds[1:])
        variance, reference = weights @ covariance @ weights, other @ covariance @ other
        if abs(variance / reference - 1.0) > VARIANCE_ERROR:
            raise SystemExit(f"the variances differ: {variance} and {reference}")
        ratio = min(theirs) / ours
        met &= ratio >= LEAST_RATIO
        print(
            f"{n_names:5} names: ours {ours:7.3f} s, skfolio {min(theirs):7.3f} s, {ratio:6.1f} x "
            f"(at least {LEAST_RATIO:g}): {'met' if ratio >= LEAST_RATIO else 'MISSED'}"
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
