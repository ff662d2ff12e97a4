"""What labels of a model's categories mean on its axes: sectors and memberships as the codes that kernels take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError, MissingColumnError
from factors.panel.memberships import NO_SHARES, SHARES, joined_codes, known_labels, shares_table
from factors.panel.panel import Array, Categories, Panel

Names = Mapping[str, tuple[str, ...]]
MAX_CATEGORIES = 32_000
MAY_LACK = (SHARES,)
"""A day without this category has no name in several sectors."""


def refuse_same_names(sectors: Sequence[str], factors: Sequence[str]) -> None:
    """Refuse a sector that is called as the market or a style is: what is told by name would be of one of the two.

    Raises
    ------
    FactorError
        Names the sector.
    """
    twice = [name for name in sectors if factors.count(name) > 1]
    if twice:
        raise FactorError(
            f"a sector is called {twice[0]!r}, as the market or a style is: give it another name", field="sector"
        )


def check_next(days: Panel, last: np.datetime64, fields: Sequence[str], categories: Sequence[str] | Names) -> None:
    """Refuse days that do not come after the last, or lack what the model reads.

    Raises
    ------
    FactorError, MissingColumnError
    """
    if days.dates[0] <= last:
        raise FactorError(f"the day {days.dates[0]} does not come after the model's last, {last}", field="date")
    for kind, names, given in (("field", fields, days.fields), ("category", categories, days.categories)):
        missing = [name for name in names if name not in given and name not in MAY_LACK]
        if missing:
            raise MissingColumnError(f"the new day has no {kind} {missing[0]!r}", field=missing[0])


def category_of(days: Panel, name: str) -> Categories:
    """Give a category of days; one that they may lack is empty."""
    found = days.categories.get(name)
    return Categories(np.full(days.shape, -1, np.int16), ()) if found is None else found


def grown(names: Names, days: Panel) -> dict[str, tuple[str, ...]]:
    """Give a model's labels after some days: new ones join, but for sectors, since a factor hangs on each of them.

    Of memberships those in the model's sectors join.
    """
    out = dict(names)
    for name in [name for name in names if name not in ("sector", SHARES) and name in days.categories]:
        words = days.categories[name].names
        if words != names[name]:
            known = set(names[name])
            out[name] = (*names[name], *(word for word in words if word not in known))
            if len(out[name]) > MAX_CATEGORIES:
                raise FactorError(f"{name!r} has more than {MAX_CATEGORIES} categories", field=name)
    if SHARES in names and SHARES in days.categories:
        new = [label for label in days.categories[SHARES].names if label not in names[SHARES]]
        out[SHARES] = (*names[SHARES], *known_labels(new, names["sector"]))
    return out


def shares_of(names: Names) -> Array:
    """Give the shares of memberships in the sectors, float64 [n_memberships, n_sectors]."""
    labels = names.get(SHARES, ())
    return shares_table(labels, names["sector"]) if labels else NO_SHARES


def sector_codes(names: Names, take: Callable[[str], NDArray[Any]], shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Give codes as kernels take them, of a sector, or above them of a membership; `take` gives those of a category."""
    sectors = names.get("sector", ())
    if not sectors:
        return np.full(shape, -1, dtype=np.int16)
    return joined_codes(take("sector"), take(SHARES) if SHARES in names else None, len(sectors))
