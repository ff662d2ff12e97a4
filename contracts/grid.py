"""What a table spreads to: dates times names, however few rows it has."""

from __future__ import annotations

from contracts.errors import TableTooLarge

MODEL_LAYERS = 20
"""Arrays of dates times names that fitting a model makes beside the table's own fields: measured, 160 bytes a cell."""
POSTED_LAYERS = 8
"""The same of one style, or of a regression, on a posted table."""
_BYTES = 8


def grid_mb(n_dates: int, n_names: int, n_layers: int) -> float:
    """Give the memory of `n_layers` float64 arrays of dates times names, MB."""
    return n_dates * n_names * n_layers * _BYTES / 1e6


def check_grid(
    n_dates: int, n_names: int, n_fields: int, *, layers: int, limit_mb: int, setting: str, field: str
) -> None:
    """Refuse a table whose grid takes more memory than it may.

    Parameters
    ----------
    n_dates, n_names, n_fields
        Of the table.
    layers
        Arrays that the computation makes beside the fields.
    limit_mb, setting
        The limit and the setting that it comes from.
    field
        The request's field, named in the error.

    Raises
    ------
    TableTooLarge
        With the numbers.
    """
    needed = grid_mb(n_dates, n_names, n_fields + layers)
    if needed > limit_mb:
        raise TableTooLarge(
            f"{field} spans {n_dates:,} dates x {n_names:,} names x {n_fields:,} fields; computing on that grid takes "
            f"about {needed:,.0f} MB, over the limit of {limit_mb:,} MB ({setting})",
            field=field,
        )
