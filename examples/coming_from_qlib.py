# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---
# %% [markdown]
# # Coming from qlib
#
# qlib's expressions are read as they stand. What they become in this language, and where the two differ, is said
# beside it. qlib's half stands as text below: the tests run it on the same prices and compare.

# %%
import sys

import polars as pl

from factors import Panel, sample_market
from factors.library import Catalogue, compile_library, parse, translate
from factors.library.definitions.fields import library_fields

panel = Panel.from_frame(sys.argv[1]) if len(sys.argv) > 1 else sample_market(n_assets=80, n_days=400, seed=3).panel

# %% [markdown]
# ## Expressions
#
# In qlib:
#
# ```python
# import qlib
# from qlib.data import D
#
# qlib.init(provider_uri=folder, region="us", kernels=1, expression_cache=None, dataset_cache=None)
# theirs = D.features(D.instruments("all"), list(expressions.values()))
# ```
#
# Here:

# %%
expressions = {
    "ma": "Mean($close, 20) / $close",
    "spread": "($high - $low) / $open",
    "corr": "Corr($close, Log($volume + 1), 20)",
    "rank": "Rank($close, 20)",
}
translated = {name: translate(text, "qlib") for name, text in expressions.items()}
print(pl.DataFrame([(name, one.source, one.text) for name, one in translated.items()],
                   schema=["name", "qlib", "here"], orient="row"))  # fmt: skip
library = compile_library({name: parse(one.text, one.conventions) for name, one in translated.items()})
fields = library_fields(panel)
found = library.run(fields.fields, dates=panel.dates, groups=fields.groups).named(panel.symbols)
print(found.to_polars().drop_nulls().tail(3))
found.plot(factor="corr")

# %% [markdown]
# ## Alpha158
#
# Its 158 features are in the catalogue, those that are another one in other words as names of it. The tests compare
# them with qlib's own engine.

# %%
catalogue = Catalogue.load()
alpha158 = catalogue.categories()["alpha158"]
others = [name for name in catalogue.aliases if name.startswith("alpha158_")]
print(len(alpha158), "of Alpha158 and", len(others), "other names, such as", ", ".join(alpha158[:6]))
few = compile_library({name: catalogue.resolve(name) for name in alpha158[:6]})
values = few.run(fields.fields, dates=panel.dates, groups=fields.groups).named(panel.symbols)
print(values.to_polars().drop_nulls().tail(2))

# %% [markdown]
# ## What else has a counterpart
#
# | qlib | here |
# |---|---|
# | `D.features` | `factors.library.evaluate` on a frame, `Library.run` on arrays, `Library.stream` row by row |
# | `Alpha158`, `Alpha360` handlers | the catalogue's categories; `factors.learning` makes the arrays to train on |
# | `model.fit(dataset)` with rolling | `factors.learning.walk_forward`, with purging and embargo |
# | `analysis_position`, `analysis_model` | `factors.analytics.tear_sheet` |
# | `risk.StructuredCovEstimator` | `FactorModel` |
