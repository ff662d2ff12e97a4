"""The errors of the mathematics: what was wrong, in which field, at which rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MAX_ROWS_NAMED = 10


class FactorError(ValueError):
    """Input or settings from which no answer follows.

    Parameters
    ----------
    message : str
        One sentence for a person.
    field : str, optional
        The column, parameter or setting that is wrong.
    rows : iterable of (date, symbol), optional
        The first rows concerned; at most ten are kept.
    n_rows : int, optional
        How many rows are concerned in all; by default the number of `rows`.
    """

    code = "invalid_input"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        rows: Iterable[tuple[Any, Any]] = (),
        n_rows: int | None = None,
    ) -> None:
        named = [(str(date), str(symbol)) for date, symbol in rows]
        self.field = field
        self.n_rows = len(named) if n_rows is None else n_rows
        self.rows = tuple(named[:MAX_ROWS_NAMED])
        if self.rows:
            listed = ", ".join(f"{date} {symbol}" for date, symbol in self.rows)
            more = f" and {self.n_rows - len(self.rows)} more" if self.n_rows > len(self.rows) else ""
            message = f"{message} (rows: {listed}{more})"
        super().__init__(message)

    @property
    def details(self) -> dict[str, Any]:
        """The field and the rows as JSON-able values."""
        return {"field": self.field, "rows": [list(row) for row in self.rows], "n_rows": self.n_rows}


class MissingColumnError(FactorError):
    """A column that the operation needs is not in the frame."""

    code = "missing_column"


class WrongTypeError(FactorError, TypeError):
    """A column or an argument has a type that cannot be read."""

    code = "wrong_type"


class DuplicateRowError(FactorError):
    """The same (date, symbol) occurs more than once."""

    code = "duplicate_row"


class NonFiniteError(FactorError):
    """An infinite value, or a return below -100 %."""

    code = "non_finite"


class NegativeCapError(FactorError):
    """A market capitalisation below zero."""

    code = "negative_market_cap"


class EmptyFrameError(FactorError):
    """A frame or panel without rows."""

    code = "empty_frame"


class UnknownSymbolError(FactorError):
    """A symbol that the panel or model does not hold."""

    code = "unknown_symbol"


class UnknownDateError(FactorError):
    """A date that the panel or model does not hold."""

    code = "unknown_date"


class SettingsError(FactorError):
    """A setting outside its range, or one that is not known."""

    code = "invalid_setting"


class StageError(FactorError):
    """A stage of the model that needs an earlier stage first."""

    code = "stage_order"


def first_line(error: BaseException) -> str:
    """Give the first line of what another library's error says, or its name when it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip() if text else type(error).__name__
