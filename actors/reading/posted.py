"""Frames that callers post, decoded and checked; errors name the request field and the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from actors.reading.features import in_table
from actors.reading.grid import check_posted
from contracts.frames import decode
from factors.errors import FactorError
from factors.panel.intake import DEFAULT, Intake
from factors.panel.panel import Panel

if TYPE_CHECKING:
    import polars as pl


def panel_of(payload: bytes, field: str, required: Sequence[str], intake: Intake = DEFAULT) -> Panel:
    """Read one posted frame as a panel, as the intake says.

    Raises
    ------
    InvalidInput
        What `Panel.from_frame` refuses, with the request field in front of the column.
    TableTooLarge
        Its dates times names take more memory than a posted table may.
    """
    frame = decode(payload)
    try:
        check_posted(frame, field, intake)
        return Panel.from_frame(frame, required=required, intake=intake)
    except FactorError as error:
        raise in_table(field, error, intake) from None


def warnings_of(panel: Panel, intake: Intake) -> list[str]:
    """Give a line for each thing that looks wrong in a posted frame, as the intake's policy says."""
    return [] if intake.policy == "off" else panel.quality(intake).lines


def long_frame(payload: bytes, field: str, intake: Intake, required: Sequence[str] = ()) -> pl.DataFrame:
    """Read one posted frame as a long one of numbers, under the names that toraniko's functions expect.

    Raises
    ------
    InvalidInput
        What `factors.panel.frames.long_numbers` refuses, with the request field in front of the column.
    """
    from factors.panel.frames import long_numbers

    try:
        return long_numbers(decode(payload), intake, tuple(required)).rename({"returns": "asset_returns"}, strict=False)
    except FactorError as error:
        raise in_table(field, error, intake) from None
