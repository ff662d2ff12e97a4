"""What each time-series operator becomes in the graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from factors.library.compile.graph import Ref
from factors.library.compile.registry import BUILDERS, Builder, Settings
from factors.library.kernels.layout import Op
from factors.library.language.errors import FormulaError

if TYPE_CHECKING:
    from factors.library.compile.lowering import Lowering

# Windows above this use the block sums of kernels/long.py, at or below it the window is read directly.
LONG_WINDOW_ROWS = 64
_ARGMAX_BASIS = {"oldest_1": 0, "oldest_0": 1, "days_ago": 2}
_RANK_SCALE = {"pct": 0, "unit": 1, "count": 2}
_RANK_TIES = {"average": 0, "min": 1, "max": 2}


def _delay(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, d = args
    lowering.graph.warmup(x)
    return x if lowering.constant_value(x) is not None else Ref(x.node, x.lag + d)


def _delta(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    return lowering.element(Op.SUB, args[0], _delay(lowering, args, {}))


def _pct_change(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    ratio = lowering.element(Op.DIV, args[0], _delay(lowering, args, {}))
    return lowering.element(Op.SUB, ratio, lowering.number(1.0))


BUILDERS["delay"] = _delay
BUILDERS["delta"] = _delta
BUILDERS["pct_change"] = _pct_change


def _sum(mode: int) -> Builder:
    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        x, d = args
        if d == 1:
            return Ref(*x)
        op = Op.LONG_SUM if d > LONG_WINDOW_ROWS else Op.SUM
        return lowering.window(op, (x,), d, settings, mode=mode)

    return build


BUILDERS["sum"] = _sum(0)
BUILDERS["count"] = _sum(0)
BUILDERS["mean"] = _sum(1)


def _sumif(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
    x, d, c = args
    return _sum(0)(lowering, [lowering.where(c, x, lowering.number(0.0)), d], settings)


BUILDERS["sumif"] = _sumif


def _moment(mode: int, biased: int = 0) -> Builder:
    """Variance 0, standard deviation 1, skewness 2, its biased form 3, kurtosis 4, 5, z-score 6."""

    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        x, d = args
        kind = biased if biased and settings.get("bias") == 1 else mode
        ddof = settings.get("ddof", lowering.conventions.ddof)
        least = {2: 3, 4: 4}.get(mode, 1)
        if kind <= 1 and d > LONG_WINDOW_ROWS:
            variance = lowering.window(Op.LONG_PAIR, (x, x), d, settings, mode=1, more=(ddof, 0), floats=(0.0,))
            return variance if kind == 0 else lowering.element(Op.SQRT, variance)
        return lowering.window(Op.MOMENT, (x,), d, settings, mode=kind, more=(ddof, least))

    return build


BUILDERS["variance"] = _moment(0)
BUILDERS["stddev"] = _moment(1)
BUILDERS["skew"] = _moment(2, 3)
BUILDERS["kurt"] = _moment(4, 5)
BUILDERS["ts_zscore"] = _moment(6)


def _trend(mode: int) -> Builder:
    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        tolerance = lowering.conventions.corr_tolerance if mode == 2 else 0.0
        return lowering.window(Op.TREND, (args[0],), args[1], settings, mode=mode, floats=(tolerance,))

    return build


for _mode, _name in enumerate(("slope", "intercept", "rsquare", "resi", "forecast", "linreg")):
    BUILDERS[_name] = _trend(_mode)


def _extreme(mode: int) -> Builder:
    """Minimum 0, maximum 1, their positions 2, 3 (oldest on ties), rows since 4, 5 (latest on ties)."""

    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        x, d = args
        if d == 1 and mode < 2:
            return Ref(*x)
        basis = _ARGMAX_BASIS[lowering.conventions.argmax_basis]
        op = Op.LONG_EXTREME if d > LONG_WINDOW_ROWS else Op.EXTREME
        chosen = {"min_periods": d} if mode >= 4 else settings
        return lowering.window(op, (x,), d, chosen, mode=mode, more=(basis,))

    return build


for _mode, _name in enumerate(("ts_min", "ts_max", "ts_argmin", "ts_argmax", "lowday", "highday")):
    BUILDERS[_name] = _extreme(_mode)


def _ts_rank(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
    scale = _RANK_SCALE[lowering.conventions.ts_rank_scale]
    ties = _RANK_TIES[lowering.conventions.ts_rank_ties]
    return lowering.window(Op.TS_RANK, (args[0],), args[1], settings, mode=scale, more=(ties,))


BUILDERS["ts_rank"] = _ts_rank


def _quantile(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
    x, d, q = args
    if not 0.0 <= q <= 1.0:
        raise FormulaError(f"quantile {q:g}", expected=("0 to 1",))
    return lowering.window(Op.SORTED, (x,), d, settings, mode=0, more=(0,), floats=(q,))


def _median(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
    return _quantile(lowering, [*args, 0.5], settings)


def _mean_of(mode: int) -> Builder:
    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        x, d, k = args
        if k > d:
            raise FormulaError(f"k is {k} of {d} rows", expected=(f"1 to {d}",))
        return lowering.window(Op.SORTED, (x,), d, settings, mode=mode, more=(k,), floats=(0.0,))

    return build


BUILDERS["ts_quantile"] = _quantile
BUILDERS["median"] = _median
BUILDERS["mean_smallest"] = _mean_of(1)
BUILDERS["mean_largest"] = _mean_of(2)


def _weighted(lowering: Lowering, x: Ref, weights: tuple[float, ...]) -> Ref:
    total = math.fsum(weights)
    normal = tuple(w / total for w in weights)
    return lowering.strict(Op.WEIGHTED, (x,), len(normal), floats=normal)


def _decay_linear(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, d = args
    return Ref(*x) if d == 1 else _weighted(lowering, x, tuple(float(d - i) for i in range(d)))


def _wma(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, d, ratio = args
    if not 0.0 < ratio <= 1.0:
        raise FormulaError(f"ratio is {ratio:g}", expected=("a number in (0, 1]",))
    return _weighted(lowering, x, tuple(ratio**i for i in range(d)))


BUILDERS["decay_linear"] = _decay_linear
BUILDERS["wma"] = _wma


def _ew_one(mode: int) -> Builder:
    """Mean 0, sum 1, standard deviation 2."""

    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        x, d, half_life = args
        weights = half_life_weights(d, half_life)
        return lowering.window(Op.EW_ONE, (x,), d, settings, mode=mode, floats=weights)

    return build


def _ew_pair(mode: int) -> Builder:
    """Slope 2, intercept 3, residual standard deviation 6, as PAIR counts them."""

    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        y, x, d, half_life = args
        weights = half_life_weights(d, half_life)
        return lowering.window(Op.EW_PAIR, (y, x), d, settings, mode=mode, floats=weights)

    return build


BUILDERS["ew_mean"], BUILDERS["ew_sum"], BUILDERS["ew_std"] = _ew_one(0), _ew_one(1), _ew_one(2)
BUILDERS["ew_reg_slope"], BUILDERS["ew_reg_intercept"] = _ew_pair(2), _ew_pair(3)
BUILDERS["ew_reg_residual_std"] = _ew_pair(6)


def _pair(mode: int, ddof: int | None = None) -> Builder:
    """Correlation 0, covariance 1, slope 2, intercept 3, R2 4, today's residual 5, residual std 6."""

    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        y, x, d = args
        if mode <= 1 and y > x:
            y, x = x, y
        chosen = settings.get("ddof", lowering.conventions.ddof if ddof is None else ddof)
        zero = int(lowering.conventions.corr_zero_variance == "zero")
        op = Op.LONG_PAIR if d > LONG_WINDOW_ROWS else Op.PAIR
        tolerance = lowering.conventions.corr_tolerance if mode in (0, 4) else 0.0
        more = (chosen if mode in (1, 6) else 0, zero if mode == 0 else 0)
        return lowering.window(op, (y, x), d, settings, mode=mode, more=more, floats=(tolerance,))

    return build


for _mode, _name in enumerate(("corr", "cov", "reg_slope", "reg_intercept", "reg_r2", "reg_residual")):
    BUILDERS[_name] = _pair(_mode)
BUILDERS["reg_residual_std"] = _pair(6, 2)


def _residual_shape(mode: int) -> Builder:
    """Skewness of the residuals 0, coskewness 1."""

    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        return lowering.window(Op.RESIDUAL_SHAPE, (args[0], args[1]), args[2], settings, mode=mode)

    return build


BUILDERS["reg_residual_skew"], BUILDERS["coskew"] = _residual_shape(0), _residual_shape(1)


def _mreg(mode: int) -> Builder:
    """Slope k as mode k, intercept 0, R2 -1, today's residual -2, residual std -3, residual skewness -4."""

    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        which = mode
        if mode > 0:
            which, args = args[0], args[1:]
        d, *panels = args
        if which > len(panels) - 1:
            raise FormulaError(f"slope {which} of {len(panels) - 1} regressors", expected=("an existing one",))
        ddof = settings.get("ddof", len(panels)) if mode == -3 else 0
        op = Op.LONG_MREG if d > LONG_WINDOW_ROWS and mode != -4 else Op.MREG
        return lowering.window(op, tuple(panels), d, settings, mode=which, more=(ddof, len(panels)))

    return build


for _name, _mode in (
    ("slope", 1), ("intercept", 0), ("r2", -1), ("residual", -2), ("residual_std", -3), ("residual_skew", -4),
):  # fmt: skip
    BUILDERS["mreg_" + _name] = _mreg(_mode)


def _cum_range(mode: int) -> Builder:
    """Range 0, largest 1, smallest 2 of the sums over the last j*k rows, j = 1..n."""

    def build(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
        x, n, k = args
        return lowering.strict(Op.CUM_RANGE, (x,), n * k, mode=mode, more=(n, k))

    return build


BUILDERS["cum_range"], BUILDERS["cum_max"], BUILDERS["cum_min"] = _cum_range(0), _cum_range(1), _cum_range(2)


def _smoothed(lowering: Lowering, x: Ref, alpha: float, d: int, seed: str) -> Ref:
    """Exponential smoothing from the mean of the first d values, or from the first one."""
    rows = d if seed == "mean" else 1
    return lowering.graph.add(Op.EMA, (x,), ints=(0, rows), floats=(alpha,), warmup=rows - 1)


def _ema(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
    x, d = args
    return _smoothed(lowering, x, 2.0 / (d + 1.0), d, settings.get("seed", lowering.conventions.ema_seed))


def _wilder(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
    x, d = args
    return _smoothed(lowering, x, 1.0 / d, d, settings.get("seed", lowering.conventions.ema_seed))


def _sma(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
    x, n, m = args
    if m > n:
        raise FormulaError(f"m is {m} of n = {n}", expected=("m <= n",))
    return _smoothed(lowering, x, m / n, n, settings.get("seed", lowering.conventions.sma_seed))


def _ewm(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, alpha = args
    if not 0.0 < alpha <= 1.0:
        raise FormulaError(f"alpha is {alpha:g}", expected=("a number in (0, 1]",))
    return _smoothed(lowering, x, alpha, 1, "first")


def _kama(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, d, fast, slow = args
    constants = (2.0 / (fast + 1.0), 2.0 / (slow + 1.0))
    return lowering.graph.add(Op.KAMA, (x,), ints=(0, d), floats=constants, lookback=d, warmup=d)


def _sar(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    high, low, step, maximum = args
    return lowering.graph.add(Op.SAR, (high, low), floats=(step, maximum), warmup=1)


def _mama(mode: int) -> Builder:
    def build(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
        x, fast, slow = args
        return lowering.graph.add(Op.MAMA, (x,), ints=(mode,), floats=(fast, slow), warmup=32)

    return build


def _hilbert(mode: int, warmup: int) -> Builder:
    def build(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
        return lowering.graph.add(Op.HILBERT, (args[0],), ints=(mode,), warmup=warmup)

    return build


BUILDERS.update(
    ema=_ema,
    wilder=_wilder,
    sma=_sma,
    ewm=_ewm,
    kama=_kama,
    sar=_sar,
    mama=_mama(0),
    fama=_mama(1),
)
for _mode, _name in enumerate(
    ("dcperiod", "inphase", "quadrature", "dcphase", "sine", "leadsine", "trendline", "trendmode")
):
    BUILDERS["ht_" + _name] = _hilbert(_mode, 32 if _mode < 3 else 63)

_RESET = {"never": 0, "month": 1, "year": 2, "session": 3}


def _cumulate(mode: int) -> Builder:
    """Sum 0, product 1, maximum 2, minimum 3."""

    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        return lowering.graph.add(Op.CUMULATE, (args[0],), ints=(mode, _RESET[settings.get("reset", "never")]))

    return build


for _mode, _name in enumerate(("cumsum", "cumprod", "cummax", "cummin")):
    BUILDERS[_name] = _cumulate(_mode)


def _ffill(lowering: Lowering, args: list[Any], _: Settings) -> Ref:
    x, d = args
    return lowering.graph.add(Op.FFILL, (x,), ints=(0, d), lookback=d)


BUILDERS["ffill"] = _ffill


def half_life_weights(d: int, half_life: float) -> tuple[float, ...]:
    """Weights 0.5^(i / half_life), i rows ago.

    Raises
    ------
    FormulaError
        If the half-life is not positive.
    """
    if not half_life > 0.0:
        raise FormulaError(f"half_life is {half_life:g}", expected=("a number > 0",))
    return tuple(math.exp2(-i / half_life) for i in range(d))
