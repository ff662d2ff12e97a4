"""The workload actors as they should be and as they are: creation in stages, watching, and moving between devices.

A thread of the router's pings every actor, compares it with what is wanted, and kills and recreates where they differ.
What to do with one actor is `router.member.decide`'s to say, which actors a pool has `router.pool.on_each_node`'s.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import ray

from contracts.backoff import backoff_s
from contracts.errors import first_line
from contracts.operations import PLACEMENTS, Placement, Workload, devices_of
from contracts.pools import EACH_NODE, pools, shared_out
from contracts.settings import Settings
from contracts.work import Device, State
from router import placement
from router.frozen import is_stopped, kill, stack_of, why_no_process, works
from router.member import Action, Member, decide, frozen_limit_s, names
from router.nodes import Node, Nodes
from router.pool import on_each_node

PERIOD_S = 1.0
BUSY_PERIOD_S = 0.1
"""Between rounds while an actor is on its way."""
PING_S = 0.2
"""How long one round waits for pings; an answer that comes later counts in a later round."""
NAME_FREE_S = 5.0
"""How long a killed actor may keep its name."""
SETTLED_S = 5.0
"""Nodes must have been the same for this long before a working actor is moved to a device that came."""
SILENT_S = 3.0
"""An actor that does nothing and answered no ping for so long is told of: with a round more, within five seconds."""
WAITS_S = 10.0
"""An actor whose process is not there after so long is told of, with what may hold it up."""
FOUND_S = 15.0
"""An actor that was found may take so long to say on which node it is, before another is made for a node."""
ASTRAY_S = 60.0
"""An actor that is not on its node after a move is moved there again after so long."""
STOP_S = 1.0
STAGE_LIMIT_S = 30.0
"""The second stage of the start does not wait longer than this for the first."""
FORGIVEN_S = (600.0, 3600.0, 6 * 3600.0, 24 * 3600.0)
"""After so long a device that failed an actor is tried again: its machine may have been busy. Each try costs a move."""
BACKOFF_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)

_log = logging.getLogger(__name__)


class Fleet:
    """All workload actors, reconciled by a thread.

    Parameters
    ----------
    current
        The settings.
    paths
        Workload name: class path. Only these workloads are kept.
    extra
        Environment variables for every actor, on top of the settings.
    changed
        Called, on the fleet's thread, after any member's handle or state changed.
    hold_rest
        Hold the second stage of the start back until `release`, or until `STAGE_LIMIT_S` passed.
    """

    def __init__(
        self,
        current: Settings,
        paths: Mapping[str, str],
        extra: Mapping[str, str],
        changed: Callable[[], None],
        *,
        hold_rest: bool = False,
    ) -> None:
        self._current = current
        self._paths = dict(paths)
        self._extra = dict(extra)
        self._changed = changed
        self._placements: dict[Workload, Placement] = {w: p for w, p in PLACEMENTS.items() if w.value in self._paths}
        self._pools = {w: size for w, size in pools(current.pools).items() if w in self._placements}
        self.members: dict[str, Member] = {}
        """By name; another thread may go through what this was at some time, so it is replaced and not changed."""
        self._put(self._new(w, n + 1) for w in self._placements for n in range(self._pools.get(w) or 1))
        self.nodes = Nodes()
        self._started = time.monotonic()
        self._wake = threading.Event()
        self._stopped = False
        self._node_id: str | None = None
        self._held = hold_rest
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def start(self) -> None:
        """Start reconciling."""
        self._thread.start()

    def nudge(self) -> None:
        """Look at once, because somebody met a dead actor."""
        self._wake.set()

    def release(self) -> None:
        """Let the second stage of the start begin."""
        self._held = False
        self._wake.set()

    def stop(self) -> None:
        """Stop reconciling and kill the actors."""
        self._stopped = True
        self._wake.set()
        self._thread.join(STOP_S)  # or it might create an actor behind us
        for member in self.members.values():
            if member.handle is not None:
                with self._alone(member):
                    ray.kill(member.handle, no_restart=True)
                member.state, member.reason = State.STOPPED, "stopped"

    def _run(self) -> None:
        self._look_for_copies()
        for member in self.members.values():
            with self._alone(member):
                self._adopt(member)
        self._changed()
        while not self._stopped:
            try:
                self._round()
            except Exception:  # noqa: BLE001  the loop must outlive whatever the cluster does
                _log.exception("a round of reconciling failed")
            calm = all(member.state is State.READY for member in self.members.values())
            self._wake.wait(PERIOD_S if calm else BUSY_PERIOD_S)
            self._wake.clear()

    def _new(self, workload: Workload, number: int, home: str | None = None) -> Member:
        several = self._pools.get(workload, 1) > 1
        return Member(workload, devices_of(workload), number, spread=several, home=home)

    def _put(self, members: Iterable[Member]) -> None:
        """Take in members; they are listed by workload and number."""
        order = list(self._placements)
        listed = sorted((*self.members.values(), *members), key=lambda one: (order.index(one.workload), one.number))
        self.members = {member.name: member for member in listed}

    def _look_for_copies(self) -> None:
        """Take in the actors on the nodes that an earlier life of the router created; which nodes, they will say."""
        if EACH_NODE not in self._pools.values():
            return
        try:
            found = placement.existing()
        except Exception:  # noqa: BLE001  they are made anew, and found by their names then
            _log.exception("the actors that are there could not be listed")
            return
        self._put(self._new(w, number) for w, number in found if number > 1 and self._pools.get(w) == EACH_NODE)

    def _adopt(self, member: Member) -> None:
        """Take over an actor that an earlier life of the router created."""
        handle = placement.find(member.name)
        if handle is not None:
            member.handle, member.generation = handle, 1
            member.asked_at = time.monotonic()
            member.reason = "found"

    def _round(self) -> None:
        before = self._shape()
        self._look_at_nodes()
        self._follow_nodes()
        self._collect_pings()
        for member in self.members.values():
            if self._stopped:
                return
            if self._due(member):
                with self._alone(member):
                    self._reconcile(member)
        if self._shape() != before:
            self._changed()

    @contextlib.contextmanager
    def _alone(self, member: Member) -> Iterator[None]:
        """Keep what fails with one actor to that actor: the others are pinged, created and moved all the same."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            _log.exception("looking after %s failed", member.name)
            if member.handle is None:
                member.reason = f"cannot be created: {first_line(error)}"
                self._back_off(member)

    def _reconcile(self, member: Member) -> None:
        offer = self._offer(member)
        settled = time.monotonic() - self.nodes.since > SETTLED_S
        action, reason = decide(
            member,
            offer,
            time.monotonic(),
            timeout_s=self._current.actor_ready_timeout_s,
            settled=settled,
            astray=self._astray(member),
            frozen_after_s=self._current.frozen_after_s,
        )
        if action is Action.CREATE:
            self._create(member, offer, reason)
        elif action is Action.MOVE:
            self._move(member, reason)

    def _astray(self, member: Member) -> bool:
        """Say whether an actor is not on its node, though that is there: to Ray it was not when it placed the actor."""
        sits = member.ping.get("node_id")
        return sits not in (None, member.home) and member.home in {node.node_id for node in self.nodes.living}

    def _shape(self) -> list[tuple[Any, ...]]:
        return [(m.name, id(m.handle), m.state, m.generation, m.reason) for m in self.members.values()]

    def _follow_nodes(self) -> None:
        """Give each workload that wants an actor on each node those that it should have."""
        patient = time.monotonic() - self._started < FOUND_S
        for workload in [workload for workload, size in self._pools.items() if size == EACH_NODE]:
            members = [member for member in self.members.values() if member.workload is workload]
            change = on_each_node(members, self.nodes.living, self._here(), patient=patient)
            for member, home in change.homes:
                member.home = home
            for member in change.ended:
                with self._alone(member):
                    self._end(member)
            if change.made:
                self._put(self._new(workload, number, home) for number, home in change.made)

    def _end(self, member: Member) -> None:
        """Let go of an actor whose node is gone, and kill what Ray may have started of it elsewhere."""
        self.members = {name: one for name, one in self.members.items() if one is not member}
        _log.info("%s ends: its node %s is gone", member.name, self.nodes.name(member.home))
        if member.handle is not None:
            ray.kill(member.handle, no_restart=True)

    def _look_at_nodes(self) -> None:
        now = time.monotonic()
        changed = self.nodes.look(placement.living_nodes(), now)
        for member in self.members.values():
            if changed:
                member.failed_on, member.refusals = frozenset(), 0
            elif member.failed_on and now >= member.forgiven_at:
                member.failed_on = frozenset()

    def _usable(self, member: Member) -> list[Node]:
        living = self.nodes.living
        own = [node for node in living if node.node_id == member.home]
        return [node for node in own or living if node.node_id not in member.failed_on]

    def _offer(self, member: Member) -> tuple[Device, ...]:
        return placement.choose(member.wanted, self._usable(member), self._current)

    def _due(self, member: Member) -> bool:
        """Say whether the actor's stage of the start has come: what HTTP needs goes first, one of those that read."""
        if self._is_first(member) or time.monotonic() - self._started > STAGE_LIMIT_S:
            return True
        first = [one for one in self.members.values() if self._is_first(one)]
        return not self._held and all(one.state is State.READY for one in first)

    def _is_first(self, member: Member) -> bool:
        needed = member.number == 1 or shared_out(member.workload)
        return needed and self._placements[member.workload].first

    def _collect_pings(self) -> None:
        """Ping every actor and take in what answers; at most one ping per actor is under way."""
        asked = [member for member in self.members.values() if member.handle is not None and not member.gone]
        for member in asked:
            if member.pending is None:
                with self._alone(member):
                    member.pending, member.pinged_at = member.handle.ping.remote().future(), time.monotonic()
        wait([member.pending for member in asked if member.pending is not None], timeout=PING_S)
        for member in asked:
            if member.pending is None or not member.pending.done():
                self._look_at_silent(member)
                continue
            done, member.pending = member.pending, None
            with self._alone(member):
                error = done.exception()
                if error is None:
                    self._seen(member, done.result())
                else:
                    self._missed(member, error)

    def _seen(self, member: Member, ping: dict[str, Any]) -> None:
        now = time.monotonic()
        if member.ping and ping["pid"] != member.ping["pid"]:
            member.restarts += 1
            member.generation += 1
            _log.warning("%s restarted as process %s", member.name, ping["pid"])
        if not member.ping or ping["pid"] != member.ping["pid"] or ping["state"] == State.READY.value:
            member.asked_at = now
        if not member.ping:
            member.devices = tuple(d for d in member.wanted if d.value in ping["resources"])
        member.ping, member.alive, member.stopped, member.waits, member.restarting = ping, True, False, 0, False
        state = State(ping["state"])
        if state is State.FAULTED and member.state is not State.FAULTED:
            self._back_off(member)
        if state is State.READY:
            member.failures = 0
        member.state, member.reason = state, ping["reason"] or self._placement_reason(member)

    def _placement_reason(self, member: Member) -> str:
        if not member.wanted:
            return "wants cpu"
        if member.devices:
            return f"on {names(member.devices)}"
        if member.failed_on:
            minutes = max(0.0, member.forgiven_at - time.monotonic()) / 60
            return (
                f"wanted {names(member.wanted)}, but did not come up there: on cpu; tried again in {minutes:.0f} min, "
                "or when a node comes"
            )
        return f"wanted {names(member.wanted)}, which the cluster does not offer: on cpu"

    def _missed(self, member: Member, error: BaseException) -> None:
        if member.state is not State.STARTING:
            member.asked_at = time.monotonic()
        member.alive = False
        member.restarting = True
        member.state = State.STARTING
        if not member.waits:
            node = self.nodes.gone(member.ping.get("node_id"))
            why = f"its node {node} is gone" if node is not None else type(error).__name__
            member.reason = f"restarting: {why}"
        self._look_at_waiting(member)
        if placement.find(member.name) is None:
            member.gone, member.reason = True, f"dead: {first_line(error)}"
            _log.error("%s is dead: %s", member.name, error)
            self._back_off(member)

    def _look_at_silent(self, member: Member) -> None:
        """Look at an actor that owes an answer to a ping: its process may be stopped, or too busy to answer."""
        if not member.ping or member.restarting:
            self._look_at_waiting(member)
            return
        stopped = self._is_here(member) and is_stopped(member.ping["pid"])
        if not stopped:
            if self._is_here(member) and works(member.ping["pid"]):
                member.worked_at = time.monotonic()
            # One that computes, or waits for a processor on a busy machine, is given longer than one that does nothing.
            worked = time.monotonic() - member.worked_at < SILENT_S
            # From the ping, not from the last answer: this process may not have had the time to ask.
            owes_s = time.monotonic() - member.pinged_at
            if owes_s < (self._current.actor_ready_timeout_s if worked else SILENT_S):
                return
        member.stopped, member.alive = stopped, False
        if member.state in (State.READY, State.DEGRADED):
            busy = "a long computation may hold the process"
            afar = f"its node {self.nodes.name(member.ping.get('node_id'))} may be out of reach, or {busy}"
            why = "its process is stopped" if stopped else busy if self._is_here(member) else afar
            limit = frozen_limit_s(member, self._current.frozen_after_s)
            member.state = State.DEGRADED
            member.reason = f"no answer to a ping: {why}; it is replaced when it is silent for {limit:g} s"

    def _look_at_waiting(self, member: Member) -> None:
        """Say of an actor whose process has not come, the first time or again, how long and what may hold it up."""
        periods = int((time.monotonic() - member.asked_at) // WAITS_S)
        if periods > member.waits:
            member.waits = periods
            node = self.nodes.gone(member.ping.get("node_id"))
            gone = f"its node {node} is gone; " if node is not None else ""
            waits = f"waits for more than {member.waits * WAITS_S:.0f} s to start"
            member.reason = f"{gone}{waits}: {why_no_process()}"

    def _is_here(self, member: Member) -> bool:
        """Say whether the actor's process is one of this machine's."""
        return bool(member.ping) and member.ping["node_id"] == self._here()

    def _here(self) -> str:
        """Give the router's own node."""
        if self._node_id is None:
            self._node_id = str(ray.get_runtime_context().get_node_id())
        return self._node_id

    def _end_frozen(self, member: Member) -> None:
        """Put the stack of a frozen process into the log, and kill it: it does not hear Ray."""
        if not self._is_here(member):
            return
        pid = member.ping["pid"]
        _log.error("%s, process %s, is frozen; its stack:\n%s", member.name, pid, stack_of(pid, _logs()))
        kill(pid)

    @staticmethod
    def _back_off(member: Member) -> None:
        delay = backoff_s(BACKOFF_S, member.failures)
        member.failures += 1
        member.retry_at = time.monotonic() + delay

    def _create(self, member: Member, devices: tuple[Device, ...], reason: str) -> None:
        """Create the actor, or take the one that appeared under its name meanwhile."""
        name, path = member.name, self._paths[member.workload.value]
        seat = placement.Seat(name, member.home, member.spread)
        try:
            handle = placement.create(member.workload, path, devices, self._current, self._extra, seat)
        except ValueError:
            # The name is taken: by an actor that is still being killed, or by one that a router before us made.
            handle = placement.find(name)
            if handle is None:
                return
        _log.info("created %s on %s (%s)", name, names(devices), reason)
        member.handle, member.devices = handle, devices
        member.generation += 1
        member.state, member.reason = State.STARTING, f"starting on {names(devices)}"
        member.asked_at = time.monotonic()
        member.ping, member.pending, member.alive, member.gone, member.waits = {}, None, False, False, 0
        member.restarting = False

    def _move(self, member: Member, reason: str) -> None:
        """Kill the actor and create it where the cluster offers most, without the nodes that just failed it."""
        _log.warning("moving %s from %s: %s", member.name, names(member.devices), reason)
        if member.devices and (not member.alive or member.state is not State.READY):
            failed = {node.node_id for node in self.nodes.living if set(member.devices) <= node.devices}
            member.failed_on = member.failed_on | failed
            if failed:
                member.forgiven_at = time.monotonic() + backoff_s(FORGIVEN_S, member.refusals)
                member.refusals += 1
        if member.ping and not member.alive and member.state is State.DEGRADED:
            self._end_frozen(member)
        if self._astray(member):
            member.home_at = time.monotonic() + ASTRAY_S
        killed = member.handle
        ray.kill(killed, no_restart=True)
        member.handle, member.restarts = None, member.restarts + 1
        member.state, member.reason = State.STARTING, f"moving: {reason}"
        deadline = time.monotonic() + NAME_FREE_S
        while placement.find(member.name) == killed and time.monotonic() < deadline:
            self._wake.wait(0.02)
        self._create(member, self._offer(member), reason)


def _logs() -> Path:
    """Give Ray's folder of logs on this node."""
    node = ray._private.worker._global_node  # noqa: SLF001  # Ray tells it nowhere else
    return Path(node.get_logs_dir_path()) if node is not None else Path()
