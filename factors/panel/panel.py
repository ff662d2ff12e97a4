"""The panel: wide arrays over dates and assets, the form in which the mathematics holds a market."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factors.errors import EmptyFrameError, FactorError, UnknownDateError, UnknownSymbolError
from factors.notebook.shown import Shown
from factors.panel.axis import now_called, positions
from factors.panel.intake import DEFAULT, Intake
from factors.panel.meaning import RELEASE, counts_until_next
from factors.panel.quality.report import Finding, QualityReport

if TYPE_CHECKING:
    # Who only computes on panels does without Polars: 20 MB in each actor.
    import polars as pl
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Categories:
    """A categorical attribute of each asset on each date.

    Attributes
    ----------
    codes : int16 [n_dates, n_assets]
        Index into `names`; -1 where missing.
    names : tuple of str
    """

    codes: NDArray[np.int16]
    names: tuple[str, ...]

    def renamed(self, names: tuple[str, ...]) -> NDArray[np.int16]:
        """Give the codes in terms of another vocabulary, -1 for a name that it lacks."""
        if names == self.names:
            return self.codes
        position = {name: code for code, name in enumerate(names)}
        table = np.array([position.get(name, -1) for name in self.names] + [-1], dtype=np.int16)
        return table[self.codes]


@dataclass(frozen=True)
class Panel(Shown):
    """Wide arrays on a date axis and an asset axis; NaN is missing; the asset axis is contiguous.

    Attributes
    ----------
    dates : datetime64[D] [n_dates]
        Ascending, unique.
    symbols : tuple of str
    fields : mapping of name to float64 [n_dates, n_assets]
        Canonical names: returns (simple, total), market_cap, open, high, low, close, volume, vwap, shares, book_price,
        sales_price, cf_price (ratios to price), benchmark_*, and point-in-time fundamentals.
    categories : mapping of name to Categories
        sector, industry, subindustry; issuer, asset_id, exchange and country, where -1 is unknown; any other text.
    findings : tuple of Finding
        What looked wrong while the table was read; `quality` tells it with the rest.
    former : tuple of (str, str)
        Symbols that names had before, and what these names are called now.
    """

    dates: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    fields: Mapping[str, Array]
    categories: Mapping[str, Categories] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    former: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        shape = self.shape
        wrong = [name for name, values in self.fields.items() if values.shape != shape]
        wrong += [name for name, values in self.categories.items() if values.codes.shape != shape]
        if wrong:
            raise FactorError(f"'{wrong[0]}' does not have the panel's shape {shape}", field=wrong[0])
        if len(self.dates) > 1 and not (self.dates[1:] > self.dates[:-1]).all():
            raise FactorError("the dates of a panel ascend and are unique", field="dates")

    @property
    def shape(self) -> tuple[int, int]:
        """(n_dates, n_assets)."""
        return len(self.dates), len(self.symbols)

    @property
    def n_dates(self) -> int:
        """The number of dates."""
        return len(self.dates)

    @property
    def n_assets(self) -> int:
        """The number of assets."""
        return len(self.symbols)

    @property
    def nbytes(self) -> int:
        """Bytes held by the arrays."""
        codes = sum(category.codes.nbytes for category in self.categories.values())
        return codes + sum(values.nbytes for values in self.fields.values())

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        symbol_col: str | None = None,
        date_col: str | None = None,
        mkt_cap_col: str | None = None,
        sector_encodings: Sequence[str] | None = None,
        returns_col: str | None = None,
        available_at_col: str | None = None,
        required: Sequence[str] = ("returns", "market_cap"),
        intake: Intake | None = None,
    ) -> Panel:
        """Read a long table with one row per date and symbol.

        Parameters
        ----------
        frame : pl.DataFrame, or what `factors.panel.tables.as_frame` takes
            `date_col`, `symbol_col` and numeric columns (fields) and text columns (categories), rows in any order.
        intake : Intake, optional
            How the table is read; the column names given beside it go before its own.
        sector_encodings : sequence of str, optional
            Columns of 0 and 1, one per sector, that replace a `sector` column. Names that are no columns extend the
            vocabulary of the `sector` column.
        available_at_col : str
            If the frame has this column of dates, a row's fundamentals and ratios count from that day on (from the
            row's own date where it is null or earlier); prices, volume, cap and shares count on their date.
        required : sequence of str
            Canonical fields that must be there.

        Returns
        -------
        Panel
            Dates ascending, symbols ascending. NaN and null are missing; a null sector is the sector "Unknown"; an
            infinity is missing, except in returns and market_cap where it is an error.

        Raises
        ------
        FactorError
            A wrong type, a missing column, an empty frame, a duplicated (date, symbol), an infinite return or one below
            -100 %, a negative or infinite cap: named by column and rows.
        """
        from factors.panel.frames import read_frame
        from factors.panel.tables import as_frame

        intake = (intake or DEFAULT).called(
            symbol_col=symbol_col,
            date_col=date_col,
            mkt_cap_col=mkt_cap_col,
            returns_col=returns_col,
            available_at_col=available_at_col,
        )
        table = as_frame(frame, intake)
        encodings = intake.sector_encodings if sector_encodings is None else sector_encodings
        wide = read_frame(table, intake, encodings, tuple(required))
        categories = {name: Categories(*pair) for name, pair in wide.categories.items()}
        panel = cls(
            wide.dates, wide.symbols, wide.fields, categories, tuple(f for f in wide.findings if f.n_rows), wide.former
        )
        if RELEASE in panel.fields:
            from factors.panel.door import as_released

            panel = as_released(panel, intake)
        if intake.policy == "strict":
            panel.quality(intake).refuse_errors()
        return panel

    def to_frame(self, *, names: Mapping[str, str] | None = None) -> pl.DataFrame:
        """Give the panel as a long frame sorted by date and symbol; rows without any value are left out.

        Parameters
        ----------
        names : mapping of canonical name to column name, optional
            For instance ``{"returns": "asset_returns"}``, which is the default.
        """
        import polars as pl

        rename = {"returns": "asset_returns"} if names is None else dict(names)
        order = np.argsort(np.asarray(self.symbols, dtype=object), kind="stable")
        present = np.zeros(self.shape, dtype=bool)
        for values in self.fields.values():
            present |= ~np.isnan(values)
        for category in self.categories.values():
            present |= category.codes >= 0
        rows, columns = np.nonzero(present[:, order])
        columns = order[columns]
        symbols = pl.Series("symbol", np.asarray(self.symbols, dtype=object)[columns].tolist(), dtype=pl.String)
        data: dict[str, Any] = {"date": pl.Series("date", self.dates[rows].astype("datetime64[D]")), "symbol": symbols}
        for name, values in self.fields.items():
            column = rename.get(name, name)
            data[column] = pl.Series(column, values[rows, columns]).fill_nan(None)
        for name, category in self.categories.items():
            labels = np.array([*category.names, None], dtype=object)
            data[name] = pl.Series(name, labels[category.codes[rows, columns]].tolist(), dtype=pl.String)
        return pl.DataFrame(data)

    def to_polars(self) -> pl.DataFrame:
        """Give the panel as a long frame under its own names of fields; see `to_frame`."""
        return self.to_frame(names={})

    def fields_frame(self) -> pl.DataFrame:
        """Give a row for each field: the share of its cells that hold a value, least, mean and largest of them."""
        import polars as pl

        rows = []
        for name, values in self.fields.items():
            known = values[np.isfinite(values)]
            least, mean, most = (known.min(), known.mean(), known.max()) if known.size else (None, None, None)
            rows.append((name, known.size / max(values.size, 1), least, mean, most))
        schema = dict(zip(("field", "known", "least", "mean", "largest"), (pl.String, *[pl.Float64] * 4), strict=True))
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _repr_html_(self) -> str:
        from factors.notebook.table import of_frame

        span = f", {self.dates[0]} to {self.dates[-1]}" if self.n_dates else ""
        caption = f"Panel: {self.n_dates} dates{span}, {self.n_assets} names"
        return of_frame(self.fields_frame(), caption, {"known": ".1%"})

    def _draw(self, axes: Axes) -> None:
        from factors.notebook.charts import lines

        chosen = ("returns", "market_cap") if "returns" in self.fields else tuple(self.fields)[:2]
        series = {name: np.isfinite(self.fields[name]).sum(axis=1) for name in chosen if name in self.fields}
        lines(axes, self.dates, series, title="Names with a value", unit="names")

    def select(
        self,
        dates: ArrayLike | slice | None = None,
        symbols: Sequence[str] | None = None,
        fields: Iterable[str] | None = None,
    ) -> Panel:
        """Give a part of the panel: some dates (or a slice of them), some symbols in the order asked for, some fields.

        Raises
        ------
        UnknownDateError, UnknownSymbolError
            A date or symbol that the panel does not hold.
        """
        rows = dates if isinstance(dates, slice) else self._rows(dates)
        columns = self._columns(symbols)
        kept = self.fields if fields is None else {name: self.fields[name] for name in fields}

        def cut(values: NDArray[Any]) -> NDArray[Any]:
            return np.ascontiguousarray(values[rows] if columns is None else values[rows][:, columns])

        return Panel(
            self.dates[rows],
            self.symbols if symbols is None else tuple(symbols),
            {name: cut(values) for name, values in kept.items()},
            {name: Categories(cut(category.codes), category.names) for name, category in self.categories.items()},
        )

    def last(self, n: int) -> Panel:
        """Give the last `n` dates as views of the same arrays."""
        first = max(self.n_dates - n, 0)
        return Panel(
            self.dates[first:],
            self.symbols,
            {name: values[first:] for name, values in self.fields.items()},
            {name: Categories(category.codes[first:], category.names) for name, category in self.categories.items()},
        )

    def with_fields(self, **fields: Array) -> Panel:
        """Give the panel with fields added or replaced; what a replaced item of a statement was made of goes."""
        made_of = {f"raw_{name}" for name in fields if counts_until_next(name)}
        kept = {name: values for name, values in self.fields.items() if name not in made_of}
        return replace(self, fields={**kept, **fields})

    def on_axis(self, symbols: tuple[str, ...]) -> Panel:
        """Give the panel on another asset axis, its own symbols that are new there at the end."""
        if symbols == self.symbols:
            return self
        symbols = tuple(dict.fromkeys((*symbols, *self.symbols)))
        position = positions(symbols)
        columns = np.array([position[symbol] for symbol in self.symbols], dtype=np.intp)

        def spread(values: NDArray[Any], fill: float) -> NDArray[Any]:
            wide = np.full((self.n_dates, len(symbols)), fill, dtype=values.dtype)
            wide[:, columns] = values
            return wide

        return replace(
            self,
            symbols=symbols,
            fields={name: spread(values, np.nan) for name, values in self.fields.items()},
            categories={n: Categories(spread(c.codes, -1), c.names) for n, c in self.categories.items()},
        )

    def quality(self, intake: Intake = DEFAULT) -> QualityReport:
        """Look for what is wrong in the panel, after its prices were adjusted as the intake says.

        Returns
        -------
        QualityReport
            Findings by kind, with severity, rows, effect and remedy.
        """
        from factors.panel.door import Door

        _, door = Door(replace(intake, policy="warn")).take(self)
        return door.report(self.symbols, {name: category.names for name, category in self.categories.items()})

    def position(self, date: Any) -> int:
        """Give the row of a date.

        Raises
        ------
        UnknownDateError
            The panel does not hold the date.
        """
        return position_of(self.dates, date)

    @staticmethod
    def concat(panels: Sequence[Panel]) -> Panel:
        """Join panels in time; later panels begin after earlier ones end.

        Symbols new to a later panel are appended at the end of the asset axis, categories new to it at the end of the
        vocabulary; a field that a part lacks is missing there.
        """
        if not panels:
            raise EmptyFrameError("there is no panel to join")
        for earlier, later in pairwise(panels):
            if earlier.n_dates and later.n_dates and later.dates[0] <= earlier.dates[-1]:
                raise FactorError(
                    f"the panel that begins {later.dates[0]} does not come after {earlier.dates[-1]}", field="date"
                )
        symbols = tuple(dict.fromkeys(symbol for panel in panels for symbol in panel.symbols))
        position = positions(symbols)
        bounds = np.cumsum([0, *(panel.n_dates for panel in panels)])
        shape = (int(bounds[-1]), len(symbols))
        fields: dict[str, Array] = {}
        codes: dict[str, NDArray[np.int16]] = {}
        vocabulary: dict[str, dict[str, None]] = {}
        for panel in panels:
            for name in panel.fields:
                fields.setdefault(name, np.full(shape, np.nan))
            for name, category in panel.categories.items():
                codes.setdefault(name, np.full(shape, -1, dtype=np.int16))
                vocabulary.setdefault(name, {}).update(dict.fromkeys(category.names))
        names = {name: tuple(words) for name, words in vocabulary.items()}
        for number, panel in enumerate(panels):
            rows = slice(bounds[number], bounds[number + 1])
            columns = np.array([position[symbol] for symbol in panel.symbols], dtype=np.intp)
            for name, values in panel.fields.items():
                fields[name][rows, columns] = values
            for name, category in panel.categories.items():
                codes[name][rows, columns] = category.renamed(names[name])
        dates = np.concatenate([panel.dates for panel in panels])
        return Panel(dates, symbols, fields, {name: Categories(value, names[name]) for name, value in codes.items()})

    def _rows(self, dates: ArrayLike | None) -> slice | NDArray[np.intp]:
        if dates is None:
            return slice(None)
        wanted = np.atleast_1d(np.asarray(dates, dtype="datetime64[D]"))
        rows = np.searchsorted(self.dates, wanted)
        found = (rows < self.n_dates) & (self.dates[np.minimum(rows, max(self.n_dates - 1, 0))] == wanted)
        if not found.all():
            missing = wanted[~found]
            raise UnknownDateError(f"the panel does not hold the date {missing[0]}", field="date", n_rows=len(missing))
        return rows

    def _columns(self, symbols: Sequence[str] | None) -> NDArray[np.intp] | None:
        if symbols is None:
            return None
        position = positions(self.symbols)
        missing = [symbol for symbol in symbols if symbol not in position]
        if missing:
            message = f"the panel does not hold the symbol {missing[0]!r}{now_called(missing[:1], self.former)}"
            raise UnknownSymbolError(message, field="symbol", n_rows=len(missing))
        return np.array([position[symbol] for symbol in symbols], dtype=np.intp)


def position_of(dates: NDArray[np.datetime64], date: Any) -> int:
    """Give the index of `date` in ascending `dates`, or raise UnknownDateError."""
    try:
        wanted = np.datetime64(date, "D")
    except (ValueError, TypeError) as error:
        raise UnknownDateError(f"{date!r} is not a date", field="date") from error
    row = int(np.searchsorted(dates, wanted))
    if row == len(dates) or dates[row] != wanted:
        held = f"{dates[0]} to {dates[-1]}" if len(dates) else "no dates"
        raise UnknownDateError(f"{wanted} is not among the dates held ({held})", field="date")
    return row
