"""What is told of limits that cannot all be met."""

from __future__ import annotations

from contracts.errors import Infeasible
from factors.portfolio.limits import InfeasibleError

FIELDS = {"risk": "max_risk"}
"""Limits that are called otherwise in a request."""


def infeasible(error: InfeasibleError) -> Infeasible:
    """Make the error that names the first limit that would have to give as its field, and all of them as rows."""
    limits = [FIELDS.get(name, name) for name in sorted(error.conflicts)]
    return Infeasible(str(error), field=limits[0] if limits else "position", rows=limits)
