# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---
# %% [markdown]
# # Watching the factors of the day that runs
#
# For whoever watches an open market: a watch's values move with the ticks. It needs a running engine (`make run`).
# `python examples/live_watch.py prices.parquet` makes the model of your file; without one a sample market is taken.
# `FACTOR_ENGINE_URL` and `FACTOR_ENGINE_RUN_DIR` say where another engine is. There is no feed here, so this sends the
# ticks itself, of a market of its own: nobody else's running day is touched.

# %%
import os
import secrets
import sys
from pathlib import Path

import numpy as np
import polars as pl

from clients.blocking import Blocking
from clients.http import HttpEngine
from clients.nats import NatsEngine
from contracts.frames import encode
from contracts.live_requests import DeleteWatch, FollowMarket, PutWatch
from factors import Panel, sample_market

panel = Panel.from_frame(sys.argv[1]) if len(sys.argv) > 1 else sample_market(n_assets=80, n_days=400, seed=3).panel
engine = Blocking(HttpEngine(os.environ.get("FACTOR_ENGINE_URL", "http://127.0.0.1:8300"))).open()
bus = Blocking(NatsEngine.of_run(Path(os.environ.get("FACTOR_ENGINE_RUN_DIR", ".run")))).open()

# %% [markdown]
# ## A model, the market that it follows, and a watch

# %%
MODEL = "notebook-live"
MARKET = f"{MODEL}-{secrets.token_hex(4)}"  # of this run: the journal keeps the ticks of those before it
engine.put_data(MODEL, encode(panel.last(320).to_frame()))
engine.follow_market(FollowMarket(model_id=MODEL, market=MARKET))
watch = PutWatch(watch_id=MODEL, model_id=MODEL, factor_returns=True, portfolios=("market",), rate_ms=0)
print(engine.put_watch(watch).message)

# %% [markdown]
# ## The day so far
#
# The names get their first ticks in five waves. The factors' returns are withheld until half of the market is seen: a
# regression on a few names gives anything.

# %%
rng = np.random.default_rng(5)
listed = [name for name, cap in zip(panel.symbols, panel.fields["market_cap"][-1], strict=True) if cap > 0.0]
moves = 0.004 + 0.01 * rng.standard_normal(len(listed))
day = np.busday_offset(panel.dates[-1], 1, roll="forward")
values = bus.watch(MODEL)
rows = []
for wave, names in enumerate(np.array_split(rng.permutation(len(listed)), 5)):
    ticks = {"symbol": [listed[n] for n in names], "returns": moves[names]}
    time = day.astype("datetime64[us]") + np.timedelta64(15 * 60 + wave, "m")
    bus.send_ticks(pl.DataFrame(ticks).with_columns(time=pl.lit(str(time) + "Z"), market=pl.lit(MARKET)))
    value = next(value for value in values if value.seen > 0.2 * (wave + 1) - 0.05)
    book = value.data["portfolios"]["market"]["return"]
    market = (value.data.get("factor_returns") or {}).get("market")
    rows.append((f"{value.seen:.0%}", market, book, (value.withheld or "told")[:40]))
print(pl.DataFrame(rows, schema=["seen", "market", "book", "factor returns"], orient="row"))
value.plot(part="factor_returns")

# %% [markdown]
# ## Away with it

# %%
values.close()
engine.delete_watch(DeleteWatch(watch_id=MODEL))
engine.delete_model(MODEL)
bus.close()
engine.close()
