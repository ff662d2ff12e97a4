"""Posted features of a model: the table, its column names and its sector encodings, read as one panel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from actors.reading.grid import check_features
from contracts.errors import InvalidInput
from contracts.frames import decode
from contracts.requests import AppendDay, CorrectDays, CreateModel, Request
from factors.errors import FactorError
from factors.panel.corrections import ROW
from factors.panel.intake import Intake
from factors.panel.panel import Panel
from factors.panel.statements import as_rows_have_it

if TYPE_CHECKING:
    import polars as pl

DEFAULT_COLUMNS = {"symbol_col": "symbol", "date_col": "date", "mkt_cap_col": "market_cap"}
OF_THE_MODEL = "adjust"
"""The one setting of a table that holds for all days of a model at once."""


def intake_of(request: Request, intake: Intake) -> Intake:
    """Give how the request's tables are read: its `intake` over that of the settings, its names of columns over both.

    Raises
    ------
    InvalidInput
        A setting that does not exist or cannot be so, as ``intake.date_format``.
    """
    try:
        intake = intake.changed(getattr(request, "intake", None) or {})
    except FactorError as error:
        raise in_request("intake", error) from None
    given = {key: getattr(request, key, default) for key, default in DEFAULT_COLUMNS.items()}
    return intake.called(**{key: name for key, name in given.items() if name != DEFAULT_COLUMNS[key]})


def intake_of_days(request: AppendDay | CorrectDays, kept: Intake) -> Intake:
    """Give how days that a model gets are read: as its first ones, but for what the request says.

    Raises
    ------
    InvalidInput
        As `intake_of`; or the days would be adjusted in another way than those before them.
    """
    intake = intake_of(request, kept)
    if intake.adjust != kept.adjust:
        raise InvalidInput(
            f"intake.adjust is {kept.adjust!r} for all days of the model; a model created anew can have another",
            field=f"intake.{OF_THE_MODEL}",
        )
    return intake


def features_panel(request: CreateModel | AppendDay, intake: Intake, sectors: tuple[str, ...] = ()) -> Panel:
    """Read `feature_data` of a create or append request.

    Parameters
    ----------
    request
        `feature_data`, and for creation `sector_encodings`.
    intake
        How the table is read. Where it lacks a column of a name that is not the default, the default is looked for.
    sectors
        The sectors of the model that days are added to: one-hot columns named as they are are read as such.

    Raises
    ------
    InvalidInput
        Names the column and the rows.
    TableTooLarge
        Its dates times names take more memory than a model may.
    """
    frame = decode(request.feature_data)
    if isinstance(request, CreateModel):
        _refuse_strange(request, frame.columns)
    usual = {key: default for key, default in DEFAULT_COLUMNS.items() if getattr(intake, key) not in frame.columns}
    intake = intake.called(**{key: default for key, default in usual.items() if default in frame.columns})
    given = request.sector_encodings if isinstance(request, CreateModel) else None
    frame, encodings = _joined(frame, decode(given), intake) if isinstance(given, bytes) else (frame, given)
    if encodings is not None:
        missing = [name for name in encodings if name not in frame.columns]
        if missing:
            raise InvalidInput(
                f"feature_data has no sector column {missing[0]!r}", field="sector_encodings", rows=missing
            )
    elif "sector" not in frame.columns and intake.sector_encodings is None:
        encodings = [name for name in frame.columns if name in sectors] or None
    check_features(frame, intake, len(encodings or ()))
    try:
        return Panel.from_frame(frame, sector_encodings=encodings, intake=intake)
    except FactorError as error:
        raise in_table("feature_data", error, intake) from None


def _refuse_strange(request: CreateModel, columns: list[str]) -> None:
    """Refuse a name for one of the three columns that the table has not, or that names another of them too."""
    given = {key: getattr(request, key) for key in DEFAULT_COLUMNS}
    for key, name in given.items():
        if name != DEFAULT_COLUMNS[key] and name not in columns:
            raise InvalidInput(f"feature_data has no column {name!r}", field=key)
        if list(given.values()).count(name) > 1:
            same = " and ".join(other for other, called in given.items() if called == name)
            raise InvalidInput(f"{same} both name the column {name!r}", field=key)


def rows_panel(request: CorrectDays, intake: Intake) -> Panel:
    """Read the rows of a correction; the field `corrections.ROW` marks those that the table has.

    Raises
    ------
    InvalidInput
        Names the column and the rows; the table has no column besides date and symbol.
    """
    import polars as pl

    frame = decode(request.feature_data)
    if set(frame.columns) <= {intake.date_col, intake.symbol_col}:
        raise InvalidInput("feature_data has no column to correct", field="feature_data")
    check_features(frame, intake, 0)
    try:
        # What looks wrong is judged where the rows stand among the others.
        reading = replace(intake, policy="warn")
        if not {"sector", *(intake.sector_encodings or ())} & set(frame.columns):
            reading = replace(reading, sector_encodings=None)  # the rows' sectors stay as they are
        rows = Panel.from_frame(frame.with_columns(pl.lit(1.0).alias(ROW)), required=(), intake=reading)
        return as_rows_have_it(rows)
    except FactorError as error:
        raise in_table("feature_data", error, intake) from None


def in_table(part: str, error: FactorError, intake: Intake) -> InvalidInput:
    """Make an error in a table one of the request: it names the caller's own columns, not those inside the panel."""
    own = {name: column for column, name in intake.names.items()}.get(str(error.field), error.field)
    return in_request(part, error, own, str(error).replace(f"'{error.field}'", f"'{own}'"))


def in_request(part: str, error: FactorError, field: str | None = None, text: str | None = None) -> InvalidInput:
    """Make an error of the mathematics one of a part of the request: the part's name stands before the field's."""
    name = error.field if field is None else field
    rows = [[str(part) for part in row] for row in error.rows] or None
    return InvalidInput(f"{part}: {text or error}", field=f"{part}.{name}" if name else part, rows=rows)


def _joined(frame: pl.DataFrame, sectors: pl.DataFrame, intake: Intake) -> tuple[pl.DataFrame, list[str]]:
    """Join one-hot sectors, keyed by symbol and, where they have it, by date."""
    import polars as pl

    keys = [name for name in (intake.date_col, intake.symbol_col) if name in sectors.columns]
    if intake.symbol_col not in keys:
        raise InvalidInput(f"sector_encodings has no column {intake.symbol_col!r}", field="sector_encodings")
    if sectors.select(keys).is_duplicated().any():
        raise InvalidInput(f"sector_encodings has a {' and '.join(keys)} more than once", field="sector_encodings")
    encoded = [name for name in sectors.columns if name not in keys]
    clash = [name for name in encoded if name in frame.columns]
    if clash:
        raise InvalidInput(f"both tables have a column {clash[0]!r}", field="sector_encodings")
    try:
        return frame.join(sectors, on=keys, how="left"), encoded
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"sector_encodings does not match feature_data: {error}", field="sector_encodings") from None
