"""WorldQuant BRAIN's expressions: `a = ts_delta(close, 5); group_neutralize(rank(a), subindustry);`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lark import Token, Tree

from factors.library.language import names
from factors.library.language.errors import FormulaError
from factors.library.language.syntax import syntax_tree

Node = Tree[Token] | Token
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_FIELDS = {"cap": "market_cap", "sharesout": "shares", "exchange": "exchange"}
# BRAIN's name: ours, with the arguments in the same order.
_SAME = {
    "ts_delta": "delta", "ts_delay": "delay", "ts_mean": "mean", "ts_sum": "sum", "ts_std_dev": "stddev",
    "ts_corr": "corr", "ts_covariance": "cov", "ts_product": "product", "ts_min": "ts_min", "ts_max": "ts_max",
    "ts_rank": "ts_rank", "ts_arg_max": "ts_argmax", "ts_arg_min": "ts_argmin", "ts_zscore": "ts_zscore",
    "ts_median": "median", "ts_skewness": "skew", "ts_kurtosis": "kurt", "ts_returns": "pct_change",
    "ts_decay_linear": "decay_linear", "ts_backfill": "ffill", "rank": "rank", "zscore": "zscore", "abs": "abs",
    "sign": "sign", "log": "log", "exp": "exp", "sqrt": "sqrt", "max": "maximum", "min": "minimum", "power": "power",
    "signed_power": "signedpower", "inverse": "inv", "reverse": "neg", "is_nan": "isnan", "not": "logical_not",
    "and": "logical_and", "or": "logical_or", "if_else": "where", "tanh": "tanh", "floor": "floor",
    "ceiling": "ceil", "round": "round", "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div",
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne",
    "regression_neut": "cs_residual",
}  # fmt: skip
_GROUPED = {
    "group_neutralize": ("indneutralize", "demean"), "group_rank": ("group_rank", "rank"),
    "group_zscore": ("group_zscore", "zscore"), "group_scale": ("group_scale", "scale"),
    "group_sum": ("group_sum", "cs_sum"), "group_max": ("group_max", "cs_max"), "group_min": ("group_min", "cs_min"),
    "group_median": ("group_median", "cs_median"), "group_count": ("group_count", "cs_count"),
    "group_std_dev": ("group_std", "cs_std"),
}  # fmt: skip
# What ours makes of several operators: how many arguments, and the text.
_MADE: dict[str, tuple[int, str]] = {
    "ts_av_diff": (2, "({0} - mean({0}, {1}))"),
    "ts_scale": (2, "(({0} - ts_min({0}, {1})) / (ts_max({0}, {1}) - ts_min({0}, {1})))"),
    "ts_ir": (2, "(mean({0}, {1}) / stddev({0}, {1}))"),
    "ts_max_diff": (2, "({0} - ts_max({0}, {1}))"),
    "ts_min_diff": (2, "({0} - ts_min({0}, {1}))"),
    "ts_count_nans": (2, "sum(where(isnan({0}), 1, 0), {1})"),
    "days_from_last_change": (1, "barslast(delta({0}, 1) != 0)"),
    "s_log_1p": (1, "(sign({0}) * log1p(abs({0})))"),
    "quantile": (1, "gauss_rank({0})"),
    "normalize": (1, "demean({0})"),
}
_KNOWN = sorted({*_SAME, *_GROUPED, *_MADE, "group_mean", "winsorize", "scale", "ts_regression", "trade_when"})
# Keyword arguments that may be given as BRAIN's default, which is what ours does.
_DEFAULTS = {
    ("ts_decay_linear", "dense"): "false", ("rank", "rate"): "2", ("ts_rank", "constant"): "0",
    ("quantile", "driver"): "gaussian", ("normalize", "usestd"): "false", ("normalize", "limit"): "0",
}  # fmt: skip
_SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "mod": "%",
    "pow": "^",
    "logical_or": "||",
    "logical_and": "&&",
}


def from_brain(text: str) -> tuple[str, tuple[str, ...]]:
    """Translate; gives the text and what differs from BRAIN.

    Raises
    ------
    FormulaError
    """
    # Blanks in the place of a comment keep lines and columns.
    plain = _COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    reader = _Reader()
    return reader.formula(syntax_tree(plain)), (
        "windows are whole: BRAIN's own treatment of missing values is not public",
    )


class _Reader:
    def __init__(self) -> None:
        self.locals: set[str] = set()

    def formula(self, tree: Tree[Token]) -> str:
        lines = []
        for binding in tree.children[:-1]:
            name, body = binding.children  # type: ignore[union-attr]
            lines.append(f"{name} = {self.expression(body)};")
            self.locals.add(str(name).lower())
        return "\n".join([*lines, self.expression(tree.children[-1])])

    def expression(self, node: Any) -> str:
        kind, children = str(node.data), node.children
        if kind == "number":
            return str(children[0])
        if kind == "name":
            name = str(children[0]).lower()
            return name if name in self.locals else _FIELDS.get(name, name)
        if kind == "call":
            return self.call(str(children[0]).lower(), list(children[1:]), node)
        if kind == "where":
            c, x, y = (self.expression(child) for child in children)
            return f"({c} ? {x} : {y})"
        if kind == "compare":
            return f"({self.expression(children[0])} {children[1]} {self.expression(children[2])})"
        if kind in _SIGNS:
            return f"({self.expression(children[0])} {_SIGNS[kind]} {self.expression(children[1])})"
        sign = {"neg": "-", "pos": "+", "logical_not": "!"}[kind]
        return f"({sign}{self.expression(children[0])})"

    def call(self, name: str, arguments: list[Any], node: Any) -> str:
        if name not in _KNOWN:
            raise self.error(node, f"unknown operator {name!r}", names.nearest(name, _KNOWN))
        keywords = {}
        positional = []
        for argument in arguments:
            if str(argument.data) == "keyword":
                key, value = argument.children
                keywords[str(key).lower()] = "".join(str(part) for part in value.children).strip('"').lower()
            else:
                positional.append(argument)
        for key in [key for key, value in keywords.items() if _DEFAULTS.get((name, key)) == value]:
            keywords.pop(key)
        made: dict[str, Callable[[list[Any], dict[str, str], Any], str]] = {
            "group_mean": self.group_mean, "winsorize": self.winsorize, "scale": self.scale,
            "ts_regression": self.regression, "trade_when": self.trade_when,
        }  # fmt: skip
        if name in made:
            text = made[name](positional, keywords, node)
        elif name in _GROUPED:
            x, group = self.counted(name, positional, 2, node)
            ours, of_all = _GROUPED[name]
            text = f"{of_all}({x})" if group == "market" else f"{ours}({x}, {group})"
        elif name in _MADE:
            count, pattern = _MADE[name]
            text = pattern.format(*self.counted(name, positional, count, node))
        else:
            text = f"{_SAME[name]}({', '.join(self.expression(argument) for argument in positional)})"
        if keywords:
            key, value = next(iter(keywords.items()))
            raise self.error(node, f"{name} with {key}={value} is not supported", ("the default",))
        return text

    def group_mean(self, positional: list[Any], _: dict[str, str], node: Any) -> str:
        x, weight, group = self.counted("group_mean", positional, 3, node)
        if group == "market":
            return f"cs_wmean({x}, {weight})"
        return f"group_mean({x}, {group})" if weight == "1" else f"group_wmean({x}, {weight}, {group})"

    def winsorize(self, positional: list[Any], keywords: dict[str, str], node: Any) -> str:
        std = keywords.pop("std", None)
        parts = self.counted("winsorize", positional, 1 if std or len(positional) == 1 else 2, node)
        return f"winsorize_sigma({parts[0]}, {std or (parts[1] if len(parts) > 1 else '4')})"

    def scale(self, positional: list[Any], keywords: dict[str, str], node: Any) -> str:
        size = keywords.pop("scale", "1")
        for side in ("longscale", "shortscale"):
            if keywords.get(side) == "1":
                raise self.error(node, f"scale with {side} is not supported", ("scale(x, scale=1)",))
        return f"scale({self.counted('scale', positional, 1, node)[0]}, {size})"

    def regression(self, positional: list[Any], keywords: dict[str, str], node: Any) -> str:
        y, x, d = self.counted("ts_regression", positional, 3, node)
        lag, kind = keywords.pop("lag", "0"), keywords.pop("rettype", "0")
        ours = {"0": "reg_residual", "1": "reg_intercept", "2": "reg_slope", "6": "reg_r2"}
        if kind not in ours:
            raise self.error(node, f"ts_regression with rettype={kind} is not supported", tuple(ours))
        return f"{ours[kind]}({y}, {x if lag == '0' else f'delay({x}, {lag})'}, {d})"

    def trade_when(self, positional: list[Any], _: dict[str, str], node: Any) -> str:
        self.counted("trade_when", positional, 3, node)
        raise self.error(node, "trade_when holds positions, which a factor has not", ("where(condition, x, nan)",))

    def counted(self, name: str, arguments: list[Any], count: int, node: Any) -> list[str]:
        if len(arguments) != count:
            raise self.error(node, f"{name} has {len(arguments)} arguments", (f"{count}",))
        return [self.expression(argument) for argument in arguments]

    @staticmethod
    def error(node: Any, message: str, expected: tuple[str, ...] = ()) -> FormulaError:
        return FormulaError(message, node.meta.line, node.meta.column, expected)
