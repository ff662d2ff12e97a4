"""What a posted table spreads to, counted before it is spread: all its dates times all its names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.grid import MODEL_LAYERS, POSTED_LAYERS, check_grid
from contracts.settings import settings
from factors.panel.intake import DEFAULT, Intake

if TYPE_CHECKING:
    import polars as pl

_KEYS = 2


def check_posted(frame: pl.DataFrame, field: str, intake: Intake = DEFAULT, n_fields: int | None = None) -> None:
    """Refuse a table for a calculation that spreads too far.

    `n_fields`, by default those of the table, are spread over its dates and names.

    Raises
    ------
    TableTooLarge
        With the numbers.
    """
    shape = _shape(frame, intake)
    if shape is not None:
        check_grid(
            *shape,
            len(frame.columns) - _KEYS if n_fields is None else n_fields,
            layers=POSTED_LAYERS,
            limit_mb=settings().posted_grid_limit_mb,
            setting="FACTOR_ENGINE_POSTED_GRID_LIMIT_MB",
            field=field,
        )


def check_features(frame: pl.DataFrame, intake: Intake, n_encodings: int = 0) -> None:
    """Refuse features for a model that spread too far; one-hot sectors become one array.

    Raises
    ------
    TableTooLarge
        With the numbers.
    """
    shape = _shape(frame, intake)
    if shape is not None:
        check_model(*shape, len(frame.columns) - _KEYS - n_encodings)


def check_model(n_dates: int, n_names: int, n_fields: int) -> None:
    """Refuse a model whose whole history would take more memory than a fit of it may.

    Raises
    ------
    TableTooLarge
        With the numbers.
    """
    check_grid(
        n_dates,
        n_names,
        n_fields,
        layers=MODEL_LAYERS,
        limit_mb=settings().model_grid_limit_mb,
        setting="FACTOR_ENGINE_MODEL_GRID_LIMIT_MB",
        field="feature_data",
    )


def _shape(frame: pl.DataFrame, intake: Intake) -> tuple[int, int] | None:
    """Count dates and names; None when that cannot be done, which the reader of the panel tells better."""
    import polars as pl

    from factors.errors import FactorError
    from factors.panel.dates import parse_dates

    if intake.date_col not in frame.columns or intake.symbol_col not in frame.columns:
        return None
    try:
        days = parse_dates(frame[intake.date_col].unique().alias("date"), intake.date_format)
        return days.n_unique(), frame[intake.symbol_col].n_unique()
    except (FactorError, pl.exceptions.PolarsError):
        return None
