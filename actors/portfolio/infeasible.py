"""What is told of limits that cannot all be met."""

from __future__ import annotations

from contracts.errors import Infeasible
from factors.errors import FactorError
from factors.portfolio.limits import InfeasibleError

FIELDS = {"risk": "max_risk", "neutral": "neutral_factors", "limits": "position"}
"""What is called otherwise in a request; weights that nothing limits are limited by `position` first of all."""


def field_of(error: FactorError) -> str | None:
    """Give the request's field that an error is about."""
    return None if error.field is None else FIELDS.get(error.field, error.field)


def infeasible(error: InfeasibleError) -> Infeasible:
    """Make the error that names the first limit that would have to give as its field, and all of them as rows."""
    limits = [FIELDS.get(name, name) for name in sorted(error.conflicts)]
    return Infeasible(str(error), field=limits[0] if limits else "position", rows=limits)
