"""A plan of factors that is behind its model: the days in between, one by one."""

from __future__ import annotations

import numpy as np

from actors.reading.panels import whole_panel
from factors.live import LiveFactors
from store import Version


def catch_up(plan: LiveFactors, version: Version) -> None:
    """Let a plan take the committed days that it has not."""
    new = int((np.asarray(version.dates, "datetime64[D]") > np.datetime64(plan.date, "D")).sum())
    plan.call(version.symbols[: len(plan.symbols)])
    if len(version.symbols) > len(plan.symbols):
        plan.grow(version.symbols)
    if not new:
        return
    panel = whole_panel(version, rows=new)
    for t in range(new):
        fields = {name: values[t] for name, values in panel.fields.items()}
        plan.update(fields, {name: c.codes[t] for name, c in panel.categories.items()}, panel.dates[t])
