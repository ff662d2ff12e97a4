"""Graph to plan: which nodes run in which order, which keep history, which share buffers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from factors.library.compile.graph import Graph, Node, Ref
from factors.library.kernels import cycle, long
from factors.library.kernels.found import CARRY, kernels
from factors.library.kernels.layout import (
    BY_ASSET,
    FC,
    FROM,
    I0,
    KEEP,
    LOCAL,
    MINP,
    MODE,
    NX,
    OP,
    OUT,
    OUTR,
    P0,
    P1,
    SPARE,
    ST,
    WIDTH,
    Op,
    W,
    X,
    across_names,
)
from factors.library.kernels.types import F8, I8
from factors.library.language.names import BENCHMARK


class Slot(NamedTuple):
    """Where a node's rows lie: a ring of its own with history, one row of a constant, a buffer shared or its own."""

    kind: str
    number: int


class State(NamedTuple):
    """Carried numbers of a node: `size` rows of assets, or `size` numbers per asset; `fill` without history."""

    by_asset: bool
    size: int
    fill: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: a node, or the output of factor `factor`."""

    node: int
    factor: int = -1


def state_of(op: Op, ints: tuple[int, ...], panels: int) -> State | None:
    """What the operation carries from row to row beyond the history of its inputs."""
    rows = {Op.EMA: 2, Op.KAMA: 2, Op.SAR: 7, Op.CUMULATE: 3, Op.AGE: 1}
    if op == Op.FOUND_CARRY:
        return State(False, kernels(CARRY)[ints[0]].state)
    if op in rows:
        return State(False, rows[op])
    if op in (Op.MAMA, Op.HILBERT):
        return State(True, cycle.STATE)
    if op == Op.SORTED:
        return State(True, ints[1] + 1)
    if op in LONG:
        strict = ints[2] == ints[1]
        return State(False, long.state_rows(panels, ints[1], strict=strict), math.nan if strict else 0.0)
    return None


LONG = (Op.LONG_SUM, Op.LONG_PAIR, Op.LONG_MREG)


def _spare_rows(node: Node, state: State) -> int:
    """Numbers of an asset that a peek changes of what a node carries."""
    if node.op not in LONG:
        return state.size
    return long.SPARE_PARTS * long.n_sums(len(node.inputs), strict=node.ints[2] == node.ints[1])


class Plan:
    """The schedule of a graph, independent of the number of assets and of rows per block.

    Parameters
    ----------
    graph : Graph
    outputs : list of Ref
        One per factor, in the order of the result.
    """

    def __init__(self, graph: Graph, outputs: list[Ref]) -> None:
        self.graph = graph
        self.outputs = outputs
        self.used = self._reachable()
        self.history = self._history()
        self.steps, self.phases = self._schedule()
        self.slots, self.shared = self._assign()
        self.local = self._of_own_fields()
        self.states: dict[int, State] = {}
        for i in self.used:
            node = graph.nodes[i]
            state = state_of(node.op, node.ints, len(node.inputs))
            if state is not None:
                self.states[i] = state

    def _reachable(self) -> list[int]:
        seen: set[int] = set()
        stack = [r.node for r in self.outputs]
        while stack:
            i = stack.pop()
            if i not in seen:
                seen.add(i)
                stack.extend(r.node for r in self.graph.nodes[i].inputs)
        return sorted(seen)

    def _of_own_fields(self) -> frozenset[int]:
        """Nodes whose value for a name hangs on the name's own fields alone: a tick of another changes nothing."""
        local: set[int] = set()
        for i in self.used:
            node = self.graph.nodes[i]
            alone = node.name not in BENCHMARK and not across_names(node.op)
            if alone and all(ref.node in local for ref in node.inputs):
                local.add(i)
        return frozenset(local)

    def kept_apart(self) -> frozenset[int]:
        """Nodes in a shared buffer that hang on a name's own fields alone, and that others read which do not.

        Where only some names' are computed anew, the others' are to be there still.
        """
        read = {ref.node for i in self.used if i not in self.local for ref in self.graph.nodes[i].inputs}
        return frozenset(i for i in read & self.local if self.slots[i].kind == "shared")

    def _history(self) -> dict[int, int]:
        """Rows before the current one that some reader needs of each node."""
        history = dict.fromkeys(self.used, 0)
        for i in self.used:
            node = self.graph.nodes[i]
            for ref, reads in zip(node.inputs, node.lookback, strict=True):
                history[ref.node] = max(history[ref.node], ref.lag + reads)
        for ref in self.outputs:
            history[ref.node] = max(history[ref.node], ref.lag)
        return history

    def _schedule(self) -> tuple[list[Step], list[tuple[int, int, int]]]:
        """Steps by phases: along time and across names in turn, as few as the graph allows."""
        level: dict[int, int] = {}
        for i in self.used:
            node = self.graph.nodes[i]
            across = int(across_names(node.op))
            at = across
            for ref in node.inputs:
                before = self.graph.nodes[ref.node]
                if before.op in (Op.FIELD, Op.CONSTANT):
                    continue
                below = level[ref.node]
                same = below % 2 == across
                # a lagged read inside one phase across names would cross the dates that threads share out
                at = max(at, below + (0 if same else 1) + (2 if same and across and ref.lag else 0))
            level[i] = at
        ranked: list[tuple[int, int, Step]] = []
        emitted: dict[int, list[int]] = {}
        for factor, ref in enumerate(self.outputs):
            emitted.setdefault(ref.node, []).append(factor)
        for position, i in enumerate(self.used):
            op = self.graph.nodes[i].op
            if op not in (Op.FIELD, Op.CONSTANT):
                ranked.append((level[i], position, Step(i)))
            out_level = level[i] + level[i] % 2
            ranked.extend((out_level, position, Step(i, factor)) for factor in emitted.get(i, ()))
        ranked.sort(key=lambda item: (item[0], item[1]))
        phases: list[tuple[int, int, int]] = []
        for k, (at, _, _) in enumerate(ranked):
            if not phases or ranked[k - 1][0] != at:
                phases.append((k, k + 1, at % 2))
            else:
                phases[-1] = (phases[-1][0], k + 1, at % 2)
        return [step for _, _, step in ranked], phases

    def _assign(self) -> tuple[dict[int, Slot], int]:
        """A slot for every node; buffers without history are shared as soon as their last reader has run."""
        last: dict[int, int] = {}
        for k, step in enumerate(self.steps):
            if step.factor >= 0:
                last[step.node] = k
            else:
                for ref in self.graph.nodes[step.node].inputs:
                    last[ref.node] = k
        slots: dict[int, Slot] = {}
        for i in self.used:
            if self.graph.nodes[i].op == Op.CONSTANT:
                slots[i] = Slot("constant", i)
            elif self.graph.nodes[i].op == Op.FIELD or self.history[i] > 0:
                slots[i] = Slot("ring", i)
        free: list[int] = []
        count = 0
        for k, step in enumerate(self.steps):
            if step.factor < 0 and step.node not in slots:
                index = free.pop() if free else count
                count += index == count
                slots[step.node] = Slot("shared", index)
            read = {step.node} if step.factor >= 0 else {r.node for r in self.graph.nodes[step.node].inputs}
            free.extend(slots[i].number for i in read if last.get(i) == k and slots[i].kind == "shared")
        return slots, count


class Layout:
    """A plan laid out in an arena for so many assets and rows per block.

    Attributes
    ----------
    size : int
        Numbers in the arena.
    code, phases, extra : int64 arrays
    peek_code : int64 array
        The same instructions, leaving what is carried as it is; empty where there is no room for it.
    long_code : int64 array
        Those of long windows alone: of these a peek leaves more undone than what is carried.
    floats : float64 array
    rings, states : dict of node to (offset, rows or count)

    Parameters
    ----------
    plan : Plan
    n_assets, block : int
    peeks : bool
        Whether there is room for peeks; blocks are then of one row.
    """

    def __init__(self, plan: Plan, n_assets: int, block: int, *, peeks: bool = False) -> None:
        self.plan, self.n, self.block = plan, n_assets, block
        nodes = plan.graph.nodes
        self.rings: dict[int, tuple[int, int]] = {}
        self.states: dict[int, int] = {}
        size = 0
        for i, state in plan.states.items():
            self.states[i] = size
            size += state.size * n_assets
        spare: dict[int, int] = {}
        for i, state in plan.states.items() if peeks else ():
            spare[i] = size
            size += _spare_rows(nodes[i], state) * n_assets
        apart = plan.kept_apart() if peeks else frozenset[int]()
        slots = {i: Slot("own", i) if i in apart else plan.slots[i] for i in plan.used}
        place: dict[tuple[str, int], tuple[int, int]] = {}
        for i, slot in slots.items():
            if slot in place:
                continue
            rows = {"constant": 1, "shared": block, "own": block, "ring": plan.history[i] + block}[slot.kind]
            place[slot] = (size, rows)
            size += rows * n_assets
        self.place = {i: place[slot] for i, slot in slots.items()}
        self.rings = {i: self.place[i] for i in plan.used if plan.slots[i].kind == "ring"}
        self.size = size
        floats: list[float] = [0.0]
        extra: list[int] = []
        self.code: I8 = np.zeros((len(plan.steps), WIDTH), np.int64)
        for row, step in zip(self.code, plan.steps, strict=True):
            if step.factor >= 0:
                row[OP], row[MODE] = Op.OUTPUT, step.factor
                refs = [plan.outputs[step.factor]]
            else:
                node = nodes[step.node]
                row[OP] = node.op
                self._numbers(row, node.op, node.ints)
                row[OUT], row[OUTR] = self.place[step.node]
                row[ST] = self.states.get(step.node, 0)
                if node.floats:
                    row[FC] = len(floats)
                    floats.extend(node.floats)
                refs = list(node.inputs)
            row[LOCAL] = step.node in plan.local
            self._operands(row, refs, extra)
        self._spare = spare
        self.peek_code = self._peeking(spare) if peeks else self.code[:0]
        self.long_code: I8 = np.ascontiguousarray(self.code[np.isin(self.code[:, OP], LONG)])
        self.phases: I8 = np.array(plan.phases, np.int64).reshape(-1, 3)
        self.floats: F8 = np.array(floats)
        self.extra: I8 = np.array(extra or [0], np.int64)

    def _peeking(self, spare: dict[int, int]) -> I8:
        """The instructions with other places for what is carried."""
        code = self.code.copy()
        for row, step in zip(code, self.plan.steps, strict=True):
            state = self.plan.states.get(step.node) if step.factor < 0 else None
            if state is None:
                continue
            if row[OP] in LONG:
                row[SPARE] = spare[step.node]
            else:
                row[FROM], row[ST] = row[ST], spare[step.node]
                row[KEEP], row[BY_ASSET] = state.size, state.by_asset
        return code

    def exchange(self) -> None:
        """Let what the last peek carried on be what is carried; the next one writes where that lay.

        Long windows have no copy of their own to exchange; see `long_code`.
        """
        for i in [i for i in self._spare if self.plan.graph.nodes[i].op not in LONG]:
            self.states[i], self._spare[i] = self._spare[i], self.states[i]
        rows = np.flatnonzero(self.peek_code[:, KEEP])
        self.peek_code[rows[:, None], [FROM, ST]] = self.peek_code[rows[:, None], [ST, FROM]]
        self.code[rows, ST] = self.peek_code[rows, FROM]

    @staticmethod
    def _numbers(row: I8, op: Op, ints: tuple[int, ...]) -> None:
        for column, value in zip((MODE, W, MINP, P0, P1), ints, strict=False):
            row[column] = value
        if op == Op.SORTED and not row[W]:
            raise AssertionError("a sorted window has no length")

    def _operands(self, row: I8, refs: list[Ref], extra: list[int]) -> None:
        near = 2 if row[OP] in (Op.MREG, Op.LONG_MREG, Op.CS_RESIDUAL) else 4
        for k, ref in enumerate(refs[:near]):
            row[I0 + 3 * k : I0 + 3 * k + 3] = (*self.place[ref.node], ref.lag)
        row[X], row[NX] = len(extra), max(len(refs) - near, 0)
        for ref in refs[near:]:
            extra.extend((*self.place[ref.node], ref.lag))
