"""Pools: workloads that several actors compute, as the setting `pools` asks for them.

An entry is ``workload=3``, so many actors, or ``workload=node``, one on each node. The first actor of a pool is called
as its workload, the others have their number behind it: ``risk_model_construction``, ``risk_model_construction.2``.
Any of them answers a read. Writes are shared out by the name of the model, so that a model has one writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contracts.operations import OPERATIONS, PLACEMENTS, Workload

MOST = 16
"""Actors of one workload that may be asked for by number."""
BY_NODE = "node"
EACH_NODE = 0
"""The size of a pool that has an actor on each node."""
MODEL = "model_id"
NAMED = 3
"""Operations that an error names."""


def pools(entries: Sequence[str]) -> dict[Workload, int]:
    """Read the entries of the setting.

    Returns
    -------
    dict
        How many actors a workload has; `EACH_NODE` for one on each node. A workload that is not named has one.

    Raises
    ------
    ValueError
        An entry is none, names a workload twice, or one that cannot have several actors; says why.
    """
    found: dict[Workload, int] = {}
    for entry in entries:
        name, given, text = (part.strip() for part in entry.partition("="))
        if not given:
            raise ValueError(f"{entry!r} is no pool: write workload=number, or workload={BY_NODE}")
        try:
            workload = Workload(name)
        except ValueError:
            able = ", ".join(one.value for one in PLACEMENTS if not why_not(one))
            raise ValueError(f"{entry!r}: there is no workload {name!r}; several actors may have: {able}") from None
        if workload in found:
            raise ValueError(f"{entry!r}: {name} is named twice")
        size = _size(entry, text)
        reason = why_not(workload)
        if reason and size != 1:
            raise ValueError(f"{entry!r}: {name} has one actor only: {reason}")
        if size == EACH_NODE and shared_out(workload):
            raise ValueError(f"{entry!r}: {name} writes models: they are shared out over a number of actors, not nodes")
        found[workload] = size
    return found


def _size(entry: str, text: str) -> int:
    if text == BY_NODE:
        return EACH_NODE
    if text.isascii() and text.isdigit() and 1 <= int(text) <= MOST:
        return int(text)
    raise ValueError(f"{entry!r}: a pool's size is a whole number from 1 to {MOST}, or {BY_NODE}")


def why_not(workload: Workload) -> str:
    """Say why a workload cannot have several actors; empty where it can."""
    held = PLACEMENTS[workload].held
    if held:
        return f"it holds {held}"
    writing = [row.name for row in OPERATIONS.values() if row.workload is workload and row.writes]
    if not writing or shared_out(workload):
        return ""
    more = f" and {len(writing) - NAMED} more" if len(writing) > NAMED else ""
    return f"it writes ({', '.join(writing[:NAMED])}{more}), and what is written has one writer"


def shared_out(workload: Workload) -> bool:
    """Say whether a workload's actors have each its own share of what it writes: all of it is writes of models."""
    rows = [row for row in OPERATIONS.values() if row.workload is workload]
    return all(row.writes and row.written == MODEL for row in rows)


def actor_name(workload: Workload, number: int) -> str:
    """Name an actor of a workload; the first is called as the workload."""
    return workload.value if number == 1 else f"{workload.value}.{number}"


def numbered(name: str) -> tuple[Workload, int] | None:
    """Give the workload and the number of an actor by its name; None for a name that is none of a workload's actor."""
    workload, dot, number = name.partition(".")
    try:
        found = Workload(workload)
    except ValueError:
        return None
    if not dot:
        return found, 1
    return (found, int(number)) if number.isascii() and number.isdigit() and int(number) > 1 else None


def name_in(row: Mapping[str, Any]) -> str:
    """Give an actor's name from its row of ``/health``; a router of before has no other than its workload."""
    return str(row.get("actor", row["workload"]))
