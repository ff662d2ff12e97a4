"""Items of statements from day to day: each counts from its release on, until a newer one is known or it is too old.

The values of a table's rows stay as `raw_book`, ..., and the day of a release, where it is later than its row, as the
field `available_day`; so that days that are added, and corrections, count as they would in the whole table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factors.panel.actions import RAW
from factors.panel.meaning import RELEASE, counts_until_next
from factors.panel.panel import Array, Panel
from factors.panel.quality.report import Finding

Days = NDArray[np.int64]
NEVER = -(2**40)
"""The period of an item that was never known."""
NO_LIMIT = 2**40
TWIN = "raw_"
KEPT = ("item", "column", "about", "released", "value")
"""What is kept of a value that is not known yet, a row each."""


@dataclass(frozen=True)
class Statements:
    """What is known of each item after the last day, and what is released later.

    Attributes
    ----------
    items : tuple of str
        The fields, of a model whose table told when they were released; else none.
    values : float64 [n_items, n_assets]
        The newest value known; NaN before the first.
    about : int64 [n_items, n_assets]
        The day of its row, since 1970.
    later : float64 [5, n]
        Values that are released later: their item, column, row's day, day of release, and what they are.
    lapsed : bool [n_items, n_assets]
        Values that are too old, and that none replaced.
    """

    items: tuple[str, ...] = ()
    values: Array = field(default_factory=lambda: np.empty((0, 0)))
    about: Days = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    later: Array = field(default_factory=lambda: np.empty((len(KEPT), 0)))
    lapsed: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0), dtype=np.bool_))

    def of(self, items: tuple[str, ...], n_assets: int) -> Statements:
        """Give the same with room for new items and new names at the end."""
        values = np.full((len(items), n_assets), np.nan)
        about = np.full((len(items), n_assets), NEVER, dtype=np.int64)
        lapsed = np.zeros((len(items), n_assets), dtype=np.bool_)
        rows, columns = self.values.shape
        values[:rows, :columns], about[:rows, :columns] = self.values, self.about
        lapsed[:rows, :columns] = self.lapsed
        return Statements(items, values, about, self.later, lapsed)

    def state(self) -> dict[str, NDArray[Any]]:
        """Give everything as arrays."""
        items = np.frombuffer(json.dumps(self.items).encode(), dtype=np.uint8)
        return {"items": items, "values": self.values, "about": self.about, "later": self.later, "lapsed": self.lapsed}

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> Statements:
        """Take up what `state` gave; of a state of an earlier version, which has none, nothing."""
        if "items" not in state:
            return cls()
        items = tuple(json.loads(bytes(np.asarray(state["items"]))))
        values, about, later = (np.array(state[name]) for name in ("values", "about", "later"))
        # A state of an earlier version does not say what has lapsed: the next days tell it.
        lapsed = np.array(state["lapsed"]) if "lapsed" in state else np.zeros(values.shape, dtype=np.bool_)
        return cls(items, values, about, later, lapsed)


def twin(item: str) -> str:
    """Give the field that holds an item as the rows have it."""
    return f"{TWIN}{item}"


def items_of(panel: Panel) -> tuple[str, ...]:
    """Give the fields of a panel that count from their release on: none where no release is told."""
    if RELEASE not in panel.fields:
        return ()
    twins = {twin(name) for name in panel.fields} | {RELEASE} | set(RAW.values())
    return tuple(name for name in panel.fields if name not in twins and counts_until_next(name))


def as_rows_have_it(panel: Panel) -> Panel:
    """Give a panel whose items are as the rows of the table had them."""
    raw = {name: panel.fields[twin(name)] for name in items_of(panel) if twin(name) in panel.fields}
    if not raw:
        return panel
    twins = {twin(name) for name in raw}
    fields = {name: raw.get(name, values) for name, values in panel.fields.items() if name not in twins}
    return replace(panel, fields=fields)


class Counted(NamedTuple):
    """Days with their items in force.

    Attributes
    ----------
    panel : Panel
        The items in force under their names, those of the rows as `raw_book`, ...
    after : Statements
        What the next days go on with.
    lapsed : tuple of Finding
        Names of which an item became too old in these days.
    """

    panel: Panel
    after: Statements
    lapsed: tuple[Finding, ...] = ()


def counted(panel: Panel, before: Statements, max_age_days: int | None) -> Counted:
    """Let the items of the next days count from their releases on.

    Parameters
    ----------
    panel : Panel
        With `available_day` where releases are told: days since 1970, missing where it is the row's own. Names that are
        new stand at the end of the asset axis.
    before : Statements
        After the day before.
    max_age_days : int or None
        A value counts for so many days after its row.
    """
    given = items_of(panel)
    items = (*before.items, *(name for name in given if name not in before.items))
    if not items:
        return Counted(panel, before)
    before = before.of(items, panel.n_assets)
    days = panel.dates.astype("datetime64[D]").astype(np.int64)
    own = np.broadcast_to(days[:, None].astype(np.float64), panel.shape)
    told = panel.fields.get(RELEASE)
    released = own if told is None else np.fmax(told, own)
    limit = NO_LIMIT if max_age_days is None else max_age_days
    fields, after = dict(panel.fields), before.of(items, panel.n_assets)
    fields.setdefault(RELEASE, np.full(panel.shape, np.nan))
    later = [np.empty((len(KEPT), 0))]
    lapses = np.zeros(panel.shape, dtype=np.bool_)
    for number, item in enumerate(items):
        mine = before.later[:, before.later[0] == number]
        if item in panel.fields:
            raw = panel.fields.get(twin(item), panel.fields[item])
            fields[twin(item)] = raw
            fields[item] = np.empty(panel.shape)
            out = fields[item]
        else:
            raw, out = np.full(panel.shape, np.nan), np.empty(panel.shape)
        waiting = mine[:, np.argsort(mine[1], kind="stable")]
        in_force(
            days, np.ascontiguousarray(raw), np.ascontiguousarray(released), waiting, float(limit),
            after.values[number], after.about[number], after.lapsed[number], lapses, out,
        )  # fmt: skip
        rows, columns = np.nonzero(~np.isnan(raw) & (released > days[-1]))
        new = np.stack(
            [np.full(len(rows), float(number)), columns, days[rows], released[rows, columns], raw[rows, columns]]
        )
        later += [mine[:, mine[3] > days[-1]], new]
    gone = [(panel.dates[row], panel.symbols[column]) for row, column in np.argwhere(lapses)]
    found = (Finding.of("statements_too_old", gone),) if gone else ()
    return Counted(replace(panel, fields=fields), replace(after, later=np.concatenate(later, axis=1)), found)


@njit(cache=True, nogil=True)
def in_force(
    days: Days, raw: Array, released: Array, waiting: Array, limit: float, value: Array, about: Days,
    lapsed: NDArray[np.bool_], told: NDArray[np.bool_], out: Array,
) -> None:  # fmt: skip
    """Find, on each day, the value of the newest row whose release has come; `value` and `about` go along.

    `waiting` is what was not released before, by column. `told` is set on the day on which a value becomes too old.
    """
    n_days, n = raw.shape
    room = waiting.shape[1] + n_days
    of_row, of_release, of_value = np.empty(room), np.empty(room), np.empty(room)
    at = 0
    for j in range(n):
        held = 0
        while at < waiting.shape[1] and waiting[1, at] == j:
            of_row[held], of_release[held], of_value[held] = waiting[2, at], waiting[3, at], waiting[4, at]
            held += 1
            at += 1
        for t in range(n_days):
            if raw[t, j] == raw[t, j]:
                of_row[held], of_release[held], of_value[held] = days[t], released[t, j], raw[t, j]
                held += 1
            kept = 0
            for i in range(held):
                if of_release[i] > days[t]:
                    of_row[kept], of_release[kept], of_value[kept] = of_row[i], of_release[i], of_value[i]
                    kept += 1
                elif of_row[i] >= about[j]:
                    about[j] = np.int64(of_row[i])
                    value[j] = of_value[i]
            held = kept
            old = days[t] - about[j] > limit and value[j] == value[j]
            if old and not lapsed[j]:
                told[t, j] = True
            lapsed[j] = old
            out[t, j] = np.nan if old else value[j]
