"""What each operator becomes in the graph: element by element and across names. Along time: builders_time.py."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from factors.library.compile.graph import Ref
from factors.library.compile.registry import BUILDERS, Builder, Settings, builds
from factors.library.kernels.layout import Op
from factors.library.language.errors import FormulaError

if TYPE_CHECKING:
    from factors.library.compile.lowering import Lowering

RANK_SCALE = {"pct": 0, "unit": 1, "zero": 2}
RANK_TIES = {"average": 0, "min": 1, "max": 2, "ordinal": 3}


def _element(op: Op) -> Builder:
    def build(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
        return lowering.element(op, *args)

    return build


for _name, _op in {
    "neg": Op.NEG, "abs": Op.ABS, "sign": Op.SIGN, "log": Op.LOG, "log10": Op.LOG10, "log1p": Op.LOG1P, "exp": Op.EXP,
    "sqrt": Op.SQRT, "floor": Op.FLOOR, "ceil": Op.CEIL, "round": Op.ROUND, "sin": Op.SIN, "cos": Op.COS, "tan": Op.TAN,
    "atan": Op.ATAN, "tanh": Op.TANH, "inv": Op.INV, "isnan": Op.ISNAN, "logical_not": Op.NOT, "add": Op.ADD,
    "sub": Op.SUB, "mod": Op.MOD, "logical_and": Op.AND, "logical_or": Op.OR,
}.items():  # fmt: skip
    BUILDERS[_name] = _element(_op)


def _compare(op: Op, *, swap: bool = False) -> Builder:
    def build(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
        x, y = reversed(args) if swap else args
        return lowering.compare(op, x, y)

    return build


BUILDERS["lt"] = _compare(Op.LT)
BUILDERS["le"] = _compare(Op.LE)
BUILDERS["gt"] = _compare(Op.LT, swap=True)
BUILDERS["ge"] = _compare(Op.LE, swap=True)
BUILDERS["eq"] = _compare(Op.EQ)
BUILDERS["ne"] = _compare(Op.NE)


@builds("mul")
def _mul(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, y = args
    for a, b in ((x, y), (y, x)):
        value = lowering.constant_value(a)
        if value == 1.0:
            return Ref(*b)
        if value == -1.0:
            return lowering.element(Op.NEG, b)
    return lowering.element(Op.SQUARE, x) if x == y else lowering.element(Op.MUL, x, y)


@builds("div")
def _div(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, y = args
    return Ref(*x) if lowering.constant_value(y) == 1.0 else lowering.element(Op.DIV, x, y)


@builds("power")
def _power(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    return lowering.power(*args)


@builds("signedpower")
def _signedpower(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, a = args
    if lowering.constant_value(a) == 1.0:
        return Ref(*x)
    if lowering.constant_value(a) == 2.0:
        return lowering.element(Op.MUL, x, lowering.element(Op.ABS, x))
    return lowering.element(Op.SPOW, x, a)


def _fold(op: Op) -> Builder:
    def build(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
        result: Ref = args[0]
        for other in args[1:]:
            result = lowering.element(op, result, other)
        return result

    return build


BUILDERS["max"] = BUILDERS["maximum"] = _fold(Op.MAX)
BUILDERS["min"] = BUILDERS["minimum"] = _fold(Op.MIN)
BUILDERS["coalesce"] = _fold(Op.COALESCE)


@builds("where")
def _where(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    return lowering.where(*args)


@builds("filter")
def _filter(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, c = args
    return lowering.where(c, x, lowering.number(math.nan))


@builds("fillna")
def _fillna(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    return lowering.element(Op.COALESCE, args[0], lowering.number(args[1]))


@builds("clip")
def _clip(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, low, high = args
    if low > high:
        raise FormulaError(f"clip from {low:g} to {high:g}", expected=("lo <= hi",))
    return lowering.element(Op.MIN, lowering.element(Op.MAX, x, lowering.number(low)), lowering.number(high))


@builds("rank")
def _rank(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    ints = (RANK_SCALE[lowering.conventions.rank_scale], RANK_TIES[lowering.conventions.rank_ties])
    return lowering.across(Op.RANK, (args[0],), ints=ints)


def _across(op: Op, mode: int = 0) -> Builder:
    """Cross-sectional operation: panels first, one number to the floats."""

    def build(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
        panels = tuple(a for a in args if isinstance(a, Ref))
        numbers = tuple(float(a) for a in args if not isinstance(a, Ref))
        return lowering.across(op, panels, ints=(mode,), floats=numbers)

    return build


for _name, _op, _mode in (
    ("demean", Op.STANDARDIZE, 0), ("zscore", Op.STANDARDIZE, 1),
    ("standardize", Op.STANDARDIZE, 2), ("winsorize", Op.WINSORIZE, 0), ("winsorize_sigma", Op.WINSORIZE, 1),
    ("gauss_rank", Op.GAUSS_RANK, 0), ("cs_mean", Op.CS_AGGREGATE, 0), ("cs_sum", Op.CS_AGGREGATE, 1),
    ("cs_std", Op.CS_AGGREGATE, 2), ("cs_min", Op.CS_AGGREGATE, 3), ("cs_max", Op.CS_AGGREGATE, 4),
    ("cs_count", Op.CS_AGGREGATE, 5), ("cs_quantile", Op.CS_QUANTILE, 0), ("cs_wmean", Op.CS_WEIGHTED, 0),
    ("cs_wsum", Op.CS_WEIGHTED, 1), ("cs_corr", Op.CS_PAIR, 0), ("cs_slope", Op.CS_PAIR, 1),
    ("cs_residual", Op.CS_RESIDUAL, 0), ("cs_wresidual", Op.CS_RESIDUAL, 1), ("bucket", Op.BUCKET, 0),
    ("group_mean", Op.GROUP, 0), ("group_sum", Op.GROUP, 1), ("group_std", Op.GROUP, 2), ("group_count", Op.GROUP, 3),
    ("group_min", Op.GROUP, 4), ("group_max", Op.GROUP, 5), ("group_zscore", Op.GROUP, 7), ("group_scale", Op.GROUP, 8),
    ("group_median", Op.GROUP_MEDIAN, 0), ("group_wmean", Op.GROUP_WEIGHTED, 0),
):  # fmt: skip
    BUILDERS[_name] = _across(_op, _mode)


@builds("cs_median")
def _cs_median(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    return lowering.across(Op.CS_QUANTILE, (args[0],), ints=(0,), floats=(0.5,))


@builds("cs_mslope")
def _cs_mslope(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    k, *panels = args
    if k > len(panels) - 1:
        raise FormulaError(f"k is {k} of {len(panels) - 1} regressors", expected=(f"1 to {len(panels) - 1}",))
    return lowering.across(Op.CS_RESIDUAL, tuple(panels), ints=(1 + k,))


@builds("indneutralize")
def _indneutralize(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, g = args
    if lowering.conventions.neutralisation == "none":
        return Ref(*x)
    return lowering.across(Op.GROUP, (x, lowering.group(g)), ints=(6,))


@builds("group_rank")
def _group_rank(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    ints = (RANK_SCALE[lowering.conventions.rank_scale], RANK_TIES[lowering.conventions.rank_ties])
    return lowering.across(Op.GROUP_RANK, tuple(args), ints=ints)
