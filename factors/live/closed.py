"""A day that was closed, and the rows of it that come late: what they change of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.live import row_kernel as k
from factors.live.row import LiveRow
from factors.panel.panel import Array, Panel

SAME = 1e-12
"""A return worked out of prices and one that was given are the same within this share."""
OF_STATE = (("close", k.PRICE), ("open", k.OPEN), ("high", k.HIGH), ("low", k.LOW), ("volume", k.VOLUME))


class ClosedRow:
    """The row of a closed day: a late trade moves its close, range, volume, return and cap; a field stands as given.

    Parameters
    ----------
    symbols : sequence of str [n_assets]
    day : Panel
        One date: the day as it was closed, in the terms of the ticks; any of the symbols.
    before : Panel
        One date: the day before it, likewise.

    Attributes
    ----------
    touched : bool [n_assets]
        Names of which a late row was taken.
    """

    def __init__(self, symbols: Sequence[str], day: Panel, before: Panel) -> None:
        close, cap, returns = (_on(symbols, day, name) for name in ("close", "market_cap", "returns"))
        from_close = close / (1.0 + returns)
        base = np.where(np.isfinite(from_close), from_close, _on(symbols, before, "close"))
        base_cap = np.where(np.isfinite(cap * base / close), cap * base / close, _on(symbols, before, "market_cap"))
        self.row = LiveRow(symbols, day.dates[0], base, base_cap)
        state = {at: _on(symbols, day, name) for name, at in OF_STATE}
        state[k.MONEY] = _on(symbols, day, "vwap") * state[k.VOLUME]
        self.row.stand(state)
        self.touched = np.zeros(len(symbols), np.bool_)

    def take(self, symbols: Sequence[str], values: Mapping[str, Any], **about: Any) -> NDArray[np.int8]:
        """Take late ticks; parameters, codes and errors as of `LiveRow.take`."""
        codes = self.row.take(symbols, values, **about)
        self.touched[self.row.columns(symbols)[codes == k.TAKEN]] = True
        return codes

    def differing(self, committed: Mapping[str, Array]) -> tuple[NDArray[np.intp], dict[str, Array]]:
        """Give the names of which something differs from what is committed, and the fields that do.

        Parameters
        ----------
        committed : mapping of str to float64 [n_assets]

        Returns
        -------
        (columns [n], fields, each float64 [n]: as it is now, where that is known, else as committed)
        """
        at = np.flatnonzero(self.touched)
        now = self.row.values(at)
        fields, differ = {}, np.zeros(len(at), np.bool_)
        for name, before in committed.items():
            if name not in now:
                continue
            old, new = before[at], now[name]
            apart = np.isfinite(new) & ~(np.abs(new - old) <= SAME * np.abs(new))
            if apart.any():
                fields[name] = np.where(apart, new, old)
                differ |= apart
        return at[differ], {name: values[differ] for name, values in fields.items()}


def _on(symbols: Sequence[str], panel: Panel, name: str) -> Array:
    """Give a field of a panel's one date on an axis, NaN where it has none."""
    found = np.full(len(symbols), np.nan)
    values = panel.fields.get(name)
    if values is not None:
        own = {symbol: i for i, symbol in enumerate(panel.symbols)}
        for column, symbol in enumerate(symbols):
            if symbol in own:
                found[column] = values[0, own[symbol]]
    return found
