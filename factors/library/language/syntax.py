"""Text to typed syntax tree."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from factors.library.language import limits, names
from factors.library.language.conventions import PAPER, Conventions
from factors.library.language.errors import FormulaError
from factors.library.language.operators import BY_NAME, OPERATORS, Operator, Parameter
from factors.near import nearest

NUMBER, PANEL, BOOL, GROUP = "number", "panel", "bool", "group"


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One node of the typed tree; equal terms of one formula are one object.

    Attributes
    ----------
    kind : {"number", "name", "call"}
    type : {"number", "panel", "bool", "group"}
    name : str
        Field, group or canonical operator name.
    value : float
        Of a number; a bool constant is 0 or 1.
    args : tuple of Term
        In the operator's parameter order.
    settings : tuple of (str, value)
        Keyword arguments, sorted.
    depth : int
    position : (int, int)
        Line and column of the first occurrence.
    """

    kind: str
    type: str
    name: str
    value: float
    args: tuple[Term, ...]
    settings: tuple[tuple[str, Any], ...]
    depth: int
    position: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A parsed and typed formula, with the conventions it was written for."""

    text: str
    root: Term
    conventions: Conventions


@cache
def _grammar() -> Lark:
    text = resources.files("factors.library.language").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", propagate_positions=True, maybe_placeholders=False)


_READABLE = {
    "NAME": "a name", "NUMBER": "a number", "STRING": "a string", "COMPARE": "a comparison", "$END": "the end",
    "LPAR": "'('", "RPAR": "')'", "COMMA": "','", "SEMICOLON": "';'", "EQUAL": "'='", "QMARK": "'?'", "COLON": "':'",
    "PLUS": "'+'", "MINUS": "'-'", "STAR": "'*'", "SLASH": "'/'", "PERCENT": "'%'", "BANG": "'!'", "_POWER": "'^'",
    "_OR": "'||'", "_AND": "'&&'", "NOT": "'not'",
}  # fmt: skip


def _syntax_error(error: UnexpectedInput, text: str) -> FormulaError:
    if isinstance(error, UnexpectedCharacters):
        strange = text[error.pos_in_stream or 0]
        allowed, found = set(error.allowed or ()), f"unexpected character {strange!r}"
        if strange == "$":
            found += "; fields are written so in the dialect 'qlib'"
    elif isinstance(error, UnexpectedToken):
        allowed = set(error.accepts or error.expected)
        found = "unexpected end" if error.token.type == "$END" else f"unexpected {str(error.token)!r}"
    elif isinstance(error, UnexpectedEOF):
        allowed, found = set(error.expected), "unexpected end"
    else:
        allowed, found = set(), "cannot be read"
    expected = tuple(sorted(_READABLE.get(name, name.lower()) for name in allowed))
    line, column = error.line, error.column
    if line < 1 or found == "unexpected end":
        lines = text.split("\n")
        line, column = len(lines), len(lines[-1]) + 1
    return FormulaError(found, line, column, expected)


_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "div": "div", "mod": "mod", "pow": "power"}
_COMPARE = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
_FOLD = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "power": lambda a, b: a**b,
}
_TIME_REGRESSION = {
    "reg_slope": "slope", "reg_intercept": "intercept", "reg_r2": "rsquare", "reg_residual": "resi",
}  # fmt: skip


class _Reader:
    """Walks lark's tree once and gives typed, shared terms."""

    def __init__(
        self, conventions: Conventions, definitions: Mapping[str, Expression], extra_fields: Collection[str]
    ) -> None:
        self.conventions = conventions
        self.definitions = {name: expression.root for name, expression in definitions.items()}
        self.extra_fields = {name.lower() for name in extra_fields}
        self.locals: dict[str, Term] = {}
        self.interned: dict[tuple[Any, ...], Term] = {}
        self.level = 0

    def formula(self, tree: Tree[Token]) -> Term:
        for child in tree.children[:-1]:
            assert isinstance(child, Tree)
            token, body = child.children
            name = str(token).lower()
            if names.is_reserved(names.canonical(name)) or name in BY_NAME or name in self.definitions:
                raise FormulaError(f"{name!r} is already a field, definition or operator", *_at(token), ("a new name",))
            self.locals[name] = self.term(body)
        return self.term(tree.children[-1])

    def make(
        self, kind: str, type_: str, position: tuple[int, int], *, name: str = "", value: float = 0.0,
        args: tuple[Term, ...] = (), settings: tuple[tuple[str, Any], ...] = (),
    ) -> Term:  # fmt: skip
        key = (kind, type_, name, repr(value), tuple(id(a) for a in args), settings)
        known = self.interned.get(key)
        if known is not None:
            return known
        depth = 1 + max((a.depth for a in args), default=0)
        if depth > limits.MAX_DEPTH:
            raise FormulaError(f"deeper than {limits.MAX_DEPTH} levels", *position)
        term = Term(kind, type_, name, value, args, settings, depth, position)
        self.interned[key] = term
        if len(self.interned) > limits.MAX_NODES:
            raise FormulaError(f"more than {limits.MAX_NODES} nodes", *position)
        return term

    def term(self, tree: Any) -> Term:
        position = _at(tree)
        self.level += 1
        if self.level > 4 * limits.MAX_DEPTH:
            raise FormulaError(f"deeper than {limits.MAX_DEPTH} levels", *position)
        result = self._term(tree, position)
        self.level -= 1
        return result

    def _term(self, tree: Any, position: tuple[int, int]) -> Term:
        kind, children = tree.data, tree.children
        if kind == "number":
            return self.number(float(children[0]), position)
        if kind == "name":
            return self.name(children[0], position)
        if kind == "call":
            return self.call(str(children[0]).lower(), children[1:], position)
        if kind == "pos":
            return self.term(children[0])
        if kind == "compare":
            left, operator, right = children
            return self.apply(_COMPARE[str(operator)], [self.term(left), self.term(right)], position)
        operator_name = _BINARY.get(kind, str(kind))
        return self.apply(operator_name, [self.term(child) for child in children], position)

    def number(self, value: float, position: tuple[int, int]) -> Term:
        return self.make("number", NUMBER, position, value=value)

    def name(self, token: Token, position: tuple[int, int]) -> Term:
        raw = str(token).lower()
        if raw in self.locals:
            return self.locals[raw]
        name = names.canonical(raw)
        if name in names.CONSTANTS:
            return self.number(names.CONSTANTS[name], position)
        if name in ("true", "false"):
            return self.make("number", BOOL, position, value=float(name == "true"))
        if name in names.GROUPS:
            return self.make("name", GROUP, position, name=name)
        if name in self.definitions:
            return self.definitions[name]
        if names.is_panel_name(name) or name in self.extra_fields:
            return self.make("name", PANEL, position, name=name)
        if raw in BY_NAME:
            raise FormulaError(f"{raw!r} is an operator", *position, (f"'(' after {raw}",))
        candidates = [*names.FIELDS, *names.GROUPS, *names.DERIVED, *self.extra_fields, *self.definitions, *self.locals]
        raise FormulaError(f"unknown name {raw!r}", *position, nearest(raw, candidates) or ("a field",))

    def call(self, raw: str, arguments: list[Any], position: tuple[int, int]) -> Term:
        operator = BY_NAME.get(raw)
        if operator is None:
            raise FormulaError(f"unknown operator {raw!r}", *position, nearest(raw, list(BY_NAME)) or ("an operator",))
        if len(arguments) > limits.MAX_ARGUMENTS:
            raise FormulaError(f"more than {limits.MAX_ARGUMENTS} arguments", *position)
        positional = [a for a in arguments if getattr(a, "data", "") != "keyword"]
        keywords = arguments[len(positional) :]
        if any(getattr(a, "data", "") != "keyword" for a in keywords):
            raise FormulaError("an argument follows a keyword argument", *position, ("keyword arguments last",))
        operator, positional = self.over_time(operator, positional)
        args = [self.term(a) for a in positional]
        return self.apply(operator.name, args, position, keywords, [_at(a) for a in positional])

    def over_time(self, operator: Operator, arguments: list[Any]) -> tuple[Operator, list[Any]]:
        """Read `reg_slope(y, sequence(d), d)` as `slope(y, d)`."""
        if operator.name not in _TIME_REGRESSION or len(arguments) < 2:
            return operator, arguments
        second = arguments[1]
        if second.data == "call" and str(second.children[0]).lower() == "sequence" and len(second.children) == 2:
            return OPERATORS[_TIME_REGRESSION[operator.name]], [arguments[0], second.children[1]]
        if second.data == "name" and str(second.children[0]).lower() == "sequence" and len(arguments) == 3:
            return OPERATORS[_TIME_REGRESSION[operator.name]], [arguments[0], arguments[2]]
        return operator, arguments

    def apply(
        self,
        name: str,
        args: list[Term],
        position: tuple[int, int],
        keywords: list[Any] | None = None,
        places: list[tuple[int, int]] | None = None,
    ) -> Term:
        operator = OPERATORS[name]
        if name in ("max", "min") and len(args) == 2 and self.conventions.minmax_constant == "rolling":
            last = args[1]
            if last.kind == "number" and last.type == NUMBER and last.value >= 2 and last.value == int(last.value):
                operator = OPERATORS["ts_" + name]
        folded = self.fold(operator.name, args, position)
        if folded is not None:
            return folded
        checked = self.check(operator, args, position, places or [a.position for a in args])
        settings = tuple(sorted(self.setting(operator, k) for k in keywords or ()))
        if len({key for key, _ in settings}) != len(settings):
            raise FormulaError("a keyword argument is given twice", *position)
        self.window_settings(operator, checked, settings, position)
        type_ = operator.result
        if type_ in ("like", "where"):
            values = checked[1:] if type_ == "where" else checked[:1]
            type_ = BOOL if all(a.type == BOOL for a in values) else PANEL
        return self.make("call", type_, position, name=operator.name, args=tuple(checked), settings=settings)

    def fold(self, name: str, args: list[Term], position: tuple[int, int]) -> Term | None:
        if not args or any(a.kind != "number" or a.type != NUMBER for a in args):
            return None
        if name == "neg":
            return self.number(-args[0].value, position)
        if name not in _FOLD:
            return None
        try:
            value = _FOLD[name](args[0].value, args[1].value)
        except (ZeroDivisionError, OverflowError):
            value = math.nan
        if isinstance(value, complex) or not math.isfinite(value):
            value = math.nan
        return self.number(float(value), position)

    def check(
        self, operator: Operator, args: list[Term], position: tuple[int, int], places: list[tuple[int, int]]
    ) -> list[Term]:
        parameters = operator.parameters
        variadic = bool(parameters) and parameters[-1].variadic
        required = sum(1 for p in parameters if p.default is None and not p.variadic)
        if len(args) < required or (len(args) > len(parameters) and not variadic):
            raise FormulaError(f"{operator.name} has {len(args)} arguments", *position, (operator.signature,))
        checked = []
        for i, argument in enumerate(args):
            parameter = parameters[min(i, len(parameters) - 1)]
            checked.append(self.convert(operator, parameter, argument, places[i]))
        defaults = [parameter.default for parameter in parameters[len(args) :] if parameter.default is not None]
        checked.extend(self.number(default, position) for default in defaults)
        if operator.name.startswith(("mreg", "cs_residual", "cs_wresidual")):
            count = len(checked) - sum(1 for p in parameters if not p.variadic)
            if count > limits.MAX_REGRESSORS:
                raise FormulaError(f"{count} regressors", *position, (f"at most {limits.MAX_REGRESSORS}",))
        return checked

    def convert(self, operator: Operator, parameter: Parameter, term: Term, place: tuple[int, int]) -> Term:
        where = f"argument {parameter.name} of {operator.name}"
        if parameter.kind in ("integer", "number"):
            if term.kind != "number" or term.type != NUMBER or math.isnan(term.value):
                raise FormulaError(f"{where} is not a constant", *place, (f"a constant {parameter.kind}",))
            if parameter.kind == "number":
                return term
            return self.number(float(self.whole(term, where, operator.least(parameter), place)), place)
        if parameter.kind == "group":
            if term.type != GROUP:
                raise FormulaError(f"{where} is a {term.type}", *place, tuple(sorted(names.GROUPS)))
            return term
        if term.type == GROUP:
            raise FormulaError(f"{where} is the group {term.name}", *place, ("a " + parameter.kind,))
        if parameter.kind == "bool" and term.type != BOOL:
            raise FormulaError(f"{where} is a {term.type}", *place, ("a comparison or other bool",))
        return term

    def whole(self, term: Term, where: str, least: int, place: tuple[int, int]) -> int:
        rule = {"floor": math.floor, "round": lambda v: math.floor(v + 0.5), "ceil": math.ceil}
        value = int(rule[self.conventions.window_fraction](term.value)) if abs(term.value) < 1e9 else 10**9
        if not least <= value <= limits.MAX_WINDOW_ROWS:
            raise FormulaError(f"{where} is {term.value:g}", *place, (f"{least} to {limits.MAX_WINDOW_ROWS}",))
        return value

    def setting(self, operator: Operator, tree: Any) -> tuple[str, Any]:
        key, body = str(tree.children[0]).lower(), tree.children[1]
        position = _at(tree)
        if key not in operator.settings:
            raise FormulaError(
                f"{operator.name} takes no keyword argument {key!r}", *position, operator.settings or ("none",)
            )
        text = str(body.children[-1]).strip('"').lower()
        if key in ("seed", "reset"):
            allowed = ("mean", "first") if key == "seed" else ("never", "month", "year", "session")
            if text not in allowed:
                raise FormulaError(f"{key} is {text!r}", *position, allowed)
            return key, text
        try:
            value = float(text)
        except ValueError:
            raise FormulaError(f"{key} is {text!r}", *position, ("a whole number",)) from None
        if len(body.children) > 1 or value != int(value) or value > limits.MAX_WINDOW_ROWS:
            raise FormulaError(f"{key} is {text!r}", *position, ("a whole number >= 0",))
        return key, int(value)

    def window_settings(
        self, operator: Operator, args: list[Term], settings: tuple[tuple[str, Any], ...], position: tuple[int, int]
    ) -> None:
        chosen = dict(settings)
        if "min_periods" not in chosen:
            return
        window = next((int(a.value) for p, a in zip(operator.parameters, args, strict=False) if p.name == "d"), 0)
        if not 1 <= chosen["min_periods"] <= window:
            raise FormulaError(f"min_periods is {chosen['min_periods']}", *position, (f"1 to {window}",))


def _at(tree: Any) -> tuple[int, int]:
    if isinstance(tree, Token):
        return (tree.line or 1, tree.column or 1)
    return (getattr(tree.meta, "line", 1), getattr(tree.meta, "column", 1))


def syntax_tree(text: str) -> Tree[Token]:
    """Read a formula into the tree of the grammar, names as they stand.

    Raises
    ------
    FormulaError
    """
    if len(text) > limits.MAX_TEXT_CHARS:
        raise FormulaError(f"the text has {len(text)} characters", 1, 1, (f"at most {limits.MAX_TEXT_CHARS}",))
    try:
        return _grammar().parse(text)
    except UnexpectedInput as error:
        raise _syntax_error(error, text) from None


def parse(
    text: str,
    conventions: Conventions = PAPER,
    *,
    definitions: Mapping[str, Expression] | None = None,
    extra_fields: Collection[str] = (),
) -> Expression:
    """Read a formula into a typed tree.

    Parameters
    ----------
    text : str
        The formula.
    conventions : Conventions
        Decide fractional windows and the meaning of `max(x, 5)`; carried for the compiler.
    definitions : mapping of str to Expression, optional
        Names that stand for other formulas.
    extra_fields : collection of str
        Fields of the caller's panel beyond the known ones.

    Raises
    ------
    FormulaError
        With line, column and what was expected.
    """
    tree = syntax_tree(text)
    root = _Reader(conventions, definitions or {}, extra_fields).formula(tree)
    if root.type == GROUP:
        raise FormulaError("the formula is a group", *root.position, ("a panel",))
    return Expression(text, root, conventions)
