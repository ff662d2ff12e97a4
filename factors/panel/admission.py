"""What a model lets in: a panel whose values can be computed with, or an error that names column, dates and symbols."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from factors.errors import MAX_ROWS_NAMED, FactorError, NegativeCapError, NonFiniteError, WrongTypeError
from factors.numeric.kernels import any_infinite
from factors.panel.meaning import RELEASE
from factors.panel.panel import Array, Categories, Panel

LEAST: dict[str, tuple[float, type[FactorError], str]] = {
    "returns": (-1.0, NonFiniteError, "a return is below -100 %"),
    "market_cap": (0.0, NegativeCapError, "a market capitalisation is negative"),
}


def admitted(panel: Panel, known: tuple[str, ...] = ()) -> Panel:
    """Give the panel as the kernels want it: float64 fields and int16 codes, assets contiguous, no infinities.

    The rules are those of `Panel.from_frame`: an infinite return or cap, a return below -100 % and a negative cap are
    errors; an infinity in any other field is missing. A panel that is already so is given back as it is. `known` is an
    asset axis that has been admitted before.

    Raises
    ------
    NonFiniteError, NegativeCapError
        By column, with the first dates and symbols.
    WrongTypeError
        A field that is not of numbers.
    FactorError
        A symbol that occurs twice, or a sector code outside its names.
    """
    if panel.symbols != known and len(set(panel.symbols)) < panel.n_assets:
        twice = Counter(panel.symbols).most_common(1)[0][0]
        raise FactorError(f"the symbol {twice!r} occurs more than once on the asset axis", field="symbols")
    fields = {name: _numbers(name, values) for name, values in panel.fields.items()}
    categories = {name: _codes(name, category, panel) for name, category in panel.categories.items()}
    for name, values in fields.items():
        # Read-only arrays would have the kernel compiled once more for them.
        infinite = any_infinite(values) if values.flags.writeable else bool(np.isinf(values).any())
        if name in LEAST:
            if infinite:
                _refuse(panel, name, NonFiniteError, f"'{name}' holds an infinite value", np.isinf(values))
            least, error, message = LEAST[name]
            _refuse(panel, name, error, message, values < least)
        elif infinite:
            fields[name] = np.where(np.isinf(values), np.nan, values)
    same = all(fields[name] is values for name, values in panel.fields.items())
    same = same and all(categories[name] is category for name, category in panel.categories.items())
    return panel if same else replace(panel, fields=fields, categories=categories)


def blank_fields(panel: Panel) -> tuple[str, ...]:
    """Give a sentence for each field that holds no value at all."""
    blank = [name for name, values in panel.fields.items() if name != RELEASE and np.isnan(values).all()]
    return tuple(f"'{name}' holds no value from {panel.dates[0]} to {panel.dates[-1]}" for name in blank)


def _refuse(panel: Panel, name: str, error: type[FactorError], message: str, bad: NDArray[np.bool_]) -> None:
    if bad.any():
        at = np.argwhere(bad)
        rows = [(panel.dates[row], panel.symbols[column]) for row, column in at[:MAX_ROWS_NAMED]]
        raise error(message, field=name, rows=rows, n_rows=len(at))


def _numbers(name: str, values: Array) -> Array:
    if values.dtype == np.float64 and values.flags.c_contiguous:
        return values
    if values.dtype.kind not in "fiub":
        raise WrongTypeError(f"'{name}' is {values.dtype}, not a number", field=name)
    return np.ascontiguousarray(values, dtype=np.float64)


def _codes(name: str, category: Categories, panel: Panel) -> Categories:
    codes = category.codes
    bad = (codes < -1) | (codes >= len(category.names))
    _refuse(panel, name, FactorError, f"a code of '{name}' is none of its {len(category.names)} names", bad)
    if codes.dtype == np.int16 and codes.flags.c_contiguous:
        return category
    return Categories(np.ascontiguousarray(codes, dtype=np.int16), category.names)
