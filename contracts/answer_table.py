"""Answers as tables: values that are one from the beginning, and how the values of other answers are laid out as one.

The row of an operation names the shape of its values and what the names in them are (`Operation.table`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contracts.frames import decode, encode

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class ArrowValues:
    """A table that an actor made, as it travels.

    Parameters
    ----------
    stream : bytes
        An Arrow IPC stream; a missing number is null.
    n_rows, n_columns : int
    """

    stream: bytes
    n_rows: int
    n_columns: int

    @classmethod
    def of(cls, frame: pl.DataFrame) -> ArrowValues:
        """Write a table; NaN, which is a missing number here, becomes null."""
        from polars import selectors

        frame = frame.with_columns(selectors.float().fill_nan(None))
        return cls(encode(frame), frame.height, frame.width)

    @property
    def n_values(self) -> int:
        """Cells."""
        return self.n_rows * self.n_columns

    def columns(self) -> dict[str, list[Any]]:
        """Give the columns as lists, dates as text."""
        import polars as pl

        frame = decode(self.stream)
        return frame.with_columns(pl.col(pl.Date).cast(pl.String)).to_dict(as_series=False)


Columns = dict[str, list[Any]]
Shape = Callable[[Mapping[str, Any], str], Columns]
VALUE = "value"


def columns_of(calculation: Mapping[str, Any], values: Any, shape: str, key: str) -> Columns:
    """Lay the values of an answer out as columns of one length.

    Parameters
    ----------
    calculation
        The `calculation_result`.
    values
        Its values, plain.
    shape
        Which of `SHAPES` they have.
    key
        What the column of the names is called.
    """
    return SHAPES[shape](calculation if shape in _OF_THE_WHOLE else values, key)


def _by_name(values: Mapping[str, Any], key: str) -> Columns:
    """``{name: number}``."""
    return {key: list(values), VALUE: list(values.values())}


def _rows(values: Mapping[str, Any], key: str) -> Columns:
    """``{name: {column: number}}``."""
    columns = dict.fromkeys(column for row in values.values() for column in row)
    return {key: list(values)} | {name: [row.get(name) for row in values.values()] for name in columns}


def _by_column(values: Mapping[str, Any], key: str) -> Columns:
    """``{column: {name: number}}``."""
    names = list(dict.fromkeys(name for column in values.values() for name in column))
    return {key: names} | {column: [held.get(name) for name in names] for column, held in values.items()}


def _square(values: Mapping[str, Any], key: str) -> Columns:
    """A matrix under its own name beside the list `factors`; its rows are lists or by name."""
    names = values["factors"]
    matrix = next(rows for name, rows in values.items() if name in ("covariance", "correlation"))
    cells = [[row[name] for name in names] if isinstance(row, Mapping) else row for row in matrix]
    out = {key: list(names)} | {name: [row[i] for row in cells] for i, name in enumerate(names)}
    if "volatility_annual" in values:
        out["volatility_annual"] = [values["volatility_annual"][name] for name in names]
    return out


def _risk_model(values: Mapping[str, Any], key: str) -> Columns:
    """Covariances of factors, then exposures of names: `part` says which."""
    factors, symbols = values["factors"], values["symbols"]
    rows = [*values["factor_covariance"], *values["exposures"]]
    risks = [values["factor_volatility_annual"].get(name) for name in factors]
    risks += [values["specific_volatility_annual"].get(name) for name in symbols]
    out: Columns = {"part": ["factor_covariance"] * len(factors) + ["exposures"] * len(symbols)}
    out |= {key: [*factors, *symbols], "volatility_annual": risks}
    return out | {name: [row[i] for row in rows] for i, name in enumerate(factors)}


def _history(calculation: Mapping[str, Any], key: str) -> Columns:
    """Beside the values of the last date a table of all: ``{columns, data}``, whose first column is `key`."""
    names, rows = calculation["history"]["columns"], calculation["history"]["data"]
    return {key if i == 0 else name: [row[i] for row in rows] for i, name in enumerate(names)}


def _series(values: Mapping[str, Any], key: str) -> Columns:
    """Lists by date, also by name below one, beside figures of the whole, which stay with the answer."""
    dates = values["dates"]
    below = {
        f"{name}.{key}": column
        for name, held in values.items()
        if isinstance(held, Mapping)
        for key, column in held.items()
    }
    lists = {
        name: column
        for name, column in {**values, **below}.items()
        if isinstance(column, list) and len(column) == len(dates)
    }
    return {key: dates} | {name: column for name, column in lists.items() if name != "dates"}


def _forms(calculation: Mapping[str, Any], key: str) -> Columns:
    """``{factor: {form: [number]}}`` beside the list `symbols`."""
    symbols, values = calculation["symbols"], calculation["factor_values"]
    forms = list(dict.fromkeys(form for held in values.values() for form in held))
    out: Columns = {"factor": [name for name in values for _ in symbols], key: list(symbols) * len(values)}
    return out | {form: [v for held in values.values() for v in held[form]] for form in forms}


SHAPES: dict[str, Shape] = {
    "by_name": _by_name,
    "rows": _rows,
    "by_column": _by_column,
    "square": _square,
    "risk_model": _risk_model,
    "history": _history,
    "series": _series,
    "forms": _forms,
}
_OF_THE_WHOLE = ("history", "forms")


def stream_of(columns: Columns) -> bytes:
    """Write columns as an Arrow IPC stream: numbers as float64, null where there is none, and texts."""
    import polars as pl

    series = []
    for name, values in columns.items():
        texts = any(isinstance(value, str) for value in values)
        series.append(pl.Series(name, values, dtype=pl.String if texts else pl.Float64, strict=False))
    return encode(pl.DataFrame(series))
