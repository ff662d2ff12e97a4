"""Categories of a long frame: labels of any type, and sectors as one-hot columns or memberships."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.errors import FactorError, MissingColumnError, WrongTypeError
from factors.panel.meaning import CLASSIFICATIONS, IDENTITIES
from factors.panel.memberships import MOST_CODES, SHARES, label_of
from factors.panel.quality.report import Finding
from factors.panel.values import numbers_of, refuse, rows_of

UNKNOWN = "Unknown"
MAX_CATEGORIES = 32_000
SUM_TOLERANCE = 1e-6
CODED = (*CLASSIFICATIONS, *IDENTITIES)
Coded = tuple[NDArray[np.int16], tuple[str, ...]]


def category(series: pl.Series, more: Sequence[str] | None = None) -> Coded:
    """Give codes [n_rows] and sorted labels of a column of text, whole numbers, or numbers that are codes.

    A missing label (null, NaN or blank) is "Unknown" in a classification, and none elsewhere. A code of a float column
    is written without its fraction: 45.0 is "45".

    Raises
    ------
    WrongTypeError
        Another type, or numbers that are no codes.
    """
    text = labels_of(series)
    if series.name in CLASSIFICATIONS:
        text = text.fill_null(UNKNOWN)
    labels = tuple(sorted({*text.drop_nulls().unique().to_list(), *(more or ())}))
    if len(labels) > MAX_CATEGORIES:
        raise FactorError(f"column {series.name!r} has more than {MAX_CATEGORIES} categories", field=series.name)
    codes = text.cast(pl.Enum(labels)).to_physical().cast(pl.Int32).fill_null(-1)
    return codes.to_numpy().astype(np.int16), labels


def labels_of(series: pl.Series) -> pl.Series:
    """Give a column's labels as text, null where there is none."""
    text = _as_text(series)
    if series.name in CODED:  # as pandas writes whole numbers where some are missing
        text = text.str.replace(r"^(-?\d+)\.0+$", "$1")
    return text.set(text.str.strip_chars() == "", None)


def _as_text(series: pl.Series) -> pl.Series:
    dtype = series.dtype
    if dtype.is_float():
        known = series.fill_nan(None)
        if (known != known.round(0)).any():
            raise WrongTypeError(f"column {series.name!r} holds fractions, not labels or codes", field=series.name)
        return known.cast(pl.Int64).cast(pl.String)
    if dtype in (pl.Categorical, pl.Enum, pl.Null, pl.Boolean) or dtype.is_integer():
        return series.cast(pl.String)
    if dtype != pl.String:
        raise WrongTypeError(f"column {series.name!r} is {dtype}, not text", field=series.name)
    return series


def encoded_sector(
    frame: pl.DataFrame, encodings: Sequence[str] | None
) -> tuple[pl.DataFrame, dict[str, Coded], tuple[Finding, ...]]:
    """Read sector columns: 0 and 1 (or truth values), or memberships of a row that sum to 1.

    A row with none of them set is of the sector "Unknown". A row of several memberships is of its largest (of the first
    of equal ones), and a finding tells; what it is of each is coded beside, where any row is of several.

    Raises
    ------
    MissingColumnError, FactorError
        Some of the columns are not there, or the memberships of a row are no shares of 1.
    """
    present = sorted(name for name in encodings or () if name in frame.columns)
    if not present:
        if encodings and "sector" not in frame.columns:
            raise MissingColumnError(
                f"the frame has neither a column 'sector' nor {encodings[0]!r}", field="sector_encodings"
            )
        return frame, {}, ()
    absent = [name for name in encodings or () if name not in frame.columns]
    if absent:
        raise MissingColumnError(f"the frame has no sector column {absent[0]!r}", field=absent[0])
    shares = np.column_stack([np.nan_to_num(numbers_of(frame[name], frame, name)) for name in present])
    whole = shares.sum(axis=1)
    bad = ((shares < 0.0) | (shares > 1.0)).any(axis=1) | ((whole > 0.0) & (np.abs(whole - 1.0) > SUM_TOLERANCE))
    refuse(
        bad,
        FactorError,
        "the sector columns of a row must be 0 or 1 with at most one 1, or memberships that sum to 1",
        "sector_encodings",
        frame,
    )
    some = whole > 0.0
    codes = np.where(some, shares.argmax(axis=1), len(present)).astype(np.int16)
    labels = tuple(present) if some.all() else (*present, UNKNOWN)
    coded = {"sector": (codes, labels), **_memberships(shares, present)}
    return frame.drop(present), coded, _of_several(frame, shares)


def _memberships(shares: NDArray[np.float64], sectors: Sequence[str]) -> dict[str, Coded]:
    """Code the rows that are of several sectors by what they are of each; -1 for the others."""
    several = (shares > 0.0).sum(axis=1) > 1
    if not several.any():
        return {}
    different, place = np.unique(shares[several], axis=0, return_inverse=True)
    if len(different) + len(sectors) > MOST_CODES:
        raise FactorError(
            f"{len(different)} different memberships in sectors; at most {MOST_CODES - len(sectors)}",
            field="sector_encodings",
        )
    codes = np.full(len(shares), -1, dtype=np.int16)
    codes[several] = place.ravel().astype(np.int16)
    return {SHARES: (codes, tuple(label_of(dict(zip(sectors, row.tolist(), strict=True))) for row in different))}


def _of_several(frame: pl.DataFrame, shares: NDArray[np.float64]) -> tuple[Finding, ...]:
    several = np.flatnonzero((shares > 0.0).sum(axis=1) > 1)
    if not len(several):
        return ()
    return (Finding.of("sector_memberships", rows_of(frame, several, len(several)), field="sector"),)
