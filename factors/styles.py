"""Momentum, size and value scores from long frames, under toraniko's names and conventions."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import polars.exceptions as pl_exc
from numba import njit
from numpy.typing import NDArray

from factors.errors import MAX_ROWS_NAMED, DuplicateRowError, EmptyFrameError
from factors.math import center_xsection, exp_weights, percentiles_xsection, winsorize_xsection
from factors.model import codes_on
from factors.numeric.kernels import rolling_product, winsorize_rows
from factors.numeric.threads import count_threads, spread

Frame = pl.DataFrame | pl.LazyFrame
COLUMNS_A_THREAD = 256


def factor_mom(
    returns_df: Frame,
    trailing_days: int = 504,
    half_life: int = 126,
    lag: int = 20,
    winsor_factor: float = 0.01,
) -> pl.LazyFrame:
    """Score momentum: the compounded weighted return of the window, clipped and standardised per date.

    The score before standardising is ``prod_k (1 + w_k r_k) - 1`` over the `trailing_days` rows of a symbol that end
    `lag` rows back, with weights that halve every `half_life` rows. A window with a missing return has no score.

    Parameters
    ----------
    returns_df : frame with | date | symbol | asset_returns |

    Returns
    -------
    pl.LazyFrame
        | date | symbol | mom_score |, rows in the order of the input.

    Raises
    ------
    TypeError
        `returns_df` is no Polars frame.
    ValueError
        A column is missing, or rows are (`EmptyFrameError`); a date and symbol occur twice (`DuplicateRowError`).
    """
    weights = exp_weights(trailing_days, half_life)
    columns = _columns(
        returns_df,
        ("date", "symbol", "asset_returns"),
        "`returns_df` must be a Polars DataFrame | LazyFrame, but it's missing attributes",
        "`returns_df` must have 'date', 'symbol' and 'asset_returns' columns",
    )
    if columns.is_empty():
        raise EmptyFrameError("`returns_df` has no rows", field="returns_df")
    layout = _Layout(columns)
    wide = layout.scatter(columns["asset_returns"].cast(pl.Float64).to_numpy())
    scores = layout.by_row(wide, lambda x: _compounded(x, weights, lag))
    winsorize_rows(scores, np.ones(scores.shape, dtype=np.bool_), float(winsor_factor))
    undefined = _standardize(scores)
    values = pl.Series("mom_score", layout.gather(scores))
    values = values.set(pl.Series(undefined[layout.rows]), None) if undefined.any() else values
    return columns.select("date", "symbol").with_columns(values).lazy()


def factor_sze(mkt_cap_df: Frame, lower_decile: float = 0.2, upper_decile: float = 0.8) -> pl.LazyFrame:
    """Score size, small minus big: minus log cap standardised per date; scores between the two quantiles become 0.

    Parameters
    ----------
    mkt_cap_df : frame with | date | symbol | market_cap |

    Returns
    -------
    pl.LazyFrame
        | date | symbol | sze_score |
    """
    columns = _columns(
        mkt_cap_df,
        ("date", "symbol", "market_cap"),
        "`mkt_cap_df` must be a Polars DataFrame or LazyFrame, but it's missing attributes",
        "`mkt_cap_df` must have 'date', 'symbol' and 'market_cap' columns",
    )
    scored = columns.lazy().select("date", "symbol", (-pl.col("market_cap").log()).alias("sze_score"))
    scored = scored.with_columns(center_xsection("sze_score", "date", True).alias("sze_score"))
    cut = percentiles_xsection("sze_score", "date", lower_decile, upper_decile, 0.0)
    return scored.with_columns(cut.alias("sze_score"))


def factor_val(value_df: Frame, winsorize_features: float | None = None) -> pl.LazyFrame:
    """Score value: the mean of standardised log book, log sales and cash flow to price, standardised per date.

    Parameters
    ----------
    value_df : frame with | date | symbol | book_price | sales_price | cf_price |
    winsorize_features : float, optional
        Any number clips the three ratios per date at 5 %: toraniko 1.1.1 does not pass the number on, and scores of
        this function equal its scores. Clip with `winsorize_xsection` first for another percentile.

    Returns
    -------
    pl.LazyFrame
        | date | symbol | val_score |
    """
    ratios = ("book_price", "sales_price", "cf_price")
    columns = _columns(
        value_df,
        ("date", "symbol", *ratios),
        "`value_df` must be a Polars DataFrame or LazyFrame, but it's missing attributes",
        "`value_df` must have 'date', 'symbol', 'book_price', 'sales_price' and 'cf_price' columns",
    )
    if winsorize_features is not None:
        columns = winsorize_xsection(columns, ratios, "date").lazy().collect()
    logs = columns.lazy().with_columns(pl.col("book_price").log(), pl.col("sales_price").log())
    scored = logs.with_columns([center_xsection(name, "date", True).alias(name) for name in ratios])
    mean = scored.select("date", "symbol", pl.mean_horizontal(*ratios).alias("val_score"))
    return mean.with_columns(center_xsection("val_score", "date", True).alias("val_score"))


def _columns(frame: Any, names: tuple[str, ...], wrong_type: str, missing: str) -> pl.DataFrame:
    if not isinstance(frame, pl.DataFrame | pl.LazyFrame):
        raise TypeError(wrong_type)
    try:
        return frame.lazy().select(names).collect()
    except pl_exc.ColumnNotFoundError as error:
        raise ValueError(missing) from error


class _Layout:
    """Places the rows of a long frame in a wide array, dates down and symbols across.

    A symbol's rows follow each other whatever the dates between them, as rolling windows over rows see them.
    """

    def __init__(self, columns: pl.DataFrame) -> None:
        names = columns["symbol"].cast(pl.String)
        dates, symbols = columns["date"].unique().sort(), names.unique().sort()
        self.rows, self.columns = codes_on(dates, columns["date"]), codes_on(symbols, names)
        self.shape = (len(dates), len(symbols))
        self.present = np.zeros(self.shape, dtype=bool)
        self.present[self.rows, self.columns] = True
        if int(self.present.sum()) != len(columns):
            named = columns.select("date", "symbol")
            again = named.filter(~pl.struct("date", "symbol").is_first_distinct())
            raise DuplicateRowError(
                "the same date and symbol occur more than once",
                field="symbol",
                rows=again.head(MAX_ROWS_NAMED).rows(),
                n_rows=len(again),
            )

    def scatter(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        wide = np.full(self.shape, np.nan)
        wide[self.rows, self.columns] = values
        return wide

    def gather(self, wide: NDArray[np.float64]) -> NDArray[np.float64]:
        gathered: NDArray[np.float64] = wide[self.rows, self.columns]
        return gathered

    def by_row(self, wide: NDArray[np.float64], rolling: Any) -> NDArray[np.float64]:
        """Run a rolling kernel so that a symbol's dates without a row neither count as rows nor get a value.

        A lagged window would otherwise speak for a symbol that has left, in the percentiles and the mean of the others.
        """
        first = self.present.argmax(axis=0)
        last = self.shape[0] - self.present[::-1].argmax(axis=0)
        gapped = np.flatnonzero(self.present.sum(axis=0) < last - first)
        out: NDArray[np.float64] = rolling(wide)
        if len(gapped):
            packed = np.full((self.shape[0], len(gapped)), np.nan)
            for number, column in enumerate(gapped):
                values = wide[self.present[:, column], column]
                packed[: len(values), number] = values
            scored = rolling(packed)
            for number, column in enumerate(gapped):
                held = self.present[:, column]
                out[held, column] = scored[: int(held.sum()), number]
        out[~self.present] = np.nan
        return out


def _compounded(x: NDArray[np.float64], weights: NDArray[np.float64], lag: int) -> NDArray[np.float64]:
    out = np.empty(x.shape)

    def work(a: int, b: int) -> None:
        rolling_product(x, weights, lag, len(weights), 0, a, b, out)

    spread(work, x.shape[1], count_threads(None), COLUMNS_A_THREAD)
    return out


@njit(cache=True, nogil=True)
def _standardize(x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Centre and scale rows in place as `center_xsection` does; say which rows have no deviation (< 2 values)."""
    undefined = np.zeros(x.shape[0], dtype=np.bool_)
    for t in range(x.shape[0]):
        total = 0.0
        n = 0
        for j in range(x.shape[1]):
            if x[t, j] == x[t, j]:
                total += x[t, j]
                n += 1
        if n < 2:
            undefined[t] = True
            continue
        mean = total / n
        square = 0.0
        for j in range(x.shape[1]):
            if x[t, j] == x[t, j]:
                square += (x[t, j] - mean) ** 2
        deviation = np.sqrt(square / (n - 1))
        for j in range(x.shape[1]):
            x[t, j] = (x[t, j] - mean) / deviation if deviation > 0.0 else np.nan
    return undefined
