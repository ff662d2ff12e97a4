"""qlib's expressions (`Mean($close, 20) / Ref($close, 1) - 1`), which are Python with features for names."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable

from factors.library.language import limits, names
from factors.library.language.errors import FormulaError
from factors.near import nearest

_FEATURE = re.compile(r"\$\$?([A-Za-z_]\w*)")
_RENAMED = {"change": "returns", "money": "amount", "amt": "amount"}
_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "^", ast.BitAnd: "&&", ast.BitOr: "||",
}  # fmt: skip
_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_SIGNS = {
    "Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Power": "^", "Gt": ">", "Ge": ">=", "Lt": "<", "Le": "<=",
    "Eq": "==", "Ne": "!=", "And": "&&", "Or": "||",
}  # fmt: skip
# qlib's name, ours, and how many arguments there are before and after the window.
_PLAIN = {
    "Abs": "abs",
    "Sign": "sign",
    "Log": "log",
    "Not": "logical_not",
    "Greater": "maximum",
    "Less": "minimum",
    "If": "where",
}
_ARGUMENTS = {"Abs": 1, "Sign": 1, "Log": 1, "Not": 1, "Greater": 2, "Less": 2, "If": 3}
_ROLLING = {
    "Mean": "mean", "Sum": "sum", "Std": "stddev", "Var": "variance", "Skew": "skew", "Kurt": "kurt", "Max": "ts_max",
    "Min": "ts_min", "IdxMax": "ts_argmax", "IdxMin": "ts_argmin", "Med": "median", "Mad": "avedev", "Rank": "ts_rank",
    "Delta": "delta", "Slope": "slope", "Rsquare": "rsquare", "Resi": "resi",
}  # fmt: skip
_PAIRS = {"Corr": "corr", "Cov": "cov"}
_OTHERS = ("Ref", "Quantile", "Count", "WMA", "EMA")
_KNOWN = [*_PLAIN, *_SIGNS, *_ROLLING, *_PAIRS, *_OTHERS]
_WHOLE = "{} has no value before its window is whole, where qlib takes the rows that there are"
_NOTES = {
    "Mad": _WHOLE.format("Mad"),
    "WMA": _WHOLE.format("WMA") + "; divided by the window, as qlib's is",
    "IdxMax": "IdxMax and IdxMin count from the oldest row of the whole window, qlib's from the first row there is",
    "EMA": "EMA is the weighted mean of a window beyond which the weights are below 1e-12 of the newest",
}
_NEGLIGIBLE = 1e-12
_PYTHON: dict[type[ast.AST], tuple[str, tuple[str, ...]]] = {
    ast.BoolOp: ("'and', 'or'", ("(x) & (y)", "(x) | (y)")),
    ast.IfExp: ("'x if c else y'", ("If(c, x, y)",)),
    ast.Compare: ("a chain of comparisons", ("And(a < b, b < c)",)),
    ast.BinOp: ("this sign", ("+", "-", "*", "/", "**", "&", "|")),
}


def from_qlib(text: str) -> tuple[str, tuple[str, ...]]:
    """Translate; gives the text and what differs from qlib.

    Raises
    ------
    FormulaError
    """
    if "$$" in text:
        raise FormulaError("'$$': period features are not supported", *_place(text, text.index("$$")))
    # A feature's place is kept; brackets let an expression begin with blanks and run over lines.
    plain = "(" + _FEATURE.sub(lambda found: f"_{found[1]}", text) + "\n)"
    try:
        tree = ast.parse(plain, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line, column = getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1
        message = f"not an expression of qlib's: {getattr(error, 'msg', error)}"
        raise FormulaError(message, line, max(column - (line == 1), 1)) from None
    reader = _Reader()
    return reader.expression(tree.body), tuple(dict.fromkeys(reader.notes))


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


class _Reader:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.depth = 0

    def expression(self, node: ast.expr) -> str:
        self.depth += 1
        if self.depth > 4 * limits.MAX_DEPTH:
            raise self.error(node, f"deeper than {limits.MAX_DEPTH} levels")
        text = self._expression(node)
        self.depth -= 1
        return text

    def _expression(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=bool() | int() | float()):
                return repr(node.value).lower()
            case ast.Name() if node.id.startswith("_"):
                return self.feature(node)
            case ast.Name():
                raise self.error(node, f"unknown name {node.id!r}", (f"${node.id.lower()}",))
            case ast.UnaryOp(op=ast.USub()):
                return f"(-{self.expression(node.operand)})"
            case ast.UnaryOp(op=ast.UAdd()):
                return self.expression(node.operand)
            case ast.UnaryOp(op=ast.Invert() | ast.Not()):
                return f"(!{self.expression(node.operand)})"
            case ast.BinOp() if type(node.op) in _BINARY:
                return f"({self.expression(node.left)} {_BINARY[type(node.op)]} {self.expression(node.right)})"
            case ast.Compare() if len(node.ops) == 1 and type(node.ops[0]) in _COMPARED:
                sign = _COMPARED[type(node.ops[0])]
                return f"({self.expression(node.left)} {sign} {self.expression(node.comparators[0])})"
            case ast.Call(func=ast.Name()) if not node.keywords:
                return self.call(node.func.id, node)  # type: ignore[attr-defined]
        what, instead = _PYTHON.get(type(node), (type(node).__name__, ()))
        raise self.error(node, f"{what} is not a part of qlib's expressions", instead)

    def feature(self, node: ast.Name) -> str:
        name = node.id[1:].lower()
        known = names.canonical(_RENAMED.get(name, name))
        if names.is_panel_name(known):
            return known
        raise self.error(
            node, f"unknown feature '${name}'", tuple(f"${n}" for n in nearest(name, sorted(names.FIELDS)))
        )

    def call(self, name: str, node: ast.Call) -> str:
        if name not in _KNOWN:
            raise self.error(node, f"unknown operator {name!r}", nearest(name, _KNOWN))
        if name in _NOTES or name == "IdxMin":
            self.notes.append(_NOTES["IdxMax" if name == "IdxMin" else name])
        if name in _SIGNS:
            a, b = self.counted(node, name, 2)
            return f"({self.expression(a)} {_SIGNS[name]} {self.expression(b)})"
        if name in _PLAIN:
            inside = ", ".join(self.expression(a) for a in self.counted(node, name, _ARGUMENTS[name]))
            return f"{_PLAIN[name]}({inside})"
        if name in _PAIRS:
            x, y, d = self.counted(node, name, 3)
            return f"{_PAIRS[name]}({self.expression(x)}, {self.expression(y)}, {self.rows(d)})"
        if name == "Quantile":
            x, d, q = self.counted(node, name, 3)
            return f"ts_quantile({self.expression(x)}, {self.rows(d)}, {self.number(q):g})"
        x, d = self.counted(node, name, 2)
        special: dict[str, Callable[[str, ast.expr], str]] = {
            "Ref": self.ref, "EMA": self.ema, "WMA": self.wma, "Count": self.count,
        }  # fmt: skip
        if name in special:
            return special[name](self.expression(x), d)
        if name == "Mean" and 0.0 < self.number(d) < 1.0:
            return self.ema(self.expression(x), d)
        return f"{_ROLLING[name]}({self.expression(x)}, {self.rows(d)})"

    def ref(self, x: str, d: ast.expr) -> str:
        rows = self.number(d)
        if rows < 0:
            raise self.error(d, f"Ref by {rows:g} looks into the future", ("1 or more",))
        return f"delay({x}, {self.rows(d)})"

    def count(self, x: str, d: ast.expr) -> str:
        return f"sum(where(isnan({x}), 0, 1), {self.rows(d)})"

    def wma(self, x: str, d: ast.expr) -> str:
        rows = self.rows(d)
        return f"(decay_linear({x}, {rows}) / {rows})"

    def ema(self, x: str, d: ast.expr) -> str:
        span = self.number(d)
        if span == 0.0:
            raise self.error(d, "an expanding window (0) is not supported", ("1 or more",))
        alpha = span if 0.0 < span < 1.0 else 2.0 / (span + 1.0)
        if alpha >= 1.0:
            return x
        rows = min(math.ceil(math.log(_NEGLIGIBLE) / math.log1p(-alpha)), limits.MAX_WINDOW_ROWS)
        half_life = -math.log(2.0) / math.log1p(-alpha)
        return f"ew_mean({x}, {max(rows, 1)}, {half_life!r}, min_periods=1)"

    def counted(self, node: ast.Call, name: str, count: int) -> list[ast.expr]:
        if len(node.args) != count:
            raise self.error(node, f"{name} has {len(node.args)} arguments", (f"{count}",))
        return node.args

    def number(self, node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as value):
                return float(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -float(value)
        raise self.error(node, "not a constant", ("a number",))

    def rows(self, node: ast.expr) -> int:
        value = self.number(node)
        if value == 0.0:
            raise self.error(node, "an expanding window (0) is not supported", ("1 or more",))
        if value < 0.0 or value != int(value):
            raise self.error(node, f"a window of {value:g} rows", ("a whole number of rows, 1 or more",))
        return int(value)

    @staticmethod
    def error(node: ast.expr, message: str, expected: tuple[str, ...] = ()) -> FormulaError:
        return FormulaError(message, node.lineno, node.col_offset + (node.lineno > 1), expected)
