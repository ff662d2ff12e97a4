# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---
# %% [markdown]
# # Recompute, and compare versions
#
# For whoever answers for a model: what a correction changed, whether history comes out the same when it is computed
# again, and the way back. It needs a running engine (`make run`). A file as the first argument is taken instead of the
# sample market; `FACTOR_ENGINE_URL` says where another engine is.

# %%
import os
import sys
import time
from pathlib import Path

import polars as pl

from clients.blocking import Blocking
from clients.http import HttpEngine
from clients.surface import How
from contracts.frames import encode
from contracts.job_requests import JobRef, ModelVersions, Recompute, RestoreVersion
from contracts.requests import CorrectDays, FactorReturns, PortfolioRisk
from factors import Panel, sample_market

panel = Panel.from_frame(sys.argv[1]) if len(sys.argv) > 1 else sample_market(n_assets=80, n_days=400, seed=3).panel
engine = Blocking(HttpEngine(os.environ.get("FACTOR_ENGINE_URL", "http://127.0.0.1:8300"))).open()

# %% [markdown]
# ## A model, and a wrong return in it

# %%
MODEL = "notebook-versions"
frame = panel.last(320).to_frame()
first = engine.put_data(MODEL, encode(frame)).model_version  # 1, or what follows an older model of the same name
book = dict.fromkeys(panel.symbols[:10], 0.1)
before = engine.portfolio_risk(PortfolioRisk(model_id=MODEL, portfolio_weights=book, uncovered="warn"))
print(before.message)

# %%
wrong = frame.filter(pl.col("symbol") == panel.symbols[0]).sort("date").tail(3).head(1)
fixed = wrong.with_columns(asset_returns=pl.col("asset_returns") + 0.02)
print(engine.correct_days(CorrectDays(model_id=MODEL, feature_data=encode(fixed))).message)

# %% [markdown]
# ## What the versions changed, and what that does to a book

# %%
versions = engine.model_versions(ModelVersions(model_id=MODEL))
print(versions.to_polars().select("version", "operation", "n_dates", "changed"))
after = engine.portfolio_risk(PortfolioRisk(model_id=MODEL, portfolio_weights=book, uncovered="warn"))
compared = before.to_polars().join(after.to_polars(), on="name", suffix="_corrected")
change = pl.col("exposures_corrected") - pl.col("exposures")
print(compared.with_columns(change=change).filter(change.abs() > 1e-9).select("name", "change"))
after.plot()

# %% [markdown]
# ## History again, as a job
#
# The job makes the results of a period from the data; the same work is the same job.

# %%
how = How(timeout_s=60.0, attempts=20)  # Ray's job agent comes up some seconds after the engine
job = engine.recompute(Recompute(model_id=MODEL, what=["returns"]), how).calculation_result.factor_values["job_id"]
until = time.monotonic() + 300.0
while (page := engine.job_status(JobRef(job_id=job))).state in ("pending", "running") and time.monotonic() < until:
    time.sleep(0.5)
print(page.state, f"{page.rows} rows")

# %%
made = pl.read_parquet(Path(page.out) / "parts" / "*.parquet")
made = made.pivot("factor", index="date", values="factor_return").sort("date")
stored = engine.factor_returns(FactorReturns(model_id=MODEL)).to_polars()
factors = stored.columns[1:]
again = made.filter(pl.col("date").cast(pl.String).is_in(stored["date"].implode()))
same = again.select(factors).equals(stored.select(factors))
print(f"{again.height} days of {len(factors)} factors are the same to the bit: {same}")

# %% [markdown]
# ## The way back

# %%
print(engine.restore_version(RestoreVersion(model_id=MODEL, version=first)).message)
back = engine.portfolio_risk(PortfolioRisk(model_id=MODEL, portfolio_weights=book, uncovered="warn"))
print(back.message)
engine.delete_model(MODEL)
engine.close()
