"""Kernels that are found by their files: one file and one row of the operators' table make an operator."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
from running_engine import lifecycle

import factors
from factors.library.compile.registry import builders
from factors.library.kernels import found
from factors.library.kernels.found import ACROSS, CARRY, WINDOW, Found
from factors.library.kernels.layout import MODE, WIDTH, Op
from factors.library.kernels.types import kernel
from factors.library.language.operators import OPERATORS

FACTORS = Path(factors.__file__).parent
KERNEL = '''"""The middle between the oldest and the newest row of a window."""

from factors.library.kernels.found import window
from factors.library.kernels.layout import I0, L0, OUT, OUTR, R0, W
from factors.library.kernels.types import row_of, slot


@window
def ts_middle(A, c, F, n, t0, t1, j0, j1, S):
    """Middle of the window's ends."""
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n)
        new = (t - c[L0]) % c[R0]
        old = slot(new, c[W] - 1, c[R0])
        for j in range(j0, j1):
            A[o + j] = 0.5 * (A[c[I0] + new * n + j] + A[c[I0] + old * n + j])
'''
CARRIED = '''"""The largest distance from the first value."""

from factors.library.kernels.found import carry
from factors.library.kernels.layout import FC, I0, L0, OUT, OUTR, R0, ST, W
from factors.library.kernels.types import row_of


@carry(state=3)
def farthest(A, c, F, n, t0, t1, j0, j1):
    """Largest distance from the first value, at least F[FC]; from the W-th value on. State: count, first, largest."""
    s = c[ST]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n)
        i = row_of(t, c[L0], c[R0], c[I0], n)
        for j in range(j0, j1):
            v = A[i + j]
            A[o + j] = v
            if v == v:
                A[s + n + j] = v if A[s + j] == 0.0 else A[s + n + j]
                A[s + j] += 1.0
                A[s + 2 * n + j] = max(A[s + 2 * n + j], abs(v - A[s + n + j]), F[c[FC]])
                A[o + j] = A[s + 2 * n + j] if A[s + j] >= c[W] else v - v + float("nan")
'''
CROSSED = '''"""The place between the least and the largest of a date."""

from factors.library.kernels.found import across
from factors.library.kernels.types import F8, I8


@across
def between(x, c, y, z, F):
    """(x - least) / (largest - least), of names that have y."""
    least, largest = 1e300, -1e300
    for j in range(len(x)):
        if x[j] == x[j] and y[j] == y[j]:
            least, largest = min(least, x[j]), max(largest, x[j])
    for j in range(len(x)):
        z[j] = (x[j] - least) / (largest - least) + 0.0 * y[j]
'''
ASKED = """
import datetime, json
import polars as pl
from factors.library import compile_library, evaluate
dates = [datetime.date(2024, 1, d) for d in range(2, 6)]
close = {"A": [3.0, 7.0, 1.0, 2.0], "B": [5.0, 5.0, 5.0, 5.0], "C": [4.0, 3.0, 2.0, None]}
rows = [(d, name, values[i]) for i, d in enumerate(dates) for name, values in close.items()]
frame = pl.DataFrame(rows, schema=["date", "symbol", "close"], orient="row")
formulas = {
    "middle": "ts_middle(close, 2)", "far": "farthest(close, 2, 1.5)", "place": "between(close, delay(close, 1))",
}
made = evaluate(formulas, frame)
print(json.dumps({name: made.filter(pl.col("symbol") == "A")[name].to_list() for name in formulas}))
"""


def test_every_kernel_of_a_file_has_a_row_and_needs_nothing_else():
    for kind in (WINDOW, CARRY, ACROSS):
        for one in found.kernels(kind):
            assert one.operator in OPERATORS
            assert one.operator in builders()
            assert f"def {one.operator}(" in (FACTORS / f"library/kernels/{kind}_{one.operator}.py").read_text()
    assert {"avedev", "product", "sumac_range", "ts_drawdown"} <= {one.operator for one in found.kernels(WINDOW)}
    assert {"barslast", "last_if", "wilder_sum"} <= {one.operator for one in found.kernels(CARRY)}
    assert "scale" in {one.operator for one in found.kernels(ACROSS)}


def test_an_instruction_runs_the_kernel_that_it_names():
    @kernel
    def first(A, c, at):
        A[0] += at

    @kernel
    def second(A, c, at):
        A[1] += at

    chain = found.chain((Found("first", first), Found("second", second)))

    @numba.njit
    def run(arena, code, at):
        chain(arena, code, at)

    arena, code = np.zeros(3), np.zeros(WIDTH, np.int64)
    for number in (0, 1, 1):
        code[MODE] = number
        run(arena, code, 1.0)
    assert arena.tolist() == [1.0, 2.0, 0.0]


def test_what_a_row_allows_to_be_missing_is_what_the_kernel_hears_of():
    """`product` takes `min_periods`, `ts_drawdown` does not: its window is whole whatever the convention says."""

    class Heard:
        def window(self, op, operands, d, settings, *, mode, more, floats):
            return op, operands, d, settings, found.kernels(WINDOW)[mode].operator, more, floats

    heard = Heard()
    assert builders()["product"](heard, ["x", 5], {"min_periods": 2}) == (
        Op.FOUND, ("x",), 5, {"min_periods": 2}, "product", (), ()
    )  # fmt: skip
    assert builders()["ts_drawdown"](heard, ["x", 5], {})[3] == {"min_periods": 5}


@lifecycle
def test_one_file_and_one_row_make_an_operator_of_each_kind(tmp_path):
    """In a copy of the tree, with every kernel compiled anew: a minute."""
    shutil.copytree(FACTORS, tmp_path / "factors", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in (("window_ts_middle", KERNEL), ("carry_farthest", CARRIED), ("across_between", CROSSED)):
        (tmp_path / f"factors/library/kernels/{name}.py").write_text(text)
    table = tmp_path / "factors/library/language/operators.py"
    text = table.read_text()
    rows = "\nts_middle | x:p d:i | panel\nfarthest | x:p d:i least:f | panel\nbetween | x:p y:p | panel"
    table.write_text(text.replace("\nts_drawdown | ", f"{rows}\nts_drawdown | ", 1))
    assert table.read_text() != text
    there = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    made = subprocess.run(
        [sys.executable, "-c", ASKED], cwd=tmp_path, env=there, check=True, capture_output=True, text=True, timeout=600
    )
    assert json.loads(made.stdout) == {
        "middle": [None, 5.0, 4.0, 1.5], "far": [None, 4.0, 4.0, 4.0], "place": [None, 1.0, 0.0, 0.0],
    }  # fmt: skip
