"""A plan in memory: the arena, the carried state, and one block of rows after another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.library.compile.plan import Layout, Plan
from factors.library.compile.unseen import unseen
from factors.library.kernels import drive, long, regression
from factors.library.kernels.layout import Op
from factors.library.kernels.types import F8, I8
from factors.library.language import limits
from factors.library.language.errors import FieldsError

# A tile of this many numbers of one node stays in the first-level cache beside its accumulators.
TILE_CELLS = 8_192


class Scratch:
    """Working memory of one thread."""

    def __init__(self, n_assets: int, tile: int) -> None:
        # rows a whole number of pages apart would share cache sets
        self.sums: F8 = np.zeros((regression.SCRATCH_ROWS, tile + 40))
        self.keys: NDArray[np.uint64] = np.zeros((2, max(n_assets, 2)), np.uint64)
        self.counts: NDArray[np.uint32] = np.zeros((3, 2048), np.uint32)
        self.groups: F8 = np.zeros((8, limits.MAX_GROUPS))


class Machine:
    """Runs a plan block by block.

    Parameters
    ----------
    plan : Plan
    n_assets : int
    block : int
        Rows per call of `run` at most.
    threads : int
    """

    def __init__(self, plan: Plan, n_assets: int, block: int, threads: int = 1) -> None:
        if n_assets < 1 or block < 1 or threads < 1:
            raise ValueError(f"n_assets {n_assets}, block {block}, threads {threads}: each must be at least 1")
        drive.ready()
        self.plan = plan
        self.layout = Layout(plan, n_assets, block)
        self.n, self.block, self.threads = n_assets, block, threads
        self.t = 0
        self.last_day = -(10**9)
        self.arena: F8 = np.full(self.layout.size, np.nan)
        self.fields: dict[str, F8] = {}
        nodes = plan.graph.nodes
        for i in plan.used:
            off, rows = self.layout.place[i]
            if nodes[i].op == Op.CONSTANT:
                self.arena[off : off + n_assets] = nodes[i].floats[0]
            elif nodes[i].op == Op.FIELD:
                self.fields[nodes[i].name] = self.arena[off : off + rows * n_assets].reshape(rows, n_assets)
        for i, state in plan.states.items():
            off = self.layout.states[i]
            self.arena[off : off + state.size * n_assets] = state.fill
        self.reach = max(plan.history.values(), default=0) + 1
        self.blocks: I8 = np.zeros((3, self.reach + block + 1), np.int64)
        self.tile = min(max(TILE_CELLS // block, 256), 1024)
        self.scratch = [Scratch(n_assets, self.tile) for _ in range(threads)]
        self._pool: ThreadPoolExecutor | None = None

    def load(self, values: Mapping[str, Any], days: NDArray[np.int64]) -> None:
        """Put the next rows of every field into its ring.

        Parameters
        ----------
        values : mapping of str to array [n_rows, n_assets]
            Groups as codes, below 0 for none.
        days : int64 array [n_rows]
            Days since 1970, increasing.

        Raises
        ------
        FieldsError
            For a missing field, a wrong shape, a code out of range, or days that do not increase.
        """
        count = len(days)
        if count and (days[0] <= self.last_day or np.any(np.diff(days) <= 0)):
            raise FieldsError("dates must increase from row to row and from call to call")
        for name, ring in self.fields.items():
            if name not in values:
                raise FieldsError(f"field {name!r} is missing")
            rows = np.asarray(values[name])
            if rows.shape != (count, self.n):
                raise FieldsError(f"field {name!r} has shape {rows.shape}; expected {(count, self.n)}")
            start = self.t % len(ring)
            head = min(count, len(ring) - start)
            for part, source in ((ring[start : start + head], rows[:head]), (ring[: count - head], rows[head:])):
                part[:] = source
                part[~np.isfinite(part)] = np.nan
            top = np.fmax.reduce(rows, axis=None) if name in GROUP_NAMES and rows.size else 0
            if top >= limits.MAX_GROUPS:
                raise FieldsError(f"group {name!r} has code {top:g}; expected less than {limits.MAX_GROUPS}")

    def run(self, out: F8, days: NDArray[np.int64]) -> None:
        """Compute the rows that were loaded.

        Parameters
        ----------
        out : array [n_factors, n_rows, n_assets]
        days : int64 array [n_rows]
        """
        t0, t1 = self.t, self.t + len(days)
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        periods: I8 = np.stack([np.zeros_like(months), months, months // 12])
        self._mark(days)
        phases = self.layout.phases
        if self.threads == 1:
            self._share(0, phases, periods, out, t0, t1)
        else:
            for p in range(len(phases)):
                self._together(phases[p : p + 1], periods, out, t0, t1)
        self.t = t1
        if len(days):
            self.last_day = int(days[-1])

    def _mark(self, days: NDArray[np.int64]) -> None:
        """Which block of calendar days each new row is in (kernels/long.py)."""
        blocks, size, before = self.blocks, self.blocks.shape[1], self.last_day
        for t, day in enumerate(days.tolist(), self.t):
            if t > 0 and day // long.BLOCK_DAYS == before // long.BLOCK_DAYS:
                blocks[:, t % size] = blocks[:, (t - 1) % size]
            else:
                number = 0
                if t > 0:
                    first, _, number = blocks[:, (t - 1) % size]
                    blocks[long.END, np.arange(first, t) % size] = t
                blocks[:, t % size] = t, 0, number + 1
            before = day

    def _together(self, phase: I8, periods: I8, out: F8, t0: int, t1: int) -> None:
        """One phase on every thread: assets shared out along time, dates across names."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="factor-library")
        jobs = [self._pool.submit(self._share, k, phase, periods, out, t0, t1) for k in range(1, self.threads)]
        self._share(0, phase, periods, out, t0, t1)
        for job in jobs:
            job.result()

    def _share(self, k: int, phases: I8, periods: I8, out: F8, t0: int, t1: int) -> None:
        """The k-th thread's part of the phases."""
        lay, own, n = self.layout, self.scratch[k], self.n
        # whole vectors to each thread
        width = -(-n // (8 * self.threads)) * 8
        d0, d1 = (t0 + (t1 - t0) * i // self.threads for i in (k, k + 1))
        drive.run_phases(
            lay.code, phases, self.arena, lay.floats, lay.extra, periods, self.blocks, out, n, t0, t1,
            min(k * width, n), min((k + 1) * width, n), d0, d1, self.tile, own.sums, own.keys, own.counts, own.groups,
        )  # fmt: skip

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything the next row depends on, independent of the block length."""
        rings, states = [], []
        for i, (off, rows) in self.layout.rings.items():
            keep = self.plan.history[i]
            ring = self.arena[off : off + rows * self.n].reshape(rows, self.n)
            rings.append(ring[(self.t - np.arange(keep, 0, -1)) % rows].ravel())
        for i, state in self.plan.states.items():
            off = self.layout.states[i]
            states.append(self.arena[off : off + state.size * self.n])
        empty: list[F8] = [np.zeros(0)]
        return {
            "rings": np.concatenate(rings or empty),
            "carried": np.concatenate(states or empty),
            "blocks": self.blocks[:, np.arange(self.t - self.reach, self.t) % self.blocks.shape[1]],
            "position": np.array([self.t, self.last_day, self.n], np.int64),
        }

    def restore(self, saved: Mapping[str, NDArray[Any]], shared: Collection[str] = ()) -> None:
        """Take up a state of the same plan; names may have been added at the end since.

        An added name begins without data, but with the past of what is the same for every name: the market's return,
        an aggregate, and the `shared` fields.

        Raises
        ------
        FieldsError
            If the state is of another plan or of more names.
        """
        t, last_day, n = (int(v) for v in saved["position"])
        rings, carried = saved["rings"], saved["carried"]
        need = sum(self.plan.history[i] for i in self.layout.rings) * n
        held = sum(s.size for s in self.plan.states.values()) * n
        if n > self.n or len(rings) != need or len(carried) != held:
            raise FieldsError(f"the state is of {n} names and {len(rings)} numbers; expected {self.n} and {need}")
        self.t, self.last_day = t, last_day
        self.blocks[:, np.arange(t - self.reach, t) % self.blocks.shape[1]] = saved["blocks"]
        at = 0
        for i, (off, rows) in self.layout.rings.items():
            keep = self.plan.history[i]
            ring = self.arena[off : off + rows * self.n].reshape(rows, self.n)
            ring[:] = np.nan
            ring[(t - np.arange(keep, 0, -1)) % rows, :n] = rings[at : at + keep * n].reshape(keep, n)
            at += keep * n
        at = 0
        for i, state in self.plan.states.items():
            off = self.layout.states[i]
            block = self.arena[off : off + state.size * self.n]
            block[:] = state.fill
            shape = (n, state.size) if state.by_asset else (state.size, n)
            source = carried[at : at + state.size * n].reshape(shape)
            if state.by_asset:
                block.reshape(self.n, state.size)[:n] = source
            else:
                block.reshape(state.size, self.n)[:, :n] = source
            at += state.size * n
        if n < self.n:
            self._begin(n, shared)

    def _begin(self, n: int, shared: Collection[str]) -> None:
        """Give the names from the n-th on the past that a name without data has."""
        past = unseen(self.plan.graph, self.plan.used, shared)
        for i, (off, rows) in self.layout.rings.items():
            ring = self.arena[off : off + rows * self.n].reshape(rows, self.n)
            keep = min(self.plan.history[i], self.t)
            at = (self.t - np.arange(keep, 0, -1)) % rows
            value = past[i].value
            if past[i].as_others:
                ring[at, n:] = ring[at, :1]
            elif value is not None:
                ring[at, n:] = value
        for i, state in self.plan.states.items():
            if past[i].as_others:
                off = self.layout.states[i]
                block = self.arena[off : off + state.size * self.n]
                wide = block.reshape(self.n, state.size).T if state.by_asset else block.reshape(state.size, self.n)
                wide[:, n:] = wide[:, :1]


GROUP_NAMES = frozenset(("sector", "industry", "subindustry", "exchange", "country"))
