# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---
# %% [markdown]
# # A risk model from a CSV, in ten lines
#
# For a quant who has prices and wants risk. `python examples/risk_model_from_a_csv.py prices.csv` takes your file:
# date, symbol, asset_returns, market_cap, sector, and what else it has. Without one a sample market is written first.

# %%
import sys
import tempfile
from pathlib import Path

import numpy as np

from factors import FactorModel, Panel, sample_market

if len(sys.argv) > 1:
    path = Path(sys.argv[1])
else:
    path = Path(tempfile.mkdtemp()) / "prices.csv"
    columns = {"returns": "asset_returns", "market_cap": "market_cap", "book_price": "book_price"}
    sample_market(n_assets=80, n_days=400, seed=3).panel.to_frame(names=columns).write_csv(path)

# %% [markdown]
# ## The data, and what looks wrong in it

# %%
panel = Panel.from_frame(path)
print(panel.n_assets, "names,", panel.dates[0], "to", panel.dates[-1])
print("\n".join(panel.quality().lines[:5]))

# %% [markdown]
# ## The model: styles, factor returns, covariance, specific risk
#
# In a notebook every result shows itself as a table; `.plot()` draws it, and `.to_polars()` gives a frame.

# %%
model = FactorModel().fit(panel)
print(model.factors_frame().sort("volatility_annual", descending=True).head(5))
model.plot()

# %%
latest = model.latest()
print(latest.to_polars().select("symbol", "market", "beta", "momentum", "specific_volatility").head(3))
latest.plot()

# %%
latest.plot(what="correlation")

# %% [markdown]
# ## A day more, at the cost of a day

# %%
last = panel.last(1)
again = Panel(last.dates + np.timedelta64(1, "D"), last.symbols, last.fields, last.categories)
model.update(again)
print("the model now ends on", model.dates_[-1])
