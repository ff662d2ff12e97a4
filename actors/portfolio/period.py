"""What the model does not cover of books through a period: refused, left out by name, or stood in for, day by day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from actors.reading.estimates import stand_of
from actors.reading.slices import Day, exposures_over
from contracts.errors import InvalidInput
from factors.portfolio.coverage import Policy
from store import Version

MOST_NAMED = 10


class DailyBook(NamedTuple):
    """A book through a period: the request's field, and weights [T, n] on the columns of the period."""

    field: str
    weights: np.ndarray


class Period(NamedTuple):
    """What the names of some books were exposed to on each day.

    Attributes
    ----------
    exposures
        `[T, n, K]`; NaN for names that are left out.
    specific
        `[T, n]` specific variances, NaN where unknown; None where none were given.
    uncovered_days
        Symbol: days on which a book held it and the model did not cover it.
    shares
        Of each book, the mean share of its gross weight that such names are.
    """

    exposures: np.ndarray
    specific: np.ndarray | None
    uncovered_days: dict[str, int]
    shares: list[float]


def period(
    version: Version,
    rows: slice,
    columns: np.ndarray,
    books: Sequence[DailyBook],
    policy: Policy,
    specific: np.ndarray | None = None,
) -> Period:
    """Read the exposures of books' names day by day and deal with what the model does not cover.

    Parameters
    ----------
    rows
        Days of the exposures, one for each row of weights.
    columns
        Names that some book holds, [n].
    policy
        `refuse`, `warn` or `proxy`.
    specific
        `[T, n_assets]` variances of these days, where risk is asked about.

    Raises
    ------
    InvalidInput
        A book that must not hold uncovered names does, or holds nothing else on any day.
    """
    exposures = exposures_over(version, rows, columns)
    own = None if specific is None else specific[:, columns]
    blank = np.isnan(exposures).any(axis=2)
    if own is not None and specific is not None:
        # Before a model has any specific risk no name is more uncovered than the others.
        blank |= np.isnan(own) & np.isfinite(specific).any(axis=1)[:, None]
    held = np.array([book.weights != 0.0 for book in books])
    for book, holds in zip(books, held, strict=True):
        _refuse_where(version, columns, book.field, holds, blank, policy)
    gone = blank & held.any(axis=0)
    if policy == "proxy":
        for t in np.flatnonzero(gone.any(axis=1)).tolist():
            at, day = np.flatnonzero(gone[t]), Day(version, rows.start + t)
            variance = np.where(day.known, np.nan if specific is None else specific[t], np.nan)
            stand = stand_of(version, rows.start + t, columns[at], day, variance)
            exposures[t, at] = stand.exposures(columns[at])
            # On the first days of a model there is no specific risk yet that could stand for another's.
            if own is not None and (variance > 0.0).any():
                own[t, at] = stand.specific_variance(columns[at])
    counts = gone.sum(axis=0)
    told = {version.symbols[int(columns[i])]: int(counts[i]) for i in np.flatnonzero(counts)}
    return Period(exposures, own, told, [_share(book.weights, blank) for book in books])


def _refuse_where(
    version: Version, columns: np.ndarray, field: str, holds: np.ndarray, blank: np.ndarray, policy: Policy
) -> None:
    gone = holds & blank
    nothing_else = bool(holds.any()) and not (holds & ~blank).any()
    if not gone.any() or policy == "proxy" or (policy == "warn" and not nothing_else):
        return
    names = [version.symbols[int(columns[i])] for i in np.flatnonzero(gone.any(axis=0))]
    said = "holds nothing that the model covers" if nothing_else else "holds names that the model does not cover"
    more = " ..." if len(names) > MOST_NAMED else ""
    raise InvalidInput(
        f"{field} {said} on days of the period: {', '.join(names[:MOST_NAMED])}{more}", field=field, rows=names
    )


def _share(weights: np.ndarray, blank: np.ndarray) -> float:
    size = np.abs(weights)
    gross = float(size.sum())
    return float(size[blank].sum()) / gross if gross > 0.0 else 0.0
