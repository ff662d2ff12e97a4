# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---
# %% [markdown]
# # Risk and attribution of a book
#
# For a portfolio manager: where the risk of a book comes from, and where its return came from. Give a Parquet or CSV
# file as the first argument, or a sample market is used.

# %%
import sys

import numpy as np

from factors import FactorModel, Panel, sample_market
from factors.portfolio.attribution import attribute
from factors.portfolio.risk import portfolio_risk

panel = Panel.from_frame(sys.argv[1]) if len(sys.argv) > 1 else sample_market(n_assets=80, n_days=400, seed=3).panel
model = FactorModel().fit(panel)
latest = model.latest()

# %% [markdown]
# ## The book: twenty names, equally weighted

# %%
held = np.flatnonzero(latest.covered)[:20]
weights = np.full(20, 1.0 / 20)
risk = portfolio_risk(
    weights,
    latest.exposures[held],
    latest.factor_covariance,
    latest.specific_variance[held],
    linked=latest.linked.among(held),
).named(portfolios=["book"], factors=latest.factor_names, assets=[latest.symbols[n] for n in held])
print(f"volatility {risk.total[0] * 252**0.5:.1%} a year: factors {risk.factor[0] * 252**0.5:.1%}, "
      f"specific {risk.specific[0] * 252**0.5:.1%}")  # fmt: skip
risk.plot()

# %%
print(risk.to_polars(by="asset").sort("share", descending=True).head(5))

# %% [markdown]
# ## Where the return of the last 60 days came from
#
# Exposures are those of the day before. The parts sum to the return.

# %%
days = range(len(model.dates_) - 60, len(model.dates_))
result = attribute(
    weights,
    [model.exposures(model.dates_[t - 1])[held] for t in days],
    model.factor_returns_[days.start :],
    asset_returns=panel.fields["returns"][days.start :, held],
).named(factors=latest.factor_names, dates=model.dates_[days.start :])
total = result.total()
print(f"return {total.portfolio_return:.2%}: factors {total.factor.sum():.2%}, specific {total.specific:.2%}")
assert np.isclose(total.factor.sum() + total.specific + total.unexplained, total.active_return)
total.plot()

# %%
result.plot()
