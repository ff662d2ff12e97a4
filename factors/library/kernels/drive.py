"""Runs the instructions of a plan: those along time by tiles of assets, those across names by dates."""

from __future__ import annotations

import threading

import numpy as np
from numba import types
from numpy.typing import NDArray

from factors.library.kernels import (
    crosssection,
    cycle,
    elementwise,
    found,
    groups,
    long,
    moments,
    recursive,
    regression,
    rolling,
    windows,
)
from factors.library.kernels.layout import I0, KEEP, L0, LOCAL, MODE, OP, R0, Op
from factors.library.kernels.types import F8, I8, LARGEST, U4, U8, entry, kernel, row_of

NAN = np.nan
run_window = found.chain(found.kernels(found.WINDOW))
run_carry = found.chain(found.kernels(found.CARRY))
OUTPUT, GROUP, RESIDUAL = int(Op.OUTPUT), int(Op.GROUP), int(Op.CS_RESIDUAL)
SUM, MOMENT, PAIR, SHAPE, TREND = (
    int(Op.SUM), int(Op.MOMENT), int(Op.PAIR), int(Op.RESIDUAL_SHAPE), int(Op.TREND),
)  # fmt: skip
EXTREME, TS_RANK, SORTED, WEIGHTED = int(Op.EXTREME), int(Op.TS_RANK), int(Op.SORTED), int(Op.WEIGHTED)
EW_ONE, EW_PAIR, MREG, PATHS, FOUND = (
    int(Op.EW_ONE), int(Op.EW_PAIR), int(Op.MREG), int(Op.CUM_RANGE), int(Op.FOUND),
)  # fmt: skip
LONG_SUM, LONG_PAIR, LONG_EXTREME, LONG_MREG = (
    int(Op.LONG_SUM), int(Op.LONG_PAIR), int(Op.LONG_EXTREME), int(Op.LONG_MREG),
)  # fmt: skip
EMA, KAMA, SAR, MAMA, HILBERT = int(Op.EMA), int(Op.KAMA), int(Op.SAR), int(Op.MAMA), int(Op.HILBERT)
CUMULATE, FFILL, AGE, FOUND_CARRY = int(Op.CUMULATE), int(Op.FFILL), int(Op.AGE), int(Op.FOUND_CARRY)


@kernel
def emit(A: F8, c: I8, out: NDArray[np.float64], n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Copy a factor's rows to the caller's array `[n_factors, n_rows, n_assets]`; row t0 goes to row 0."""
    for t in range(t0, t1):
        o = row_of(t, c[L0], c[R0], c[I0], n)
        x = A[o + j0 : o + j1]
        z = out[c[MODE], t - t0, j0:j1]
        for j in range(j1 - j0):
            z[j] = x[j] if abs(x[j]) <= LARGEST else NAN


@kernel
def window_step(A: F8, c: I8, F: F8, E: I8, B: I8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Run one instruction over a window."""
    op = c[OP]
    if op == SUM:
        rolling.rolling_sum(A, c, F, n, t0, t1, j0, j1, S)
    elif op == PAIR:
        moments.rolling_pair(A, c, F, n, t0, t1, j0, j1, S)
    elif op == TS_RANK:
        rolling.rolling_rank(A, c, F, n, t0, t1, j0, j1, S)
    elif op == WEIGHTED:
        rolling.rolling_weighted(A, c, F, n, t0, t1, j0, j1, S)
    elif op == EXTREME or op == LONG_EXTREME:
        rolling.rolling_extreme(A, c, F, n, t0, t1, j0, j1, S)
    elif op == LONG_SUM or op == LONG_PAIR or op == LONG_MREG:
        long.long_window(A, c, F, E, B, n, t0, t1, j0, j1, S)
    elif op == MOMENT:
        moments.rolling_moment(A, c, F, n, t0, t1, j0, j1, S)
    elif op == TREND:
        moments.rolling_trend(A, c, F, n, t0, t1, j0, j1, S)
    elif op == SHAPE:
        moments.rolling_residual_shape(A, c, F, n, t0, t1, j0, j1, S)
    elif op == SORTED:
        windows.rolling_sorted(A, c, F, n, t0, t1, j0, j1, S)
    elif op == EW_ONE:
        windows.ew_one(A, c, F, n, t0, t1, j0, j1, S)
    elif op == EW_PAIR:
        windows.ew_pair(A, c, F, n, t0, t1, j0, j1, S)
    elif op == MREG:
        regression.rolling_mreg(A, c, E, n, t0, t1, j0, j1, S)
    elif op == PATHS:
        windows.rolling_paths(A, c, F, n, t0, t1, j0, j1, S)
    elif op == FOUND:
        run_window(A, c, F, n, t0, t1, j0, j1, S)


@kernel
def recursive_step(A: F8, c: I8, F: F8, E: I8, periods: I8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Run one recursive instruction."""
    op = c[OP]
    if op == EMA:
        recursive.ema(A, c, F, n, t0, t1, j0, j1)
    elif op == AGE:
        recursive.age(A, c, E, n, t0, t1, j0, j1)
    elif op == KAMA:
        recursive.kama(A, c, F, n, t0, t1, j0, j1)
    elif op == SAR:
        recursive.sar(A, c, F, n, t0, t1, j0, j1)
    elif op == MAMA or op == HILBERT:
        cycle.cycles(A, c, F, n, t0, t1, j0, j1)
    elif op == CUMULATE:
        recursive.cumulate(A, c, periods, n, t0, t1, j0, j1)
    elif op == FFILL:
        recursive.ffill(A, c, n, t0, t1, j0, j1)
    elif op == FOUND_CARRY:
        run_carry(A, c, F, n, t0, t1, j0, j1)


@kernel
def along_time(
    code: I8, first: int, last: int, A: F8, F: F8, E: I8, periods: I8, B: I8, out: NDArray[np.float64], n: int,
    t0: int, t1: int, j0: int, j1: int, tile: int, S: F8, local: int,
) -> None:  # fmt: skip
    """Run instructions [first, last) over rows [t0, t1) and assets [j0, j1), all of them tile by tile.

    With `local` 0 or 1 only those are run that say so, with -1 all.
    """
    for a in range(j0, j1, tile):
        b = min(a + tile, j1)
        for i in range(first, last):
            c = code[i]
            op = c[OP]
            if local >= 0 and c[LOCAL] != local:
                continue
            if c[KEEP] > 0:
                recursive.keep_state(A, c, n, a, b)
            if op < OUTPUT:
                elementwise.elementwise(A, c, n, t0, t1, a, b)
            elif op == OUTPUT:
                emit(A, c, out, n, t0, t1, a, b)
            elif op < EMA:
                window_step(A, c, F, E, B, n, t0, t1, a, b, S)
            else:
                recursive_step(A, c, F, E, periods, n, t0, t1, a, b)


@kernel
def across_names(
    code: I8, first: int, last: int, A: F8, U: U8, F: F8, E: I8, n: int, t0: int, t1: int, K: U8, H: U4, G: F8
) -> None:
    """Run instructions [first, last) on each of the rows [t0, t1)."""
    for t in range(t0, t1):
        for i in range(first, last):
            c = code[i]
            if c[OP] == RESIDUAL:
                o = row_of(t, 0, c[7], c[6], n)
                crosssection.residual(A, c, E, n, t, A[o : o + n])
            elif c[OP] < GROUP:
                crosssection.across(A, U, c, F, E, n, t, K, H)
            else:
                groups.group_step(A, U, c, n, t, G, K, H)


@entry
def run_phases(
    code: I8, phases: I8, A: F8, F: F8, E: I8, periods: I8, B: I8, out: NDArray[np.float64], n: int, t0: int, t1: int,
    j0: int, j1: int, d0: int, d1: int, tile: int, S: F8, K: U8, H: U4, G: F8, parts: I8,
) -> None:  # fmt: skip
    """Run phases (first, last, across names or not) of rows [t0, t1).

    Along time assets [j0, j1) are this thread's, across names rows [d0, d1). Where there are `parts`, rows of first and
    last asset, what hangs on a name's own fields alone is run over them only.
    """
    U = A.view(np.uint64)
    rest = -1 if len(parts) == 0 else 0
    for p in range(len(phases)):
        first, last = phases[p, 0], phases[p, 1]
        if phases[p, 2] == 0:
            for q in range(len(parts)):
                a, b = parts[q, 0], parts[q, 1]
                along_time(code, first, last, A, F, E, periods, B, out, n, t0, t1, a, b, tile, S, 1)
            along_time(code, first, last, A, F, E, periods, B, out, n, t0, t1, j0, j1, tile, S, rest)
        else:
            across_names(code, first, last, A, U, F, E, n, d0, d1, K, H, G)


# The one variant there is. `out` may be a part of a larger array, so that it has strides of its own.
_I, _TABLE = types.int64, types.int64[:, ::1]
_SIGNATURE = (
    _TABLE, _TABLE, types.float64[::1], types.float64[::1], types.int64[::1], _TABLE, _TABLE, types.float64[:, :, :],
    *(_I,) * 8, types.float64[:, ::1], types.uint64[:, ::1], types.uint32[:, ::1], types.float64[:, ::1],
    _TABLE,
)  # fmt: skip
_only_one = threading.Lock()


def ready() -> None:
    """Load the compiled driver, or compile it; no other variant can be compiled then."""
    with _only_one:
        if not run_phases.signatures:
            run_phases.compile(_SIGNATURE)
            run_phases.disable_compile()
