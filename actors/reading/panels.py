"""Panels of stored models, for the calculations of `factors` that want one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.errors import InvalidInput
from factors.panel.panel import Categories, Panel
from store import Version


def last_panel(version: Version, n_dates: int, fields: Sequence[str], categories: Sequence[str] = ()) -> Panel:
    """Read some fields of a model's last days.

    Raises
    ------
    InvalidInput
        The model has no such field; names it.
    """
    total = version.manifest.n_dates
    days = slice(max(total - n_dates, 0), total)
    stored = set(version.manifest.meta["fields"])
    missing = [name for name in fields if name not in stored]
    if missing:
        raise InvalidInput(f"model {version.manifest.model_id!r} has no {missing[0]!r}", field=missing[0])
    names = version.manifest.meta["category_names"]
    return Panel(
        version.dates_of(days),
        version.symbols,
        {name: np.ascontiguousarray(version.day_asset(f"fields/{name}", days), dtype=np.float64) for name in fields},
        {c: Categories(np.asarray(version.day_asset(f"category/{c}", days)), tuple(names[c])) for c in categories},
    )


def whole_panel(version: Version, rows: int | None = None) -> Panel:
    """Read all fields and categories of a model, of all days or of the last ones."""
    meta = version.manifest.meta
    n_dates = version.manifest.n_dates if rows is None else rows
    return last_panel(version, n_dates, list(meta["fields"]), list(meta["category_names"]))
