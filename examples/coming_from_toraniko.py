# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---
# %% [markdown]
# # Coming from toraniko
#
# toraniko's functions are here under their own names and take the same frames. The model does the same workflow in
# one object, and adds covariance, specific risk and days that are added at the cost of a day.

# %%
import sys

import polars as pl

from factors import FactorModel, Panel, sample_market
from factors.styles import factor_mom, factor_sze

panel = Panel.from_frame(sys.argv[1]) if len(sys.argv) > 1 else sample_market(n_assets=80, n_days=400, seed=3).panel
frame = panel.to_frame(names={"returns": "asset_returns", "market_cap": "market_cap"})

# %% [markdown]
# ## Its functions

# %%
momentum = factor_mom(frame.select("date", "symbol", "asset_returns"), trailing_days=252, winsor_factor=0.01).collect()
size = factor_sze(frame.select("date", "symbol", "market_cap").filter(pl.col("market_cap") > 0)).collect()
print(momentum.drop_nulls().tail(2))
print(size.drop_nulls().tail(2))

# %% [markdown]
# ## The same workflow as an object

# %%
model = FactorModel().fit(panel)
print(model.factor_returns_frame().tail(2).select("date", "market"))
model.plot(factors=["market", "momentum", "size", "value"])
