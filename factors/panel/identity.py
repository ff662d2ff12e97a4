"""Who is who: names by their `asset_id`, which stays while symbols change and are used again.

A name is called by its newest symbol. Of several names that were last called the same, the one that was there latest is
called so, and the others by symbol and id, as `XYZ~BBG000`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import DuplicateRowError, FactorError
from factors.panel.axis import positions
from factors.panel.meaning import ID, ISSUER, MOST_OF_AN_ISSUER
from factors.panel.quality.report import Finding

if TYPE_CHECKING:
    # Who only adds days does without Polars: 20 MB in each actor.
    import polars as pl

    from factors.panel.panel import Panel

Names = tuple[str, ...]
Spells = dict[str, list[tuple[int, int, int]]]
"""Of each asset: the places of its symbols, and the places of the first and last date of each time that it had one.

The newest is last; a symbol that comes back is there twice.
"""


def former(symbol: str, identity: str) -> str:
    """Give what a name is called whose symbol another one has now."""
    return f"{symbol}~{identity}"


def identified(
    frame: pl.DataFrame, ids: pl.Series, symbols: Names, columns: NDArray[np.intp], dates: NDArray[Any],
    rows: NDArray[np.intp],
) -> tuple[Names, NDArray[np.intp], tuple[Finding, ...], tuple[tuple[str, str], ...]]:  # fmt: skip
    """Put the rows of a long table on an axis of assets instead of symbols.

    Parameters
    ----------
    frame : pl.DataFrame
        With `date` and `symbol`, for errors.
    ids : pl.Series of text
        Of each row; null where it has none: then the row is of its symbol's one asset, or of its symbol.
    symbols, columns
        The symbols, ascending, and the place of each row's.
    dates, rows
        The dates, ascending, and the place of each row's.

    Returns
    -------
    names, columns
        As `symbols` and `columns`, of the assets.
    findings
        Symbols that changed, and that were used again.
    former
        Symbols that assets had before, and what these assets are called.

    Raises
    ------
    FactorError
        A row without an id, of a symbol that several assets have had.
    DuplicateRowError
        An asset that has two rows on a date.
    """
    import polars as pl

    from factors.panel.values import rows_of

    keys = pl.DataFrame({"symbol": columns, "id": ids, "row": rows})
    owners = dict(keys.drop_nulls("id").group_by("symbol").agg(pl.col("id").unique()).iter_rows())
    shared = [symbol for symbol, found in owners.items() if len(found) > 1]
    unclear = keys.select(pl.col("id").is_null() & pl.col("symbol").is_in(shared)).to_series().to_numpy()
    if unclear.any():
        at = np.flatnonzero(unclear)
        message = "a row has no asset_id, and several assets have had its symbol"
        raise FactorError(message, field=ID, rows=rows_of(frame, at), n_rows=len(at))
    # A symbol without any id stands for itself: ids do not begin with a blank.
    alone = [owners[code][0] if code in owners else f" {symbol}" for code, symbol in enumerate(symbols)]
    keys = keys.with_columns(pl.coalesce("id", pl.Series(alone, dtype=pl.String).gather(columns)).alias("asset"))
    twice = keys.select("asset", "row").is_duplicated().to_numpy()
    if twice.any():
        at = np.flatnonzero(twice)
        message = "the same date and asset_id occur more than once"
        raise DuplicateRowError(message, field=ID, rows=rows_of(frame, at), n_rows=len(at))
    spells = _spells(keys)
    holder = {found[-1][0]: asset for asset, found in sorted(spells.items(), key=lambda one: one[1][-1][2])}
    called = {
        asset: symbols[found[-1][0]] if holder[found[-1][0]] == asset else former(symbols[found[-1][0]], asset.strip())
        for asset, found in spells.items()
    }
    names = tuple(sorted(called.values()))
    place = positions(names)
    at_name = {asset: place[name] for asset, name in called.items()}
    placed = keys["asset"].replace_strict(at_name, return_dtype=pl.Int64).to_numpy().astype(np.intp)
    had = [(symbols[one[0]], called[asset]) for asset, found in spells.items() for one in found]
    before = tuple(dict.fromkeys(pair for pair in had if pair[0] != pair[1]))
    return names, placed, _changes(spells, called, symbols, dates), before


def _spells(keys: pl.DataFrame) -> Spells:
    """Find when each asset had which symbol, from a row for each asset and date; assets by their last date."""
    import polars as pl

    first, last = pl.col("row").min().alias("first"), pl.col("row").max().alias("last")
    by_symbol = keys.group_by("asset", "symbol").agg(first, last)
    # Few have had more than one symbol, and only these may have had one of them twice.
    several = pl.col("asset").is_in(by_symbol["asset"].filter(by_symbol["asset"].is_duplicated()).unique().implode())
    runs = (
        keys.filter(several)
        .sort("asset", "row")
        .with_columns(pl.struct("asset", "symbol").rle_id().alias("run"))
        .group_by("run", "asset", "symbol")
        .agg(first, last)
        .drop("run")
    )
    spells: Spells = defaultdict(list)
    both = pl.concat([by_symbol.filter(~several), runs]).sort("last", "asset", "symbol")
    for asset, *spell in both.select("asset", "symbol", "first", "last").iter_rows():
        spells[asset].append((spell[0], spell[1], spell[2]))
    return spells


def _changes(spells: Spells, called: dict[str, str], symbols: Names, dates: NDArray[Any]) -> tuple[Finding, ...]:
    """Tell which symbols changed, and which were used again."""
    changed, users = [], defaultdict(list)
    for asset, found in spells.items():
        changed += [(symbols[one[0]], symbols[two[0]], dates[two[1]], called[asset]) for one, two in pairwise(found)]
        for symbol, first in {symbol: first for symbol, first, _ in reversed(found)}.items():
            users[symbol].append((first, called[asset]))
    again = [(symbols[symbol], sorted(found)) for symbol, found in users.items() if len(found) > 1]
    renamed = Finding.of(
        "symbol_changed",
        [(day, name) for _, _, day, name in changed],
        note="; ".join(f"{old} became {new}" for old, new, *_ in sorted(changed))[:200],
    )
    reused = Finding.of(
        "symbol_used_again",
        [(dates[first], symbol) for symbol, found in again for first, _ in found[1:]],
        note="; ".join(f"{symbol} was {', '.join(name for _, name in found)}" for symbol, found in sorted(again))[:200],
    )
    return tuple(finding for finding in (renamed, reused) if finding.n_rows)


def issuers_of_many(frame: pl.DataFrame) -> tuple[Finding, ...]:
    """Find labels of `issuer` that more names have than are linked (`factors.risk.linked`)."""
    import polars as pl

    from factors.panel.sectors import labels_of

    if ISSUER not in frame.columns:
        return ()
    pairs = pl.DataFrame([frame["symbol"].cast(pl.String), labels_of(frame[ISSUER])]).unique().drop_nulls()
    many = pairs.group_by(ISSUER).len().filter(pl.col("len") > MOST_OF_AN_ISSUER)
    if many.is_empty():
        return ()
    return (Finding.of("issuer_of_many", [(None, label) for label in many[ISSUER]], field=ISSUER),)


def ids_of(panel: Panel, before: Names = ()) -> Names:
    """Give the id that each name of a panel had last, "" for none; `before` are those of the days before it."""
    known = np.array([*before, *[""] * (panel.n_assets - len(before))], dtype=np.object_)
    category = panel.categories.get(ID)
    if category is not None and category.names:
        there = category.codes >= 0
        last = panel.n_dates - 1 - there[::-1].argmax(axis=0)
        codes = category.codes[last, np.arange(panel.n_assets)]
        some = codes >= 0
        known[some] = np.array(category.names, dtype=np.object_)[codes[some]]
    found: Names = tuple(known.tolist())
    return found


def called_next(day: Panel, names: Names, ids: Sequence[str]) -> Names:
    """Give what a model calls its names from the next days on: by their newest symbols.

    Parameters
    ----------
    day : Panel
        On its own axis, each name called by its symbol.
    names, ids : tuple of str [n_assets]
        Of the model; "" where a name has no id.

    Returns
    -------
    tuple of str
        The same names in the same places. A name of the days that is not among them is new.

    Raises
    ------
    FactorError
        A symbol of a name without an id becomes that of another asset, or two names of the days are one of the model's.
    """
    if ID not in day.categories:
        return names
    own, n = ids_of(day), len(names)
    if day.symbols[:n] == names and own[:n] == tuple(ids) and not any(own[n:]):
        return names  # a row that runs has the model's own names
    column, place = {identity: i for i, identity in enumerate(ids) if identity}, positions(names)
    at: dict[str, int] = {}
    for symbol, identity in zip(day.symbols, own, strict=True):
        there = place.get(symbol, -1)
        by_symbol = there if there >= 0 and not (identity and ids[there]) else -1  # a name gets its id when it has one
        at[symbol] = column.get(identity, by_symbol) if identity else by_symbol
    after, holder = list(names), dict[int, str]()
    for symbol, i in at.items():
        if i >= 0:
            if i in holder:
                raise _refused(day, symbol, f"{holder[i]!r} and {symbol!r} are one asset of the model")
            holder[i], after[i] = symbol, symbol
    for i, name in enumerate(after):
        if at.get(name, i) != i:
            if not ids[i]:
                message = f"{name!r} is another asset's symbol now, and the model knows no asset_id of its own {name!r}"
                raise _refused(day, name, message)
            after[i] = former(name, ids[i])
    return tuple(after)


def _refused(day: Panel, symbol: str, message: str) -> FactorError:
    return FactorError(message, field=ID, rows=[(day.dates[0], symbol)], n_rows=1)


def named_as(rows: Panel, names: Names, ids: Sequence[str]) -> Panel:
    """Call the names of some rows as a model calls those that have their ids."""
    if ID not in rows.categories:
        return rows
    called = {identity: name for identity, name in zip(ids, names, strict=True) if identity}
    symbols = tuple(called.get(identity, symbol) for symbol, identity in zip(rows.symbols, ids_of(rows), strict=True))
    return replace(rows, symbols=symbols)


def renamed(days: Panel, before: Names, after: Names) -> Panel:
    """Tell in the findings of days which names of a model are called otherwise from them on."""
    if before is after:  # as on most days
        return days
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    if not changed:
        return days
    note = "; ".join(f"{old} became {new}" for old, new in changed)[:200]
    finding = Finding.of("symbol_changed", [(days.dates[0], new) for _, new in changed], note=note)
    return replace(days, findings=(*days.findings, finding), former=(*days.former, *changed))
