# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---
# %% [markdown]
# # Coming from skfolio
#
# skfolio's estimators optimise; its factor model, attribution and risk measures feed them. Here the model is one
# object that grows by a day, and risk and weights are functions of what it gives. skfolio's half stands as text
# below: the tests run it on the same arrays and compare.

# %%
import sys

import numpy as np

from factors import FactorModel, Panel, sample_market
from factors.portfolio.limits import Limits
from factors.portfolio.optimize import Problem, optimize
from factors.portfolio.risk import portfolio_risk

panel = Panel.from_frame(sys.argv[1]) if len(sys.argv) > 1 else sample_market(n_assets=80, n_days=400, seed=3).panel
model = FactorModel().fit(panel)
latest = model.latest()
held = np.flatnonzero(latest.covered)[:30]
names = [latest.symbols[n] for n in held]
X, F, variance = latest.exposures[held], latest.factor_covariance, latest.specific_variance[held]
print(f"{len(names)} names, {len(latest.factor_names)} factors, on {latest.date}")

# %% [markdown]
# ## Where the risk of a book comes from
#
# In skfolio:
#
# ```python
# from skfolio.attribution import predicted_factor_attribution
#
# theirs = predicted_factor_attribution(
#     weights=weights,
#     loading_matrix=X,
#     factor_covariance=F,
#     factor_mu=np.zeros(len(F)),
#     idio_covariance=variance,
#     idio_mu=np.zeros(len(names)),
#     asset_names=names,
#     factor_names=factors,
#     annualization_factor=1.0,
# )
# print(theirs.total.vol, theirs.factors.vol_contrib)
# ```
#
# Here:

# %%
weights = np.full(len(names), 1.0 / len(names))
risk = portfolio_risk(weights, X, F, variance).named(
    portfolios=["equal weights"], factors=latest.factor_names, assets=names
)
print(f"volatility {risk.total[0]:.4%} a day")
print(risk.to_polars().sort("share", descending=True).head(4))
risk.plot()

# %% [markdown]
# ## The book of least risk, at most 10 % a name
#
# In skfolio, on this model's covariance:
#
# ```python
# from skfolio.moments import BaseCovariance
# from skfolio.optimization import MeanRisk
# from skfolio.prior import EmpiricalPrior
#
#
# class Given(BaseCovariance):
#     def __init__(self, given=None):
#         super().__init__(nearest=False)
#         self.given = given
#
#     def fit(self, X, y=None, **_):
#         self.covariance_ = self.given
#         return self
#
#
# dense = X @ F @ X.T + np.diag(variance)
# least = MeanRisk(prior_estimator=EmpiricalPrior(covariance_estimator=Given(dense)), max_weights=0.1)
# their_weights = least.fit(returns).weights_
# ```
#
# Here the covariance is never formed, so that 3,000 names take a fifth of a second:

# %%
best = optimize(Problem(X, F, variance), Limits(position=(0.0, 0.1)), "min_risk")
best = best.named(assets=names, factors=latest.factor_names)
print(f"volatility {best.risk:.4%} a day, {best.to_polars().height} names")
best.plot()

# %% [markdown]
# ## What else has a counterpart
#
# | skfolio | here |
# |---|---|
# | `prior.CharacteristicsFactorModel` | `FactorModel` |
# | `partial_fit` | `FactorModel.update` |
# | `attribution.realized_factor_attribution` | `factors.portfolio.attribution.attribute` |
# | `optimization.RiskBudgeting` | `factors.portfolio.risk_budget.risk_budget` |
# | `MeanRisk(efficient_frontier_size=n)` | `factors.portfolio.frontier.frontier` |
# | `measures.cvar`, `value_at_risk` | `factors.portfolio.margin.margin` |
# | `model_selection.CombinatorialPurgedCV` | `factors.learning.folds` |
