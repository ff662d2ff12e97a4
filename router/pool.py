"""The actors of one workload where it has several: which there should be, and how the route table tells of them.

Which actors there should be is a pure function of the nodes and of what was seen, so that it can be tested without Ray.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from contracts.work import State
from router.member import Member
from router.nodes import Node
from router.table import ActorRoute, Copy


class Change(NamedTuple):
    """What makes of a pool what it should be: actors to make (number and node), to end, and to have another node."""

    made: list[tuple[int, str]]
    ended: list[Member]
    homes: list[tuple[Member, str]]


def on_each_node(members: Sequence[Member], nodes: Sequence[Node], here: str, *, patient: bool) -> Change:
    """Say what to change so that each living node that takes actors has one of the pool's.

    There always is the first, on the router's own node where that takes actors. The others come and go with nodes.

    Parameters
    ----------
    members
        The pool's actors, by number.
    nodes
        The living nodes; where none takes actors, nothing changes.
    here
        The router's node, which gets its actor first.
    patient
        Make none while an actor that was found, and may be on any node, has not said where it is.
    """
    holding = sorted((node.node_id for node in nodes if node.holds), key=lambda node_id: node_id != here)
    change = Change([], [], [])
    if not holding:
        return change
    free = [node_id for node_id in holding if node_id not in {member.home for member in members}]
    waits = False
    for member in members:
        if member.home in holding:
            continue
        sits = member.ping.get("node_id")
        if sits not in free and member.number == 1 and free and member.handle is None:
            sits = free[0]
        if sits in free:
            change.homes.append((member, str(sits)))
            free.remove(str(sits))
        elif member.home is None and member.handle is not None and not member.ping and patient:
            waits = True
        elif member.number > 1:
            change.ended.append(member)
    if waits:
        return change
    taken = {member.number for member in members} - {member.number for member in change.ended}
    numbers = (number for number in range(1, len(free) + len(taken) + 1) if number not in taken)
    change.made.extend(zip(numbers, free, strict=False))
    return change


def route_of(members: Iterable[Member]) -> ActorRoute:
    """Give a workload's route: of several actors that of the first that is READY, beside all of them."""
    listed = sorted(members, key=lambda member: member.number)
    lead = next((one for one in listed if one.state is State.READY and one.handle is not None), listed[0])
    several = listed if len(listed) > 1 else ()
    return ActorRoute(
        lead.workload.value,
        lead.handle,
        lead.state.value,
        lead.generation,
        lead.reason,
        tuple(
            Copy(one.name, one.handle, one.state.value, one.generation, one.reason, one.ping.get("node_id"))
            for one in several
        ),
    )
