"""A slow, plain evaluator of the published GTJA191 text, written only for the tests.

It shares nothing with the library: its own tokeniser, its own parser of the published notation (upper-case names,
``?:``, ``&``, ``|``, ``^``) and straight numpy loops, one window at a time. Run as a script:

    python gtja_plain.py FORMULAS.txt PANEL.npz OUT.npz

``FORMULAS.txt`` has one ``AlphaN TEXT`` a line (a leading ``#`` marks those that others left out; they are evaluated
too). ``PANEL.npz`` holds ``[n_dates, n_assets]`` arrays under the published field names (OPEN, CLOSE, ..., RET,
BANCHMARKINDEXCLOSE, MKT, SMB, HML). ``OUT.npz`` gets one array a formula under its number.

Conventions, those of the report where it states one: STD is the sample standard deviation, COVIANCE the sample
covariance, RANK and TSRANK are the average rank over the count, SMA(A, n, m) starts at the first valid A, WMA weighs
by 0.9 ^ age, DECAYLINEAR weighs the newest most, MAX and MIN with a number above 1 as second argument are rolling,
a window with a missing value is missing, a comparison with a missing side is missing, division by zero is missing, a
conditional is missing until its longest branch has its rows since the name listed, RANK is among the names that have a
row on the date, HIGHDAY and LOWDAY count from the latest of equal extremes.
"""

import re
import sys
from pathlib import Path

import numpy as np

# Misprints that cannot be evaluated as printed, or that contradict their own name: number -> text put right.
RETURN = "(CLOSE/DELAY(CLOSE,1)-1)"
DEVIATION = "(BANCHMARKINDEXCLOSE-MEAN(BANCHMARKINDEXCLOSE,20))"
EXCESS = "((CLOSE/DELAY(CLOSE,1)-1)-((CLOSE/DELAY(CLOSE,19))^(1/20)-1))"
CORRECTED = {
    21: "REGBETA(MEAN(CLOSE,6),SEQUENCE(6),6)",
    28: (
        "3*SMA((CLOSE-TSMIN(LOW,9))/(TSMAX(HIGH,9)-TSMIN(LOW,9))*100,3,1)"
        "-2*SMA(SMA((CLOSE-TSMIN(LOW,9))/(TSMAX(HIGH,9)-TSMIN(LOW,9))*100,3,1),3,1)"
    ),
    30: f"WMA((REGRESI({RETURN},MKT,SMB,HML,60))^2,20)",
    116: "REGBETA(CLOSE,SEQUENCE(20),20)",
    143: f"SUM((CLOSE>DELAY(CLOSE,1)?LOG({RETURN}):0),250)",
    144: f"SUMIF(ABS({RETURN})/AMOUNT,20,CLOSE<DELAY(CLOSE,1))/COUNT(CLOSE<DELAY(CLOSE,1),20)",
    146: (
        f"MEAN({RETURN}-SMA({RETURN},61,2),20)*({RETURN}-SMA({RETURN},61,2))"
        f"/SMA(({RETURN}-({RETURN}-SMA({RETURN},61,2)))^2,61,2)"
    ),
    147: "REGBETA(MEAN(CLOSE,12),SEQUENCE(12),12)",
    149: (
        "FILTERBETA(CLOSE/DELAY(CLOSE,1)-1,BANCHMARKINDEXCLOSE/DELAY(BANCHMARKINDEXCLOSE,1)-1,"
        "BANCHMARKINDEXCLOSE<DELAY(BANCHMARKINDEXCLOSE,1),252)"
    ),
    165: "SUMACRANGE(CLOSE-MEAN(CLOSE,48),48)/STD(CLOSE,48)",
    166: f"-1*SKEW({RETURN},20)",
    181: f"SUM(({RETURN}-MEAN({RETURN},20))-{DEVIATION}^2,20)/SUM({DEVIATION}^3,20)",
    183: "SUMACRANGE(CLOSE-MEAN(CLOSE,24),24)/STD(CLOSE,24)",
    190: (
        f"LOG(((COUNT({EXCESS}>0,20)-1)*SUMIF({EXCESS}^2,20,{EXCESS}<0))"
        f"/(COUNT({EXCESS}<0,20)*SUMIF({EXCESS}^2,20,{EXCESS}>0)))"
    ),
}
SUBSTITUTIONS = [
    (r"\bHGIH\b", "HIGH"),
    (r"\bMA\(", "MEAN("),
    (r"\bVOL\b", "VOLUME"),
    (r"\bDTM\b", "(OPEN<=DELAY(OPEN,1)?0:MAX(HIGH-OPEN,OPEN-DELAY(OPEN,1)))"),
    (r"\bDBM\b", "(OPEN>=DELAY(OPEN,1)?0:MAX(OPEN-LOW,OPEN-DELAY(OPEN,1)))"),
    (r"\bTR\b", "MAX(MAX(HIGH-LOW,ABS(HIGH-DELAY(CLOSE,1))),ABS(LOW-DELAY(CLOSE,1)))"),
    (r"\bHD\b", "(HIGH-DELAY(HIGH,1))"),
    (r"\bLD\b", "(DELAY(LOW,1)-LOW)"),
]
TOKEN = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)|([A-Za-z_]\w*)|(<=|>=|==|\|\||&&|[-+*/^<>?:&|(),]))")


def tokenize(text):
    tokens, position = [], 0
    text = text.strip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unexpected {text[position]!r} at {position} of {text!r}")
        number, name, symbol = match.groups()
        tokens.append(("number", float(number)) if number else ("name", name) if name else ("symbol", symbol))
        position = match.end()
    return [*tokens, ("symbol", "end")]


class Parser:
    """Recursive descent, loosest binding first: ?:, |, &, comparison, sum, product, sign, power."""

    LEVELS = (("|", "||"), ("&", "&&"), ("<", ">", "<=", ">=", "=="), ("+", "-"), ("*", "/"))

    def __init__(self, text):
        self.tokens = tokenize(text)
        self.at = 0

    def take(self, *symbols):
        kind, value = self.tokens[self.at]
        if kind == "symbol" and value in symbols:
            self.at += 1
            return value
        return None

    def need(self, symbol):
        if not self.take(symbol):
            raise ValueError(f"expected {symbol!r}, found {self.tokens[self.at]}")

    def parse(self):
        tree = self.ternary()
        self.need("end")
        return tree

    def ternary(self):
        condition = self.binary(0)
        if not self.take("?"):
            return condition
        yes = self.ternary()
        self.need(":")
        return ("?", condition, yes, self.ternary())

    def binary(self, level):
        if level == len(self.LEVELS):
            return self.sign()
        left = self.binary(level + 1)
        while symbol := self.take(*self.LEVELS[level]):
            left = (symbol[0] if symbol in ("||", "&&") else symbol, left, self.binary(level + 1))
        return left

    def sign(self):
        if self.take("-"):
            return ("negative", self.sign())
        return self.power()

    def power(self):
        base = self.atom()
        return ("^", base, self.sign()) if self.take("^") else base

    def atom(self):
        kind, value = self.tokens[self.at]
        if self.take("("):
            tree = self.ternary()
            self.need(")")
            return tree
        if kind == "symbol":
            raise ValueError(f"unexpected {value!r}")
        self.at += 1
        if kind == "number":
            return ("number", value)
        if not self.take("("):
            return ("field", value)
        arguments = [self.ternary()]
        while self.take(","):
            arguments.append(self.ternary())
        self.need(")")
        return (value.upper(), *arguments)


def windowed(function, n, *arrays):
    """Apply ``function`` to every full window of n rows; a column with a gap in the window is missing."""
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    arrays = [np.broadcast_to(a, shape) for a in arrays]
    out = np.full(shape, np.nan)
    for t in range(n - 1, shape[0]):
        windows = [a[t - n + 1 : t + 1] for a in arrays]
        whole = np.all([np.isfinite(w).all(axis=0) for w in windows], axis=0)
        if whole.any():
            out[t, whole] = function(*(w[:, whole] for w in windows))
    return out


def average_rank(values):
    """Average ranks 1..k of one row's finite values, over k."""
    out = np.full(values.shape, np.nan)
    finite = np.isfinite(values)
    kept = values[finite]
    below = (kept < kept[:, None]).sum(axis=1)
    same = (kept == kept[:, None]).sum(axis=1)
    out[finite] = (below + (same + 1) / 2) / max(kept.size, 1)
    return out


def last_rank(w):
    return ((w < w[-1]).sum(axis=0) + ((w == w[-1]).sum(axis=0) + 1) / 2) / len(w)


def correlation(x, y):
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    sxx, syy = (dx * dx).sum(axis=0), (dy * dy).sum(axis=0)
    flat = (np.ptp(x, axis=0) == 0) | (np.ptp(y, axis=0) == 0)
    return np.where(flat, np.nan, (dx * dy).sum(axis=0) / np.where(flat, 1.0, np.sqrt(sxx * syy)))


def covariance(x, y):
    return ((x - x.mean(axis=0)) * (y - y.mean(axis=0))).sum(axis=0) / (len(x) - 1)


def skewness(w):
    n, d = len(w), w - w.mean(axis=0)
    return n * (n - 1) ** 1.5 * (d**3).sum(axis=0) / ((n - 1) * (n - 2) * (d * d).sum(axis=0) ** 1.5)


def weighted(weights):
    return lambda w: (weights[:, None] * w).sum(axis=0) / weights.sum()


def regression_residual(y, *x):
    """Residual of the newest row of a least-squares fit with intercept, column by column."""
    out = np.empty(y.shape[1])
    for j in range(y.shape[1]):
        design = np.column_stack([np.ones(len(y)), *(v[:, j] for v in x)])
        coefficients = np.linalg.lstsq(design, y[:, j], rcond=None)[0]
        out[j] = y[-1, j] - design[-1] @ coefficients
    return out


def filtered_beta(y, x, kept, n, least=50):
    """Slope of y on x over those of the last n rows that are kept, at least so many of them."""
    out = np.full(y.shape, np.nan)
    usable = (kept == 1) & np.isfinite(x) & np.isfinite(y)
    for t, j in np.ndindex(y.shape):
        rows = slice(max(0, t - n + 1), t + 1)
        xs, ys = x[rows, j][usable[rows, j]], y[rows, j][usable[rows, j]]
        if xs.size >= least:
            out[t, j] = ((xs - xs.mean()) * (ys - ys.mean())).sum() / ((xs - xs.mean()) ** 2).sum()
    return out


def sma(a, n, m):
    """Y_t = (m A_t + (n - m) Y_t-1) / n, started at the first valid value; a gap leaves the state as it was."""
    out = np.full(a.shape, np.nan)
    state = np.full(a.shape[1], np.nan)
    for t, row in enumerate(a):
        present = np.isfinite(row)
        state = np.where(present, np.where(np.isnan(state), row, (m * row + (n - m) * state) / n), state)
        out[t, present] = state[present]
    return out


def compare(symbol, a, b):
    result = {"<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal, "==": np.equal}[symbol](a, b)
    return np.where(np.isnan(a) | np.isnan(b), np.nan, result.astype(float))


SERIES = {"BANCHMARKINDEXCLOSE", "BANCHMARKINDEXOPEN", "MKT", "SMB", "HML"}


def fields_of(tree):
    """Fields that a text reads."""
    if tree[0] == "field":
        return {tree[1]}
    return set().union(*(fields_of(part) for part in tree[1:] if isinstance(part, tuple)))


def lookback(tree):
    """Rows before today that the text reads: none of its conditionals speaks before that many have passed."""
    parts = [part for part in tree[1:] if isinstance(part, tuple)]
    below = max((lookback(part) for part in parts), default=0)
    if tree[0] in {"DELAY", "DELTA"}:
        return below + int(tree[2][1])
    rolling = tree[0] not in {"SMA", "MAX", "MIN"} and tree[0].isalpha() and len(tree) > 2
    if rolling or (tree[0] in {"MAX", "MIN"} and tree[2][0] == "number" and tree[2][1] > 1):
        return below + int(max(part[1] for part in tree[2:] if part[0] == "number")) - 1
    return below


class Evaluator:
    """Evaluate parsed trees over a panel, remembering every subtree."""

    def __init__(self, panel):
        self.panel = panel
        self.shape = panel["CLOSE"].shape
        self.memo = {}

    def __call__(self, tree):
        if tree not in self.memo:
            with np.errstate(all="ignore"):
                value = np.broadcast_to(np.asarray(self.compute(tree), dtype=float), self.shape)
            self.memo[tree] = np.where(np.isfinite(value), value, np.nan)
        return self.memo[tree]

    def compute(self, tree):
        head = tree[0]
        if head == "number":
            return tree[1]
        if head == "field":
            return self.panel[tree[1]]
        if head == "?":
            condition, yes, no = (self(part) for part in tree[1:])
            chosen = np.where(np.isnan(condition), np.nan, np.where(condition != 0, yes, no))
            listed = self.together(tree)
            first = np.where(listed.any(axis=0), listed.argmax(axis=0), len(listed))
            chosen[np.arange(len(listed))[:, None] < first + lookback(tree)] = np.nan
            return chosen
        if head in {"<", ">", "<=", ">=", "=="}:
            return compare(head, self(tree[1]), self(tree[2]))
        if head in {"&", "|"}:
            a, b = self(tree[1]), self(tree[2])
            joined = (a != 0) & (b != 0) if head == "&" else (a != 0) | (b != 0)
            return np.where(np.isnan(a) | np.isnan(b), np.nan, joined.astype(float))
        if head in {"+", "-", "*", "/", "^"}:
            a, b = self(tree[1]), self(tree[2])
            if head == "/":
                return np.where(b == 0, np.nan, a / np.where(b == 0, 1.0, b))
            value = {"+": np.add, "-": np.subtract, "*": np.multiply, "^": np.power}[head](a, b)
            return np.where(np.isnan(a) | np.isnan(b), np.nan, value)  # numpy says 1 ^ NaN = 1
        if head == "negative":
            return -self(tree[1])
        return self.call(head, tree[1:])

    def own(self, tree):
        """Where each of the name's own fields below a tree is there."""
        names = fields_of(tree) - SERIES
        return [np.isfinite(self.panel[name]) for name in sorted(names)] or [np.ones(self.shape, bool)]

    def together(self, tree):
        return np.all(self.own(tree), axis=0)

    def call(self, name, arguments):
        first = self(arguments[0])
        elementwise = {"ABS": np.abs, "LOG": lambda a: np.log(np.where(a > 0, a, np.nan)), "SIGN": np.sign}
        if name in elementwise:
            return elementwise[name](first)
        if name == "RANK":
            here = np.any(self.own(arguments[0]), axis=0)
            return np.array([average_rank(row) for row in np.where(here, first, np.nan)])
        if name in {"MAX", "MIN"}:
            kind, value = arguments[1][0], arguments[1][1]
            if kind == "number" and value > 1:  # MAX(x, 0) is elementwise, MAX(x, 12) rolling
                return self.call(f"TS{name}", arguments)
            second = self(arguments[1])
            return (np.maximum if name == "MAX" else np.minimum)(first, second)
        if name in {"CORR", "COVIANCE"}:
            function = correlation if name == "CORR" else covariance
            return windowed(function, int(arguments[2][1]), first, self(arguments[1]))
        if name == "REGRESI":
            *factors, n = arguments[1:]
            return windowed(regression_residual, int(n[1]), first, *(self(f) for f in factors))
        if name == "FILTERBETA":
            return filtered_beta(first, self(arguments[1]), self(arguments[2]), int(arguments[3][1]))
        if name == "REGBETA":
            n = int(arguments[2][1])
            step = np.arange(1.0, n + 1) - (n + 1) / 2
            return windowed(lambda w: (step[:, None] * w).sum(axis=0) / (step * step).sum(), n, first)
        if name == "SUMIF":
            kept = np.where(self(arguments[2]) != 0, first, 0.0) + 0.0 * self(arguments[2]) + 0.0 * first
            return windowed(lambda w: w.sum(axis=0), int(arguments[1][1]), kept)
        if name == "SMA":
            return sma(first, arguments[1][1], arguments[2][1])
        return self.rolling(name, first, int(arguments[1][1]))

    def rolling(self, name, first, n):
        if name in {"DELAY", "DELTA"}:
            past = np.full(first.shape, np.nan)
            past[n:] = first[: first.shape[0] - n]
            return past if name == "DELAY" else first - past
        ages = np.arange(n - 1, -1, -1)
        functions = {
            "SUM": lambda w: w.sum(axis=0),
            "MEAN": lambda w: w.mean(axis=0),
            "STD": lambda w: w.std(axis=0, ddof=1),
            "TSMAX": lambda w: w.max(axis=0),
            "TSMIN": lambda w: w.min(axis=0),
            "PROD": lambda w: w.prod(axis=0),
            "COUNT": lambda w: (w != 0).sum(axis=0),
            "TSRANK": last_rank,
            "SKEW": skewness,
            "DECAYLINEAR": weighted(n - ages.astype(float)),
            "WMA": weighted(0.9**ages),
            "SUMACRANGE": lambda w: np.ptp(np.cumsum(w, axis=0), axis=0),
            "HIGHDAY": lambda w: w[::-1].argmax(axis=0),
            "LOWDAY": lambda w: w[::-1].argmin(axis=0),
        }
        return windowed(functions[name], n, first)


def published(path):
    """Number -> text as published, misprints put right."""
    texts = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        match = re.match(r"\s*(?:#\s*)?Alpha(\d+)\s+(.*)", line)
        if match:
            texts[int(match[1])] = match[2].strip()
    texts |= CORRECTED
    for pattern, replacement in SUBSTITUTIONS:
        texts = {number: re.sub(pattern, replacement, text) for number, text in texts.items()}
    return texts


def main(formulas, panel, out):
    with np.load(panel) as arrays:
        evaluate = Evaluator({name: arrays[name] for name in arrays.files})
    results = {str(number): evaluate(Parser(text).parse()) for number, text in published(formulas).items()}
    np.savez(out, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
