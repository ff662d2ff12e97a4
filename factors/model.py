"""Factor returns from long frames, under toraniko's names and conventions: its `toraniko.model`.

This is toraniko's cross-sectional regression under the import path that its users know, no factor model: that one is
`factors.FactorModel`, in `factors/factor_model/`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import polars.exceptions as pl_exc
from numpy.typing import NDArray

from factors.errors import EmptyFrameError, FactorError
from factors.math import winsorize
from factors.numeric.threads import count_threads, spread
from factors.returns.dates import Fits, Observations, Rule, regress_dates
from factors.returns.kernels import DEFICIENT, SOLVED
from factors.returns.second_stage import Grams, style_returns

Array = NDArray[np.float64]
KEYS = ("date", "symbol")


def _factor_returns(
    returns: Array, mkt_caps: Array, sector_scores: Array, style_scores: Array, residualize_styles: bool
) -> tuple[Array, Array]:
    """Estimate one cross-section in two stages: market and sectors, then styles.

    With W = diag(sqrt(cap)): sector returns solve the weighted least squares of the returns on [1, sectors] under
    ``sum_s f_s = 0``; style returns that of the first stage's residual (or of the returns) on the styles. A system that
    is not of full rank gets its minimum-norm solution.

    Parameters
    ----------
    returns, mkt_caps : [n_assets] or [n_assets, 1]
    sector_scores : [n_assets, m_sectors]
        Any scores; one-hot for sectors.
    style_scores : [n_assets, m_styles]
    residualize_styles : bool

    Returns
    -------
    (factor returns [1 + m_sectors + m_styles, ...], residuals like `returns`)
    """
    n_assets, m_sectors = sector_scores.shape
    weights = np.sqrt(np.asarray(mkt_caps, dtype=np.float64).ravel())
    sectors = np.hstack([np.ones((n_assets, 1)), sector_scores])
    # f = R g: the last sector is minus the sum of the others.
    R = np.vstack([np.eye(m_sectors), np.concatenate([[0.0], -np.ones(m_sectors - 1)])]) if m_sectors else np.eye(1)
    B = sectors @ R
    BW = B.T * weights
    g = np.linalg.lstsq(BW @ B, BW @ returns, rcond=None)[0]
    residual = returns - B @ g
    SW = style_scores.T * weights
    target = residual if residualize_styles else returns
    styles = np.linalg.lstsq(SW @ style_scores, SW @ target, rcond=None)[0]
    return np.concatenate([R @ g, styles]), residual - style_scores @ styles


def estimate_factor_returns(
    returns_df: pl.DataFrame,
    mkt_cap_df: pl.DataFrame,
    sector_df: pl.DataFrame,
    style_df: pl.DataFrame,
    winsor_factor: float | None = 0.05,
    residualize_styles: bool = True,
    grams: Grams | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Estimate factor and residual returns on every date.

    Parameters
    ----------
    returns_df : frame with | date | symbol | asset_returns |
    mkt_cap_df : frame with | date | symbol | market_cap |
    sector_df : frame with | date | symbol | and a column for each sector
    style_df : frame with | date | symbol | and a column for each style
    winsor_factor : float or None
        Symmetric percentile at which each date's returns are clipped.
    residualize_styles : bool
        Whether styles explain the residual of market and sectors instead of the returns.
    grams : callable, optional
        Computes the styles' Gram matrices of many dates at once, with as many digits as it has; see
        `factors.returns.second_stage`.

    Returns
    -------
    (factor returns, residuals)
        ``market``, sectors and styles each in the order of their names, ``date``; a column for each symbol, ``date``.
        Dates ascend; rows of the four frames meet on (date, symbol). A date with a missing value has none.

    Raises
    ------
    TypeError
        An argument is no Polars frame, or the factor no number.
    ValueError
        A column is missing, or the factor outside [0, 1]; no rows, or dates of different time zones (`FactorError`).
    """
    sectors = _others(sector_df, "sector_df")
    styles = _others(style_df, "style_df")
    for frame in (returns_df, mkt_cap_df):
        if not isinstance(frame, pl.DataFrame):
            raise TypeError("`returns_df` and `mkt_cap_df` must be Polars DataFrames, but there are missing attributes")
    if winsor_factor is not None:
        winsorize(np.zeros(1), winsor_factor)
    try:
        frames = [
            (returns_df, ["asset_returns"]),
            (mkt_cap_df, ["market_cap"]),
            (sector_df, sectors),
            (style_df, styles),
        ]
        _one_clock([frame for frame, _ in frames])
        if returns_df.is_empty():
            raise EmptyFrameError("`returns_df` has no rows", field="returns_df")
        wide = _Wide(frames)
        if wide.repeated:
            return _row_by_row(_joined(frames), sectors, styles, winsor_factor, residualize_styles)
    except pl_exc.ColumnNotFoundError as error:
        raise ValueError(
            "`returns_df` must have columns 'date', 'symbol' and 'asset_returns'; "
            "`mkt_cap_df` must have 'date', 'symbol' and 'market_cap' columns"
        ) from error
    f, residuals = _regress(wide, len(sectors), winsor_factor, residualize_styles, grams)
    rows = np.flatnonzero(wide.present.any(axis=1))
    dates = wide.dates.gather(rows)
    factor_frame = pl.DataFrame(f[rows], schema=["market", *sectors, *styles], orient="row")
    return factor_frame.with_columns(dates.alias("date")), wide.residual_frame(residuals, rows, dates)


def _one_clock(frames: list[pl.DataFrame]) -> None:
    """Refuse dates of different time zones: their days are not the same days."""
    kinds = [frame.get_column("date").dtype for frame in frames]
    zones = sorted({str(kind.time_zone) for kind in kinds if isinstance(kind, pl.Datetime)})
    if len(zones) > 1:
        raise FactorError(f"the column 'date' of the four frames mixes the time zones {zones}", field="date")


def _others(frame: Any, name: str) -> list[str]:
    if not isinstance(frame, pl.DataFrame):
        raise TypeError(f"`{name}` must be a Polars DataFrame, but it's missing required attributes")
    if not set(KEYS) <= set(frame.columns):
        kind = name.removesuffix("_df")
        raise ValueError(f"`{name}` must have columns for 'date' and 'symbol' in addition to each {kind}")
    return sorted(column for column in frame.columns if column not in KEYS)


class _Wide:
    """Four long frames on one date axis and one asset axis; a cell counts where all four have a row."""

    def __init__(self, frames: list[tuple[pl.DataFrame, list[str]]]) -> None:
        first = frames[0][0]
        self.dates = first["date"].unique().sort()
        self.symbols = first["symbol"].cast(pl.String).unique().sort()
        shape = (len(self.dates), len(self.symbols))
        self.present = np.ones(shape, dtype=bool)
        self.arrays: list[Array] = []
        self.repeated = False
        place = None
        before: pl.DataFrame | None = None
        for frame, columns in frames:
            # The frames of one call mostly come from one table: the same keys are placed once.
            if before is None or not _same_keys(before, frame):
                place = self._place(frame)
                before = frame
                here = np.zeros(shape, dtype=bool)
                here.ravel()[place[1]] = True
                if int(here.sum()) != len(place[1]):
                    self.repeated = True
                    return
                self.present &= here
            assert place is not None
            block = np.full((shape[0], len(columns), shape[1]), np.nan)
            kept, cells = place
            at = cells // shape[1] * (shape[1] * len(columns)) + cells % shape[1]
            flat = block.reshape(-1)
            for number, name in enumerate(columns):
                values = frame[name].cast(pl.Float64).to_numpy()
                flat[at + number * shape[1]] = values if kept is None else values[kept]
            self.arrays.append(block)

    def _place(self, frame: pl.DataFrame) -> tuple[NDArray[np.intp] | None, NDArray[np.intp]]:
        """Rows that meet the axes (None for all), and their cells."""
        rows = codes_on(self.dates, frame["date"])
        codes = codes_on(self.symbols, frame["symbol"].cast(pl.String))
        cells = rows * len(self.symbols) + codes
        fits = (rows >= 0) & (codes >= 0)
        if fits.all():
            return None, cells
        kept = np.flatnonzero(fits)
        return kept, cells[kept]

    def residual_frame(self, residuals: Array, rows: NDArray[np.intp], dates: pl.Series) -> pl.DataFrame:
        """One column a symbol, in the order in which they first appear."""
        seen = self.present[rows]
        held = np.flatnonzero(seen.any(axis=0))
        order = held[np.argsort(seen[:, held].argmax(axis=0), kind="stable")]
        names = self.symbols.gather(order).to_list()
        block = residuals[np.ix_(rows, order)]
        if seen[:, order].all():
            # Thousands of columns are made several times faster from one column of rows than one by one.
            frame = pl.DataFrame({"row": block}).select(pl.col("row").arr.to_struct(fields=names)).unnest("row")
        else:
            columns = []
            for number, (name, column) in enumerate(zip(names, order, strict=True)):
                values = pl.Series(name, np.ascontiguousarray(block[:, number]))
                gone = ~seen[:, column]
                columns.append(values.set(pl.Series(gone), None) if gone.any() else values)
            frame = pl.DataFrame(columns)
        return frame.with_columns(dates.alias("date"))


def codes_on(axis: pl.Series, values: pl.Series) -> NDArray[np.intp]:
    """Give the position of each value on an ascending axis, -1 for what is not there."""
    if values.dtype == pl.String:
        codes = values.cast(pl.Enum(axis), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
        return codes.to_numpy().astype(np.intp)
    if values.dtype != axis.dtype:
        values = values.cast(axis.dtype)
    held, wanted = axis.to_physical().to_numpy(), values.to_physical().to_numpy()
    rows = np.minimum(np.searchsorted(held, wanted), len(held) - 1).astype(np.intp)
    rows[held[rows] != wanted] = -1
    return rows


def _joined(frames: list[tuple[pl.DataFrame, list[str]]]) -> pl.DataFrame:
    whole = frames[0][0].select(*KEYS, *frames[0][1])
    for frame, columns in frames[1:]:
        whole = whole.join(frame.select(*KEYS, *columns), on=list(KEYS))
    return whole


def _row_by_row(
    joined: pl.DataFrame, sectors: list[str], styles: list[str], winsor_factor: float | None, residualize: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Regress the rows of each date as they are, repeated ones too, as a join gives them; the last residual stands."""
    f, residuals, dates = [], [], []
    for (date,), rows in joined.sort(*KEYS, maintain_order=True).group_by("date", maintain_order=True):
        r = rows["asset_returns"].to_numpy()
        if winsor_factor is not None:
            r = winsorize(r, winsor_factor)
        S = rows.select(styles).to_numpy()
        found, e = _factor_returns(r, rows["market_cap"].to_numpy(), rows.select(sectors).to_numpy(), S, residualize)
        f.append(found)
        residuals.append(dict(zip(rows["symbol"].to_list(), e.tolist(), strict=True)))
        dates.append(date)
    factor_frame = pl.DataFrame(np.array(f), schema=["market", *sectors, *styles], orient="row")
    day = pl.Series("date", dates, dtype=joined["date"].dtype)
    return factor_frame.with_columns(day), pl.DataFrame(residuals, infer_schema_length=None).with_columns(day)


def _same_keys(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    if len(a) != len(b) or a["date"].dtype != b["date"].dtype or a["symbol"].dtype != b["symbol"].dtype:
        return False
    return a["date"].equals(b["date"]) and a["symbol"].equals(b["symbol"])


def _regress(
    wide: _Wide, n_sectors: int, winsor_factor: float | None, residualize: bool, grams: Grams | None
) -> tuple[Array, Array]:
    y, caps = wide.arrays[0][:, 0], wide.arrays[1][:, 0]
    sectors, styles = wide.arrays[2], wide.arrays[3]
    n_dates = len(y)
    codes, one_hot = _codes(sectors, wide.present)
    complete = np.isfinite(y) & np.isfinite(caps) & (caps > 0.0) & np.isfinite(styles).all(axis=1)
    simple = one_hot & (complete | ~wide.present).all(axis=1) & (winsor_factor is None or winsor_factor < 0.5)
    shown = y
    if winsor_factor is not None:
        shown = np.where(wide.present, y, np.nan)

    days = Observations(
        shown, np.sqrt(np.maximum(caps, 0.0)), caps, codes, styles, wide.present & simple[:, None], n_sectors
    )
    rule = Rule(-1.0 if winsor_factor is None else float(winsor_factor), stages=2, residualize=bool(residualize))
    f, residuals, status = _fitted(days, rule) if grams is None else _fitted_apart(days, rule, grams)
    for t in range(n_dates):
        at = np.flatnonzero(wide.present[t])
        if not len(at):
            continue
        r = y[t, at]
        if winsor_factor is not None:
            r = winsorize(r, winsor_factor)
        if status[t] == SOLVED:
            # The kernel gives residuals of the returns as they are; toraniko's are of the clipped ones.
            residuals[t, at] += r - y[t, at]
            continue
        X, S = sectors[t][:, at].T, styles[t][:, at].T
        if np.isfinite(r).all() and np.isfinite(caps[t, at]).all() and np.isfinite(X).all() and np.isfinite(S).all():
            f[t], residuals[t, at] = _factor_returns(r, caps[t, at], X, S, residualize)
        else:
            f[t] = np.nan
            residuals[t, at] = np.nan
    return f, residuals


def _fitted(days: Observations, rule: Rule) -> tuple[Array, Array, NDArray[np.int8]]:
    """Fit all dates: factor returns, residuals of the returns as they are, and which dates are solved."""
    fits = Fits.empty(days)
    spread(lambda begin, end: regress_dates(days, rule, begin, end, fits), len(days.returns), count_threads(None), 8)
    return fits.factor_returns, fits.residuals, fits.status


def _fitted_apart(days: Observations, rule: Rule, grams: Grams) -> tuple[Array, Array, NDArray[np.int8]]:
    """Fit market and sectors here, which are sparse, and the styles of all solved dates by their Gram matrices."""
    styles = days.styles
    f, residuals, status = _fitted(days._replace(styles=styles[:, :0]), rule)
    known = days.mask & (status == SOLVED)[:, None]
    fitted = np.where(known, days.returns - residuals, 0.0)
    target = np.where(known, days.returns, 0.0)
    if rule.winsor >= 0.0:
        for row, at in zip(target, known, strict=True):
            if at.any():
                row[at] = winsorize(row[at], rule.winsor)
    if rule.residualize:
        target = np.where(known, target - fitted, 0.0)
    at = np.flatnonzero(status == SOLVED)
    x = np.where(known[at, None, :], styles[at], 0.0)
    found, solved = style_returns(x, np.where(known[at], days.weights[at], 0.0), target[at], grams)
    f = np.hstack([f, np.zeros((len(f), styles.shape[1]))])
    f[at, f.shape[1] - styles.shape[1] :] = found
    residuals[at] -= np.einsum("tk,tkn->tn", found, x)
    status[at[~solved]] = DEFICIENT
    return f, residuals, status


def _codes(sectors: Array, present: NDArray[np.bool_]) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Sector of each cell, and the dates on which sectors are one-hot and each has a member."""
    n_dates, n_sectors, n_assets = sectors.shape
    codes = np.full((n_dates, n_assets), -1, dtype=np.int16)
    count = np.zeros((n_dates, n_assets), dtype=np.int16)
    members = np.ones(n_dates, dtype=bool)
    binary = np.ones(n_dates, dtype=bool)
    for s in range(n_sectors):
        one = (sectors[:, s] == 1.0) & present
        binary &= (one | (sectors[:, s] == 0.0) | ~present).all(axis=1)
        codes[one] = s
        count += one
        members &= one.any(axis=1)
    return codes, members & binary & ((count == 1) | ~present).all(axis=1) & (n_sectors > 0)
