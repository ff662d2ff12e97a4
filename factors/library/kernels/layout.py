"""How an instruction of the plan is laid out, and the operation codes.

Everything a plan computes lives in one arena, a flat float64 array. A node owns a ring of `R` rows of `n` assets at
`off`: its value for row `t` of the panel is `arena[off + (t % R) * n:][:n]`. An operand is a ring and a lag, so a
delay costs nothing. An instruction is one row of an int64 table with the columns below; its numbers live in a float
table from `FC`, further operands as (off, R, lag) triples in another from `X`.

A peek runs the same instructions with other places of what is carried. `KEEP` numbers an asset are first copied from
`FROM` to `ST`, row by row or (`BY_ASSET`) asset by asset, so that those at `FROM` stay; a window of block sums, of
which a row changes little, has room for that from `SPARE` on. `LOCAL` is 1 where a name's value hangs on its own
fields alone.
"""

from __future__ import annotations

from enum import IntEnum

OP, MODE, W, MINP, P0, P1, OUT, OUTR = range(8)
I0, R0, L0, I1, R1, L1, I2, R2, L2, I3, R3, L3 = range(8, 20)
ST, FC, X, NX = 20, 21, 22, 23
FROM, KEEP, BY_ASSET, SPARE, LOCAL, WIDTH = range(24, 30)


class Op(IntEnum):
    """Operation codes: below 100 element by element, below 200 along time, from 200 across names."""

    COPY = 1
    NEG = 2
    ABS = 3
    SIGN = 4
    LOG = 5
    LOG10 = 6
    LOG1P = 7
    EXP = 8
    SQRT = 9
    FLOOR = 10
    CEIL = 11
    ROUND = 12
    SIN = 13
    COS = 14
    TAN = 15
    ATAN = 16
    TANH = 17
    INV = 18
    ISNAN = 19
    NOT = 20
    SQUARE = 21
    ADD = 30
    SUB = 31
    MUL = 32
    DIV = 33
    MOD = 34
    POW = 35
    SPOW = 36
    MAX = 37
    MIN = 38
    LT = 40
    LE = 41
    EQ = 42
    NE = 43
    AND = 44
    OR = 45
    COALESCE = 46
    WHERE = 50
    OUTPUT = 60
    # along time
    SUM = 100
    MOMENT = 101
    PAIR = 102
    RESIDUAL_SHAPE = 103
    TREND = 104
    EXTREME = 107
    TS_RANK = 108
    SORTED = 109
    WEIGHTED = 110
    EW_ONE = 111
    EW_PAIR = 112
    MREG = 113
    CUM_RANGE = 116
    LONG_SUM = 117
    LONG_PAIR = 118
    LONG_EXTREME = 119
    LONG_MREG = 120
    FOUND = 121
    EMA = 130
    KAMA = 132
    SAR = 133
    MAMA = 134
    HILBERT = 135
    CUMULATE = 136
    FFILL = 139
    AGE = 140
    FOUND_CARRY = 141
    # across names
    RANK = 200
    STANDARDIZE = 202
    WINSORIZE = 203
    GAUSS_RANK = 204
    BUCKET = 205
    CS_AGGREGATE = 206
    CS_QUANTILE = 207
    CS_WEIGHTED = 208
    CS_PAIR = 209
    CS_RESIDUAL = 210
    FOUND_ACROSS = 211
    GROUP = 220
    GROUP_WEIGHTED = 221
    GROUP_RANK = 222
    GROUP_MEDIAN = 223
    # leaves
    FIELD = 300
    CONSTANT = 301


def across_names(op: int) -> bool:
    """Whether the operation reads a whole date at once."""
    return Op.RANK <= op < Op.FIELD
