"""Optimal weights, risk parity and risk budgets by skfolio on the dense covariance, in the oracle environment.

    python optimise_reference.py IN.npz OUT.npz

``IN.npz`` holds ``covariance`` [N, N], ``alpha`` [N], ``budgets`` [N], ``start`` [N], ``most`` (of a position),
``turnover``, ``aversion``, and of the frontier ``frontier_most`` (of a position) and ``n_points``.
"""

import sys

import numpy as np
import pandas as pd
from skfolio import RiskMeasure
from skfolio.moments import BaseCovariance, BaseMu
from skfolio.optimization import MeanRisk, ObjectiveFunction, RiskBudgeting
from skfolio.prior import EmpiricalPrior


class Covariance(BaseCovariance):
    def __init__(self, given=None):
        super().__init__(nearest=False)
        self.given = given

    def fit(self, X, y=None, **_):
        self.covariance_ = self.given
        return self


class Mu(BaseMu):
    def __init__(self, given=None):
        self.given = given

    def fit(self, X, y=None, **_):
        self.mu_ = self.given
        return self


def main(source, target):
    data = np.load(source)
    names = [f"a{i}" for i in range(len(data["alpha"]))]
    days = pd.DataFrame(np.random.default_rng(0).standard_normal((30, len(names))) * 0.01, columns=names)
    prior = EmpiricalPrior(mu_estimator=Mu(data["alpha"]), covariance_estimator=Covariance(data["covariance"]))
    common = {"prior_estimator": prior, "risk_measure": RiskMeasure.VARIANCE}
    least = MeanRisk(objective_function=ObjectiveFunction.MINIMIZE_RISK, max_weights=float(data["most"]), **common)
    useful = MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_UTILITY, risk_aversion=float(data["aversion"]) / 2, **common
    )
    slow = MeanRisk(
        objective_function=ObjectiveFunction.MINIMIZE_RISK,
        previous_weights=dict(zip(names, data["start"], strict=True)),
        max_turnover=float(data["turnover"]),
        **common,
    )
    budgets = RiskBudgeting(
        risk_budget=dict(zip(names, data["budgets"], strict=True)),
        prior_estimator=prior,
        risk_measure=RiskMeasure.VARIANCE,
    )
    equal = RiskBudgeting(prior_estimator=prior, risk_measure=RiskMeasure.VARIANCE)
    out = {
        name: np.asarray(model.fit(days).weights_)
        for name, model in {
            "least": least,
            "useful": useful,
            "slow": slow,
            "budgets": budgets,
            "equal": equal,
        }.items()
    }
    wide = common | {"max_weights": float(data["frontier_most"])}
    calm = np.asarray(MeanRisk(objective_function=ObjectiveFunction.MINIMIZE_RISK, **wide).fit(days).weights_)
    bold = np.asarray(MeanRisk(objective_function=ObjectiveFunction.MAXIMIZE_RETURN, **wide).fit(days).weights_)
    ends = [float(np.sqrt(w @ data["covariance"] @ w)) for w in (calm, bold)]
    levels = np.linspace(*ends, int(data["n_points"]))
    between = [
        np.asarray(
            MeanRisk(objective_function=ObjectiveFunction.MAXIMIZE_RETURN, max_variance=level**2, **wide)
            .fit(days)
            .weights_
        )
        for level in levels[1:-1]
    ]
    np.savez(target, levels=levels, frontier=np.array([calm, *between, bold]), **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
