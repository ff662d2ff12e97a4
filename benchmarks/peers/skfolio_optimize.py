"""Find weights of least risk with skfolio's MeanRisk on a dense covariance, and print the seconds of each try.

    python skfolio_optimize.py IN.npz OUT.npz REPEATS        (in the oracle environment)

``IN.npz`` holds ``covariance`` [N, N] and ``most``, the greatest weight of a name; ``OUT.npz`` gets ``weights`` [N].
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
from skfolio import RiskMeasure
from skfolio.moments import BaseCovariance
from skfolio.optimization import MeanRisk, ObjectiveFunction
from skfolio.prior import EmpiricalPrior


class Covariance(BaseCovariance):
    """A covariance that is given."""

    def __init__(self, given: np.ndarray | None = None) -> None:
        super().__init__(nearest=False)
        self.given = given

    def fit(self, X: object, y: object = None, **_: object) -> "Covariance":  # noqa: ARG002  (skfolio's names)
        """Take what is given."""
        self.covariance_ = self.given
        return self


def main(source: str, target: str, repeats: str) -> None:
    warnings.simplefilter("ignore")
    data = np.load(source)
    n = len(data["covariance"])
    names = [f"a{i}" for i in range(n)]
    days = pd.DataFrame(np.random.default_rng(0).standard_normal((30, n)) * 0.01, columns=names)
    seconds = []
    for _ in range(int(repeats)):
        model = MeanRisk(
            objective_function=ObjectiveFunction.MINIMIZE_RISK,
            risk_measure=RiskMeasure.VARIANCE,
            max_weights=float(data["most"]),
            prior_estimator=EmpiricalPrior(covariance_estimator=Covariance(data["covariance"])),
        )
        start = time.perf_counter()
        weights = np.asarray(model.fit(days).weights_)
        seconds.append(time.perf_counter() - start)
    np.savez(target, weights=weights)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
