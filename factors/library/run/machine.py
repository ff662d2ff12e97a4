"""A plan in memory: the arena, the carried state, and one block of rows after another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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
from factors.library.language.names import BENCHMARK, GROUPS
from factors.library.run.clock import DAY_US, Clock
from factors.library.run.members import Member, whole

# A tile of this many numbers of one node stays in the first-level cache beside its accumulators.
TILE_CELLS = 8_192
NEAR_COLUMNS = 32
"""A plan run over one name costs about as much as over so many side by side (measured: 24 us and 0.2 us a name)."""
NO_PARTS: I8 = np.zeros((0, 2), np.int64)


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
    clock : Clock
        What rows are.
    peeks : bool
        Whether there is room for peeks.
    """

    def __init__(
        self,
        plan: Plan,
        n_assets: int,
        block: int,
        threads: int = 1,
        *,
        clock: Clock | None = None,
        peeks: bool = False,
    ) -> None:
        if n_assets < 1 or block < 1 or threads < 1:
            raise ValueError(f"n_assets {n_assets}, block {block}, threads {threads}: each must be at least 1")
        drive.ready()
        self.plan, self.clock = plan, clock or Clock()
        self.layout = Layout(plan, n_assets, block, peeks=peeks)
        self.n, self.block, self.threads = n_assets, block, threads
        self.t = 0
        self.last_bar = -(10**18)
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
        # The bar whose row a peek has left in the rings and buffers, where it may be gone on from.
        self._peeked: int | None = None
        # Its row: the buffer of a field without history has been written over since.
        self._row: dict[str, F8] = {}
        self._periods: tuple[int, I8] | None = None

    def load(self, values: Mapping[str, Any], bars: NDArray[np.int64]) -> None:
        """Put the next rows of every field into its ring.

        Parameters
        ----------
        values : mapping of str to array [n_rows, n_assets]
            Groups as codes, below 0 for none.
        bars : int64 array [n_rows]
            Numbers of the rows' bars, increasing.

        Raises
        ------
        FieldsError
            For a missing field, a wrong shape, a code out of range, or bars that do not increase.
        """
        count, self._peeked = len(bars), None
        if count and (bars[0] <= self.last_bar or np.any(np.diff(bars) <= 0)):
            raise self._not_later()
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
            if name in GROUPS:
                _check_codes(name, rows)

    def _not_later(self) -> FieldsError:
        if self.clock.daily:
            return FieldsError("dates must increase from row to row and from call to call")
        bar = np.timedelta64(self.clock.bar_us, "us")
        return FieldsError(f"timestamps must increase from row to row and from call to call, one row a bar of {bar}")

    def run(self, out: F8, bars: NDArray[np.int64], sessions: NDArray[np.int64]) -> None:
        """Compute the rows that were loaded.

        Parameters
        ----------
        out : array [n_factors, n_rows, n_assets]
        bars, sessions : int64 array [n_rows]
            What `Clock.read` gave.
        """
        t0, t1 = self.t, self.t + len(bars)
        self._mark(bars)
        self._every_phase(self.layout.code, _periods_of(sessions), out, t0, t1)
        self.t = t1
        if len(bars):
            self.last_bar = int(bars[-1])

    def peek(
        self, values: Mapping[str, Any], bar: int, session: int, out: F8, changed: NDArray[np.intp] | None
    ) -> None:
        """Compute the next row and leave everything that `run` goes on from as it is.

        The row goes where the next one will, into rings whose oldest row is read no more.

        Parameters
        ----------
        values : mapping of str to array [n_assets]
        bar, session : int
        out : array [n_factors, n_assets]
            With columns that changed, the one that the peek before was given.
        changed : int array or None
            Columns, each once and ascending: the others are as in the peek before. Taken at its word where that was of
            the same bar and nothing was run since; else everything is computed.

        Raises
        ------
        FieldsError
            As `load`.
        """
        before, self._peeked = self._peeked, None
        if bar <= self.last_bar:
            raise self._not_later()
        columns = changed if before == bar else None
        for name, ring in self.fields.items():
            row = values[name]
            kept = self._row.setdefault(name, np.empty(self.n))
            self._put(name, (kept, ring[self.t % len(ring)]), row, None if name in BENCHMARK else columns)
        if self._periods is None or self._periods[0] != session:
            self._periods = session, _periods_of(np.array([session]))
        began = self._mark(np.array([bar]))
        periods, rows = self._periods[1], out[:, None, :]
        if columns is None:
            self._every_phase(self.layout.peek_code, periods, rows, self.t, self.t + 1)
        else:
            self._walk(
                self.scratch[0], self.layout.peek_code, self.layout.phases, periods, rows, (self.t, self.t + 1),
                (0, self.n), (self.t, self.t + 1), parts_of(columns),
            )  # fmt: skip
        if began and self.t > 0:
            # The block is not over for an update in another bar.
            size = self.blocks.shape[1]
            first = self.blocks[long.FIRST, (self.t - 1) % size]
            self.blocks[long.END, np.arange(first, self.t) % size] = 0
        self._peeked = bar

    def settle(self, values: Mapping[str, Any], bar: int, session: int) -> bool:
        """Take the row of the last peek, computed as it is, where it is this one to the bit; its results stand.

        What the peek carried on is what is carried from here; of long windows, whose older rows a peek does not look
        at, the row is taken as `run` takes it.

        Returns
        -------
        bool
            False where it is another row, or nothing was peeked at since the last one: nothing has changed then.
        """
        if self._peeked != bar or self._periods is None or self._periods[0] != session:
            return False
        if not all(_same(row, values[name]) for name, row in self._row.items()):
            return False
        self._peeked = None
        self._mark(np.array([bar]))
        self.layout.exchange()
        code, rows = self.layout.long_code, (self.t, self.t + 1)
        phase = np.array([[0, len(code), 0]], np.int64)
        nothing = np.empty((1, 1, self.n))
        self._walk(self.scratch[0], code, phase, self._periods[1], nothing, rows, (0, self.n), rows, NO_PARTS)
        self.t, self.last_bar = self.t + 1, bar
        return True

    @staticmethod
    def _put(name: str, places: tuple[F8, ...], row: Any, columns: NDArray[np.intp] | None) -> None:
        """Put a field's row, or some columns of it, where it is computed from."""
        new = np.asarray(row) if columns is None else np.asarray(row)[columns]
        if name in GROUPS:
            _check_codes(name, new)
        finite = np.isfinite(new)
        if not finite.all():
            new = np.where(finite, new, np.nan)
        for to in places:
            to[slice(None) if columns is None else columns] = new

    def _mark(self, bars: NDArray[np.int64]) -> bool:
        """Which block of bars each new row is in (kernels/long.py); whether the last begins one."""
        began = False
        blocks, size, before = self.blocks, self.blocks.shape[1], self.last_bar
        for t, bar in enumerate(bars.tolist(), self.t):
            began = t == 0 or bar // long.BLOCK_BARS != before // long.BLOCK_BARS
            if not began:
                blocks[:, t % size] = blocks[:, (t - 1) % size]
            else:
                number = 0
                if t > 0:
                    first, _, number = blocks[:, (t - 1) % size]
                    blocks[long.END, np.arange(first, t) % size] = t
                blocks[:, t % size] = t, 0, number + 1
            before = bar
        return began

    def _every_phase(self, code: I8, periods: I8, out: F8, t0: int, t1: int) -> None:
        """Run all phases, each on every thread."""
        phases = self.layout.phases
        if self.threads == 1:
            self._share(0, code, phases, periods, out, t0, t1)
            return
        for p in range(len(phases)):
            self._together(code, phases[p : p + 1], periods, out, t0, t1)

    def _together(self, code: I8, phase: I8, periods: I8, out: F8, t0: int, t1: int) -> None:
        """One phase on every thread: assets shared out along time, dates across names."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="factor-library")
        jobs = [self._pool.submit(self._share, k, code, phase, periods, out, t0, t1) for k in range(1, self.threads)]
        self._share(0, code, phase, periods, out, t0, t1)
        for job in jobs:
            job.result()

    def _share(self, k: int, code: I8, phases: I8, periods: I8, out: F8, t0: int, t1: int) -> None:
        """The k-th thread's part of the phases."""
        n = self.n
        # whole vectors to each thread
        width = -(-n // (8 * self.threads)) * 8
        d0, d1 = (t0 + (t1 - t0) * i // self.threads for i in (k, k + 1))
        names = min(k * width, n), min((k + 1) * width, n)
        self._walk(self.scratch[k], code, phases, periods, out, (t0, t1), names, (d0, d1), NO_PARTS)

    def _walk(
        self, own: Scratch, code: I8, phases: I8, periods: I8, out: F8, rows: tuple[int, int],
        names: tuple[int, int], dates: tuple[int, int], parts: I8,
    ) -> None:  # fmt: skip
        lay = self.layout
        drive.run_phases(
            code,
            phases,
            self.arena,
            lay.floats,
            lay.extra,
            periods,
            self.blocks,
            out,
            self.n,
            *rows,
            *names,
            *dates,
            self.tile,
            own.sums,
            own.keys,
            own.counts,
            own.groups,
            parts,
        )

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything the next row depends on, independent of the block length."""
        return {name: whole(member) for name, member in self.members().items()}

    def members(self) -> dict[str, Member]:
        """Give what `state` has in pieces of some megabytes, each a copy made when it is asked for."""
        length = sum(self.plan.history[i] for i in self.layout.rings) * self.n
        carried = sum(state.size for state in self.plan.states.values()) * self.n
        small = {
            "blocks": self.blocks[:, np.arange(self.t - self.reach, self.t) % self.blocks.shape[1]],
            "position": np.array([self.t, self.last_bar, self.n], np.int64),
        }
        if not self.clock.daily:
            small["bar"] = np.array(self.clock.bar_us)
        return {
            "rings": Member((length,), np.dtype(np.float64), self._rings()),
            "carried": Member((carried,), np.dtype(np.float64), self._carried()),
            **{name: Member(array.shape, array.dtype, iter((array,))) for name, array in small.items()},
        }

    def _rings(self) -> Iterator[F8]:
        for i, (off, rows) in self.layout.rings.items():
            ring = self.arena[off : off + rows * self.n].reshape(rows, self.n)
            yield ring[(self.t - np.arange(self.plan.history[i], 0, -1)) % rows]

    def _carried(self) -> Iterator[F8]:
        for i, state in self.plan.states.items():
            off = self.layout.states[i]
            yield self.arena[off : off + state.size * self.n].copy()

    def restore(self, saved: Mapping[str, NDArray[Any]], shared: Collection[str] = ()) -> None:
        """Take up a state of the same plan; names may have been added at the end since.

        An added name begins without data, but with the past of what is the same for every name: the market's return,
        an aggregate, and the `shared` fields.

        Raises
        ------
        FieldsError
            If the state is of another plan, of other bars or of more names.
        """
        bar_us = int(saved.get("bar", DAY_US))
        if bar_us != self.clock.bar_us:
            raise FieldsError(f"the state is of bars of {bar_us} microseconds; expected {self.clock.bar_us}")
        t, last_bar, n = (int(v) for v in saved["position"])
        rings, carried = saved["rings"], saved["carried"]
        need = sum(self.plan.history[i] for i in self.layout.rings) * n
        held = sum(s.size for s in self.plan.states.values()) * n
        if n > self.n or len(rings) != need or len(carried) != held:
            raise FieldsError(f"the state is of {n} names and {len(rings)} numbers; expected {self.n} and {need}")
        self.t, self.last_bar, self._peeked = t, last_bar, None
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

    def uncounted(self) -> dict[tuple[str, ...], NDArray[np.intp]]:
        """List the columns whose rows are not counted yet, since not all of some fields have been there on one row."""
        found = {}
        for names, age in self._ages():
            columns = np.flatnonzero(age == 0.0)
            if columns.size:
                found[names] = columns
        return found

    def count(self, fields: tuple[str, ...], columns: NDArray[np.intp], rows: NDArray[np.int64]) -> None:
        """Count rows of columns from so many rows before the last one, when all of the fields were there first."""
        for names, age in self._ages():
            if names == fields:
                age[columns] = rows + 1.0
        self._peeked = None

    def _ages(self) -> Iterator[tuple[tuple[str, ...], F8]]:
        """Give the fields that each count of rows begins with, and the count itself, [n_assets]."""
        nodes = self.plan.graph.nodes
        for i in self.plan.states:
            below = [nodes[ref.node] for ref in nodes[i].inputs]
            if nodes[i].op == Op.AGE and all(one.op == Op.FIELD for one in below):
                off = self.layout.states[i]
                yield tuple(sorted(one.name for one in below)), self.arena[off : off + self.n]

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


def parts_of(columns: NDArray[np.intp]) -> I8:
    """Give ranges of columns that hold some, [n_parts, 2]; names between two that are near are computed with them."""
    if len(columns) < 2:
        first = int(columns[0]) if len(columns) else 0
        return np.array([[first, first + len(columns)]], dtype=np.int64)
    ends = np.flatnonzero(np.diff(columns) > NEAR_COLUMNS)
    first_of, last_of = columns[np.append(0, ends + 1)], columns[np.append(ends, len(columns) - 1)]
    return np.ascontiguousarray(np.stack([first_of, last_of + 1], axis=1), dtype=np.int64)


def _periods_of(sessions: NDArray[np.int64]) -> I8:
    """Number the periods after which running sums begin anew: never, by month, by year, by session."""
    months = sessions.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return np.stack([np.zeros_like(months), months, months // 12, sessions])


def _same(held: F8, row: Any) -> bool:
    """Whether a field's row is the one that was peeked at, to the bit."""
    new = np.asarray(row)
    clean = np.where(np.isfinite(new), new, np.nan).astype(np.float64)
    return np.array_equal(clean.view(np.int64), held.view(np.int64))


def _check_codes(name: str, codes: NDArray[Any]) -> None:
    top = np.fmax.reduce(codes, axis=None) if codes.size else 0
    if top >= limits.MAX_GROUPS:
        raise FieldsError(f"group {name!r} has code {top:g}; expected less than {limits.MAX_GROUPS}")
