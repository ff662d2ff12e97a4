# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---
# %% [markdown]
# # A factor, from idea to tear sheet
#
# For a researcher: write a formula, look at its values, judge it by the returns that followed, and say how many
# ideas were tried.

# %%
import sys
import tempfile
from pathlib import Path

from factors import Panel, sample_market
from factors.analytics import TearSheetSettings, tear_sheet
from factors.library import compile_library
from factors.library.definitions.fields import library_fields

panel = Panel.from_frame(sys.argv[1]) if len(sys.argv) > 1 else sample_market(n_assets=80, n_days=400, seed=3).panel

# %% [markdown]
# ## Three ideas, and how their values lie

# %%
ideas = {
    "reversal": "-ts_mean(returns, 5)",
    "low_volatility": "-ts_std(returns, 60)",
    "momentum": "delay(close, 21) / delay(close, 252) - 1",
}
library = compile_library(ideas)
print(library.to_polars())
fields = library_fields(panel)
found = library.run(fields.fields, dates=panel.dates, groups=fields.groups).named(panel.symbols)
print(found.to_polars().drop_nulls().tail(3))
found.plot(factor="momentum")

# %% [markdown]
# ## What each was worth, with three tried

# %%
sheets = {}
for name, scores in found.items():
    settings = TearSheetSettings(horizons=(1, 5, 21), trials=len(ideas))
    sheets[name] = tear_sheet(scores, panel.fields["returns"], panel.dates, settings, name)
    day = sheets[name].figures["horizons"][0]["ic"]
    print(f"{name:16} rank IC {day['mean']:+.4f}, t {day['t_statistic']:+.2f}")
sheets["reversal"].plot()

# %%
sheets["reversal"].plot(what="decay")

# %%
page = Path(tempfile.mkdtemp()) / "reversal.html"
page.write_text(sheets["reversal"].to_html())
print("the whole page of one of them has", page.stat().st_size // 1024, "KB")
