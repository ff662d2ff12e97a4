"""The one table that drives everything: each operation's models, actor, lane, routes, subjects and example.

HTTP routes, bus subscriptions, OpenAPI, the subject document, the client's methods and ``/health`` are made from it. A
new operation is one row here, one request model and one method of an actor; docs/adding.md says how.
"""

from __future__ import annotations

from contracts.operations import calculations, jobs, learning, library, live, models, portfolios
from contracts.operations.row import V1, Operation, Route
from contracts.operations.workloads import PLACEMENTS, Placement, Workload
from contracts.work import PREFERRED, Device

OPERATIONS: dict[str, Operation] = {
    row.name: row
    for row in (
        *models.ROWS,
        *calculations.ROWS,
        *portfolios.ROWS,
        *library.ROWS,
        *learning.ROWS,
        *live.ROWS,
        *jobs.ROWS,
    )
}


def by_subject() -> dict[str, Operation]:
    """Map each request subject to its operation."""
    return {subject: row for row in OPERATIONS.values() for subject in row.subjects}


def devices_of(workload: Workload) -> tuple[Device, ...]:
    """Give the devices whose node a workload's actor wants: those that may compute something of it.

    That is so where one of its operations has a kernel, and a tolerance that one rounding of the device's numbers does
    not already exceed. Which of them then computes is measured (`devices.dispatch`).
    """
    if PLACEMENTS[workload].stays:
        return ()
    rows = [row for row in OPERATIONS.values() if row.workload is workload]
    return tuple(device for device in PREFERRED if any(device in row.able for row in rows))


__all__ = [
    "OPERATIONS",
    "PLACEMENTS",
    "V1",
    "Operation",
    "Placement",
    "Route",
    "Workload",
    "by_subject",
    "devices_of",
]
