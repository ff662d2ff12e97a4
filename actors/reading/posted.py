"""Frames that callers post, decoded and checked; errors name the request field and the rows."""

from __future__ import annotations

from collections.abc import Sequence

from actors.reading.features import in_request
from actors.reading.grid import check_posted
from contracts.frames import decode
from factors.errors import FactorError
from factors.panel.panel import Panel


def panel_of(payload: bytes, field: str, required: Sequence[str]) -> Panel:
    """Read one posted frame as a panel.

    Raises
    ------
    InvalidInput
        What `Panel.from_frame` refuses, with the request field in front of the column.
    TableTooLarge
        Its dates times names take more memory than a posted table may.
    """
    frame = decode(payload)
    try:
        check_posted(frame, field)
        return Panel.from_frame(frame, required=required)
    except FactorError as error:
        raise in_request(field, error) from None
