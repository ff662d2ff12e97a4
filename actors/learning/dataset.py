"""Data sets: features with forward returns, folds, and the manifest that says what exactly they are."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from contracts.errors import InvalidInput
from contracts.learning_requests import Dataset
from contracts.version import VERSION
from factors.analytics import forward_returns
from factors.learning import MARKS, Folds, purged_folds
from store import Version

if TYPE_CHECKING:
    import polars as pl

CELLS_MOST = 30_000_000
"""Of a table that an actor makes: 240 MB as it travels, and three times that while it is made."""
LABEL = "forward_return_"
PANELS_MOST = 150_000_000
"""Values of features over all names of the model, which are computed whichever names are asked for: 1.2 GB."""
_FIELDS = (
    "symbols", "horizons", "delay_days", "n_folds", "n_test_folds", "embargo_days", "form", "clip", "min_periods",
)  # fmt: skip


def refuse_large(n_cells: int) -> None:
    """Raise `InvalidInput` where a table would be too large to be made."""
    if n_cells > CELLS_MOST:
        raise InvalidInput(
            f"the table would have up to {n_cells:,} values; at most {CELLS_MOST:,} are made at once: "
            "take a shorter period, fewer symbols or fewer factors",
            field="start_date",
        )


def refuse_heavy(version: Version, days: slice, features: list[str]) -> None:
    """Raise `InvalidInput` where the features of all names take too much memory on the way."""
    n_values = len(features) * (days.stop - days.start) * len(version.symbols)
    if n_values > PANELS_MOST:
        raise InvalidInput(
            f"{len(features)} features of {len(version.symbols):,} names over {days.stop - days.start:,} dates are "
            f"{n_values:,} values; at most {PANELS_MOST:,} are computed at once: take a shorter period, fewer factors",
            field="factors",
        )


def folds_of(request: Dataset, n_dates: int) -> Folds:
    """Divide the dates; a label spans the days from its date to the last return of the longest horizon."""
    span = request.delay_days + max(request.horizons)
    return purged_folds(n_dates, request.n_folds, request.n_test_folds, span, request.embargo_days)


def labels_of(version: Version, days: slice, request: Dataset) -> dict[str, NDArray[np.float64]]:
    """Give forward returns by column name, float64 [n_days, n_assets]; NaN where a return is missing or not yet there.

    The label of `t` compounds the returns of ``t + delay + 1 .. t + delay + horizon``.
    """
    reach = days.stop + request.delay_days + max(request.horizons)
    last = min(reach, version.manifest.n_dates)
    returns = np.asarray(version.day_asset("fields/returns", slice(days.start, last)), dtype=np.float64)
    n_days = days.stop - days.start
    out = {}
    for horizon in request.horizons:
        forward = forward_returns(returns, horizon)[request.delay_days :][:n_days]
        label = np.full((n_days, returns.shape[1]), np.nan)
        label[: len(forward)] = forward
        out[f"{LABEL}{horizon}"] = label
    return out


def table_of(
    columns: Mapping[str, NDArray[Any]], dates: NDArray[Any], symbols: tuple[str, ...], rows: NDArray[np.bool_]
) -> pl.DataFrame:
    """Lay panels out as a table: a row for each date and name that `rows` [n_days, n_assets] has, by date.

    `columns` are [n_days, n_assets], or [n_days] for what is the same for all names of a date.
    """
    import polars as pl

    at, name = np.nonzero(rows)
    texts = pl.Series("symbol", symbols, dtype=pl.String)
    series = [pl.Series("date", dates[at]), texts.gather(name)]
    for column, values in columns.items():
        taken = values[at] if values.ndim == 1 else values[at, name]
        series.append(pl.Series(column, taken, nan_to_null=taken.dtype.kind == "f"))
    return pl.DataFrame(series)


def split_columns(folds: Folds) -> dict[str, NDArray[Any]]:
    """Give the fold of each date, and what it is in each split, as text."""
    words = np.array(MARKS)
    columns: dict[str, NDArray[Any]] = {"fold": folds.fold}
    return columns | {f"split_{number}": words[row] for number, row in enumerate(folds.marks)}


def manifest_of(
    request: Dataset, version: Version, frame: pl.DataFrame, folds: Folds, dates: NDArray[Any], features: list[str],
    digest: str,
) -> dict[str, Any]:  # fmt: skip
    """Say what a data set is: of what and how it was made, a hash of each column, and one of them all.

    The hashes are of the values, not of the bytes of a file: the same data have them in any format. `sha256` is
    over the names and hashes of the columns, so that it says the same of the same data whichever version of the model
    they are read from.
    """
    import polars as pl

    columns = [{"name": name, "type": str(kind), "sha256": hash_of(frame[name])} for name, kind in frame.schema.items()]
    whole = hashlib.sha256(b"".join(f"{row['name']} {row['sha256']}\n".encode() for row in columns)).hexdigest()
    return {
        "sha256": whole,
        "columns": columns,
        "n_rows": frame.height,
        "features": features,
        "labels": [f"{LABEL}{horizon}" for horizon in request.horizons],
        "model_id": version.manifest.model_id,
        "model_version": version.manifest.version,
        "request": {
            **{name: getattr(request, name) for name in _FIELDS},
            "factors": features,
            "start_date": str(dates[0]),
            "end_date": str(dates[-1]),
        },
        "folds": [
            {"fold": k, "first_date": str(dates[of][0]), "last_date": str(dates[of][-1]), "n_dates": int(of.sum())}
            for k in range(request.n_folds)
            for of in [folds.fold == k]
        ],
        "splits": [
            {
                "column": f"split_{number}",
                "test_folds": list(tested),
                **{f"n_{mark}_dates": int((row == code).sum()) for code, mark in enumerate(MARKS)},
            }
            for number, (tested, row) in enumerate(zip(folds.test_folds, folds.marks, strict=True))
        ],
        "factor_definitions": digest,
        "software": {"factor_engine": VERSION, "polars": pl.__version__, "python": platform.python_version()},
    }


def hash_of(column: pl.Series) -> str:
    """Hash the values of a column: sha256 of float64, int64, or text with its lengths; a missing number is one NaN."""
    import polars as pl

    kind = column.dtype
    if kind.is_float():
        values = column.fill_null(np.nan).to_numpy().astype("<f8")
        values[np.isnan(values)] = np.nan
        values += 0.0  # no negative zero
        content = values.tobytes()
    elif kind == pl.String:
        content = orjson.dumps(column.to_list())
    else:
        content = column.cast(pl.Int64).to_numpy().astype("<i8").tobytes()
    return hashlib.sha256(content).hexdigest()
