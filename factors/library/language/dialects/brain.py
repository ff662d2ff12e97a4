"""WorldQuant BRAIN's expressions: `a = ts_delta(close, 5); group_neutralize(rank(a), subindustry);`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lark import Token, Tree

from factors.library.language.errors import FormulaError
from factors.library.language.syntax import syntax_tree
from factors.near import nearest

Node = Tree[Token] | Token
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_GROUPS_OF_VALUES = re.compile(r"\b(bucket|group_cartesian_product)\s*\(", re.IGNORECASE)
_FIELDS = {"cap": "market_cap", "sharesout": "shares", "exchange": "exchange"}
_IN_MILLIONS = ("cap", "sharesout")
# BRAIN's name: ours, with the arguments in the same order.
_SAME = {
    "ts_delta": "delta", "ts_delay": "delay", "ts_mean": "mean", "ts_sum": "sum", "ts_std_dev": "stddev",
    "ts_corr": "corr", "ts_covariance": "cov", "ts_product": "product", "ts_min": "ts_min", "ts_max": "ts_max",
    "ts_rank": "ts_rank", "ts_arg_max": "ts_argmax", "ts_arg_min": "ts_argmin", "ts_zscore": "ts_zscore",
    "ts_median": "median", "ts_skewness": "skew", "ts_kurtosis": "kurt", "ts_returns": "pct_change",
    "ts_decay_linear": "decay_linear", "ts_backfill": "ffill", "zscore": "zscore", "abs": "abs",
    "sign": "sign", "log": "log", "exp": "exp", "sqrt": "sqrt", "max": "maximum", "min": "minimum", "power": "power",
    "signed_power": "signedpower", "inverse": "inv", "reverse": "neg", "is_nan": "isnan", "not": "logical_not",
    "and": "logical_and", "or": "logical_or", "if_else": "where", "tanh": "tanh", "floor": "floor",
    "ceiling": "ceil", "round": "round", "subtract": "sub", "divide": "div", "ts_percentage": "ts_quantile",
    "ts_decay_exp_window": "wma", "pasteurize": "", "densify": "",
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne",
    "regression_neut": "cs_residual",
}  # fmt: skip
_GROUPED = {
    "group_neutralize": ("indneutralize", "demean"), "group_rank": ("group_rank", "rank"),
    "group_zscore": ("group_zscore", "zscore"), "group_normalize": ("group_scale", "scale"),
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
    "sigmoid": (1, "(1 / (1 + exp(-{0})))"),
    "log_diff": (1, "(log({0}) - log(delay({0}, 1)))"),
    "fraction": (1, "(sign({0}) * (abs({0}) - floor(abs({0}))))"),
    "vector_neut": (2, "({0} - cs_sum({0} * {1}) / cs_sum({1} * {1}) * {1})"),
    "ts_min_max_cps": (3, "((ts_min({0}, {1}) + ts_max({0}, {1})) - {2} * {0})"),
    "ts_min_max_diff": (3, "({0} - {2} * (ts_min({0}, {1}) + ts_max({0}, {1})))"),
    "is_not_nan": (1, "(!isnan({0}))"),
    "is_finite": (1, "(!isnan({0}))"),
}
# Several values, joined by a sign.
_JOINED = {"add": "+", "multiply": "*"}
# Arguments that may be given by their names: those that BRAIN has in this place, and their defaults.
_NAMED: dict[str, tuple[tuple[int, str, str | None], ...]] = {
    "ts_backfill": ((1, "lookback", None),),
    "ts_percentage": ((2, "percentage", "0.5"),),
    "ts_decay_exp_window": ((2, "factor", "1"),),
    "ts_min_max_cps": ((2, "f", "2"),),
    "ts_min_max_diff": ((2, "f", "0.5"),),
    "clamp": ((1, "lower", None), (2, "upper", None)),
}
_HOLDING = ("trade_when", "hump", "hump_decay", "ts_target_tvr_decay", "ts_target_tvr_hump")
_OTHERS = ("group_mean", "group_scale", "winsorize", "scale", "ts_regression", "clamp", "rank", "normalize")
_KNOWN = sorted({*_SAME, *_GROUPED, *_MADE, *_JOINED, *_OTHERS, *_HOLDING})
# Keyword arguments that may be given as BRAIN's default, which is what ours does.
_DEFAULTS = {
    ("ts_decay_linear", "dense"): "false", ("rank", "rate"): "2", ("ts_rank", "constant"): "0",
    ("quantile", "driver"): "gaussian", ("normalize", "usestd"): "false", ("normalize", "limit"): "0",
    ("quantile", "sigma"): "1", ("ts_scale", "constant"): "0", ("ts_backfill", "k"): "1", ("clamp", "inverse"): "false",
    **{(name, "filter"): "false" for name in ("add", "multiply", "subtract")},
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
    groups = _GROUPS_OF_VALUES.search(plain)
    if groups is not None:
        line, column = plain.count("\n", 0, groups.start()) + 1, groups.start() - plain.rfind("\n", 0, groups.start())
        message = f"{groups[1].lower()} makes groups of values, and groups here are a name's own"
        raise FormulaError(message, line, column, ("sector", "industry", "subindustry"))
    reader = _Reader()
    found = reader.formula(syntax_tree(plain))
    return found, ("windows are whole: BRAIN's own treatment of missing values is not public", *reader.notes)


def _is_default(name: str, key: str, value: str) -> bool:
    default = _DEFAULTS.get((name, key))
    try:
        return default == value or (default is not None and float(default) == float(value))
    except ValueError:
        return False


class _Reader:
    def __init__(self) -> None:
        self.locals: set[str] = set()
        self.notes: dict[str, None] = {}

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
            if name in self.locals:
                return name
            if name in _IN_MILLIONS:
                self.notes[f"{name} is in its own unit here, where BRAIN has millions"] = None
            return _FIELDS.get(name, name)
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
            raise self.error(node, f"unknown operator {name!r}", nearest(name, _KNOWN))
        keywords = {}
        positional = []
        for argument in arguments:
            if str(argument.data) == "keyword":
                key, value = argument.children
                keywords[str(key).lower()] = "".join(str(part) for part in value.children).strip('"').lower()
            else:
                positional.append(argument)
        for key in [key for key, value in keywords.items() if _is_default(name, key, value)]:
            keywords.pop(key)
        if name in _HOLDING:
            raise self.error(node, f"{name} holds positions, which a factor has not", ("where(condition, x, nan)",))
        if name == "quantile":
            self.notes["quantile takes (rank - 0.5) / N, where BRAIN shifts ranks to 1 / N + rank (1 - 2 / N)"] = None
        made: dict[str, Callable[[list[Any], dict[str, str], Any], str]] = {
            "group_mean": self.group_mean, "winsorize": self.winsorize, "scale": self.scale,
            "ts_regression": self.regression, "group_scale": self.group_scale, "clamp": self.clamp,
            "rank": self.rank, "normalize": self.normalize,
        }  # fmt: skip
        if name in made:
            text = made[name](positional, keywords, node)
        elif name in _GROUPED:
            x, group = self.counted(name, positional, 2, node)
            ours, of_all = _GROUPED[name]
            text = f"{of_all}({x})" if group == "market" else f"{ours}({x}, {group})"
        elif name in _MADE:
            count, pattern = _MADE[name]
            given = [self.expression(argument) for argument in positional]
            text = pattern.format(*self.whole(name, given, keywords, count, node))
        elif name in _JOINED:
            parts = [self.expression(argument) for argument in positional]
            if len(parts) < 2:
                raise self.error(node, f"{name} has {len(parts)} arguments", ("2 or more",))
            text = f"({f' {_JOINED[name]} '.join(parts)})"
        else:
            given = [self.expression(argument) for argument in positional]
            if name in _NAMED:
                given = self.whole(name, given, keywords, _NAMED[name][-1][0] + 1, node)
            text = f"{_SAME[name]}({', '.join(given)})" if _SAME[name] else self.counted(name, positional, 1, node)[0]
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

    def group_scale(self, positional: list[Any], _: dict[str, str], node: Any) -> str:
        x, group = self.counted("group_scale", positional, 2, node)
        of, rest = ("cs", "") if group == "market" else ("group", f", {group}")
        least, most = f"{of}_min({x}{rest})", f"{of}_max({x}{rest})"
        return f"(({x} - {least}) / ({most} - {least}))"

    def clamp(self, positional: list[Any], keywords: dict[str, str], node: Any) -> str:
        given = [self.expression(argument) for argument in positional]
        return f"clip({', '.join(self.whole('clamp', given, keywords, 3, node))})"

    def rank(self, positional: list[Any], _: dict[str, str], node: Any) -> str:
        parts = [self.expression(argument) for argument in positional]
        if parts[1:] not in ([], ["2"]):
            raise self.error(node, f"rank with rate={parts[1]} is not supported", ("the default",))
        return f"rank({parts[0] if parts else ''})"

    def normalize(self, positional: list[Any], keywords: dict[str, str], node: Any) -> str:
        x = self.counted("normalize", positional, 1, node)[0]
        return f"zscore({x})" if keywords.pop("usestd", "false") == "true" else f"demean({x})"

    def whole(self, name: str, given: list[str], keywords: dict[str, str], count: int, node: Any) -> list[str]:
        """Complete arguments by those that were given by name, and by defaults."""
        for at, key, default in _NAMED.get(name, ()):
            if len(given) == at and (value := keywords.pop(key, default)) is not None:
                given = [*given, value]
        if len(given) != count:
            raise self.error(node, f"{name} has {len(given)} arguments", (f"{count}",))
        return given

    def counted(self, name: str, arguments: list[Any], count: int, node: Any) -> list[str]:
        if len(arguments) != count:
            raise self.error(node, f"{name} has {len(arguments)} arguments", (f"{count}",))
        return [self.expression(argument) for argument in arguments]

    @staticmethod
    def error(node: Any, message: str, expected: tuple[str, ...] = ()) -> FormulaError:
        return FormulaError(message, node.meta.line, node.meta.column, expected)
