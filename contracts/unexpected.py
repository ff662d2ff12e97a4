"""What a caller is told of a defect of ours: an id, under which the log has the rest."""

from __future__ import annotations

import logging

from contracts.errors import InternalError
from contracts.work import new_id


def unexpected(error: BaseException, log: logging.Logger) -> InternalError:
    """Log an error that nobody foresaw, with its traceback, under an id; give the error that shows the id only."""
    error_id = new_id()
    log.error("error %s", error_id, exc_info=error)
    return InternalError(f"an internal error occurred; it is logged as {error_id}")
