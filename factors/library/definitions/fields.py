"""What a panel gives the library: its fields, and proxies for those that it lacks, each of them named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from factors.library.compile.compiler import Library
from factors.library.language import names
from factors.panel.panel import Array, Panel


@dataclass(frozen=True)
class LibraryFields:
    """Inputs of the library.

    Attributes
    ----------
    fields : dict of str to float64 [n_dates, n_assets]
    groups : dict of str to codes [n_dates, n_assets]
        Below 0 for none.
    proxies : dict of str to str
        Fields and groups that the panel lacks and what stands for them.
    """

    fields: dict[str, Array]
    groups: dict[str, NDArray[np.int16]]
    proxies: dict[str, str] = field(default_factory=dict)

    @property
    def available(self) -> frozenset[str]:
        """Names of everything that a formula can read."""
        return frozenset(self.fields) | frozenset(self.groups)

    @property
    def shared(self) -> frozenset[str]:
        """Names of the fields that hold the same for all names, whether a name has a row on the date or not."""
        return INDEX & self.proxies.keys()


@dataclass(frozen=True)
class Proxy:
    """How a missing field is made: of which fields, in which words, by which function."""

    needs: tuple[str, ...]
    words: str
    make: Callable[[Mapping[str, Array]], Array]


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0.0)


def _shares(f: Mapping[str, Array]) -> Array:
    """Cap over close to 40 binary digits, so that a count that stands still is one number, not the ratio's rounding."""
    fraction, exponent = np.frexp(_ratio(f["market_cap"], f["close"]))
    return np.asarray(np.ldexp(np.rint(np.ldexp(fraction, 40)), exponent - 40))


def _of_cap(name: str) -> Callable[[Mapping[str, Array]], Array]:
    return lambda f: f[name] * f["market_cap"]


INDEX = frozenset(("benchmark_return", "benchmark_close", "benchmark_open"))

# In this order: later proxies may use earlier ones.
PROXIES: dict[str, Proxy] = {
    "vwap": Proxy(
        ("high", "low", "close"), "(high + low + close) / 3", lambda f: (f["high"] + f["low"] + f["close"]) / 3.0
    ),
    "amount": Proxy(("vwap", "volume"), "vwap * volume", lambda f: f["vwap"] * f["volume"]),
    "shares": Proxy(("market_cap", "close"), "market_cap / close", _shares),
    "book": Proxy(("book_price", "market_cap"), "book_price * market_cap", _of_cap("book_price")),
    "sales": Proxy(("sales_price", "market_cap"), "sales_price * market_cap", _of_cap("sales_price")),
    "cash_flow": Proxy(("cf_price", "market_cap"), "cf_price * market_cap", _of_cap("cf_price")),
}


def library_fields(panel: Panel, benchmark_level: float | None = None) -> LibraryFields:
    """Take a panel's fields and categories, and make the proxies that its fields allow.

    The benchmark, where the panel has none, is the return of its names weighted by the caps of the day before,
    compounded from 1; `benchmark_open` divides the day's weighted move from open to close out of the close.

    Parameters
    ----------
    panel : Panel
    benchmark_level : float, optional
        The proxy's close on the panel's first row, where that row is not the first of the history: the rows after it
        are then the same, to the bit, as those of the whole history.
    """
    fields: dict[str, Array] = dict(panel.fields)
    proxies: dict[str, str] = {}
    for name, proxy in PROXIES.items():
        if name not in fields and all(need in fields for need in proxy.needs):
            fields[name] = proxy.make(fields)
            proxies[name] = proxy.words
    if "benchmark_return" not in fields and {"returns", "market_cap"} <= fields.keys():
        fields |= benchmark_index(fields, benchmark_level)
        words = "index of the panel's names weighted by the caps of the day before"
        proxies |= dict.fromkeys(sorted(INDEX & fields.keys()), words)
    groups = {name: c.codes for name, c in panel.categories.items() if name in names.GROUPS}
    for finer, coarser in (("industry", "sector"), ("subindustry", "industry")):
        if finer not in groups and coarser in groups:
            groups[finer] = groups[coarser]
            proxies[finer] = coarser
    known = {name: values for name, values in fields.items() if name in names.FIELDS}
    return LibraryFields(
        known, groups, {name: words for name, words in proxies.items() if name in known or name in groups}
    )


def benchmark_index(fields: Mapping[str, Array], level: float | None) -> dict[str, Array]:
    """Make the benchmark of returns, caps and, for its open, open and close, each [n_dates, n_assets]."""
    caps = np.vstack([fields["market_cap"][:1], fields["market_cap"][:-1]])

    def index_return(moves: Array) -> Array:
        there = np.isfinite(moves) & np.isfinite(caps)
        weight = np.where(there, caps, 0.0)
        total = _sum_in_order(weight)
        summed = _sum_in_order(weight * np.where(there, moves, 0.0))
        series: Array = np.divide(summed, total, out=np.full(len(total), np.nan), where=total > 0.0)
        return series

    def broadcast(series: Array) -> Array:
        return np.ascontiguousarray(np.broadcast_to(series[:, None], caps.shape))

    daily = index_return(fields["returns"])
    growth = 1.0 + np.nan_to_num(daily)
    if level is not None and len(growth):
        growth[0] = level
    close: Array = np.asarray(np.cumprod(growth), dtype=np.float64)
    out = {"benchmark_return": broadcast(daily), "benchmark_close": broadcast(close)}
    if {"open", "close"} <= fields.keys():
        inside = index_return(_ratio(fields["close"], fields["open"]) - 1.0)
        out["benchmark_open"] = broadcast(close / (1.0 + np.nan_to_num(inside)))
    return out


def _sum_in_order(rows: Array) -> Array:
    """Sum over the names, one after another: names that join at the end and hold nothing yet change no bit."""
    return np.asarray(np.ascontiguousarray(rows.T).sum(axis=0))


def computable(library: Library, available: frozenset[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Split a compiled library by what the fields at hand can compute.

    Returns
    -------
    ids : tuple of str
        In the library's order.
    missing : dict of str to str
        The other ids, each with the fields that it lacks.
    """
    ids, missing = [], {}
    for name in library.ids:
        lacking = [need for need in library.inputs[name] if need not in available]
        if lacking:
            missing[name] = f"needs {', '.join(lacking)}"
        else:
            ids.append(name)
    return tuple(ids), missing
