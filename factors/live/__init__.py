"""The running day: what a row that is not final yet gives, while what is carried stays as at the last close."""

from factors.live.closed import ClosedRow
from factors.live.day import DayValues, LiveDay, PortfolioValues
from factors.live.plan import FORMS, LiveFactors, in_form
from factors.live.row import LiveRow, Rejections

__all__ = [
    "FORMS",
    "ClosedRow",
    "DayValues",
    "LiveDay",
    "LiveFactors",
    "LiveRow",
    "PortfolioValues",
    "Rejections",
    "in_form",
]
