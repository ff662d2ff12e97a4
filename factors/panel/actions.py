"""Corporate actions: prices, volumes and shares adjusted forward, so that a new split changes no day before it.

With split ratio ``s`` (new shares for an old one) and cash dividend ``d`` a share, both on the ex-date, the factors of
a name begin at 1 and grow by

    price factor    P(t) = P(t-1) s(t) (1 + d(t) / close(t))
    share factor    S(t) = S(t-1) s(t)

An adjusted price is the raw one times ``P``, adjusted volume and shares are the raw ones over ``S``. The change of the
adjusted close is then the total return: ``(close(t) + d(t)) s(t) / close(t-1) - 1``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError
from factors.panel.panel import Array, Panel
from factors.panel.splits import CarriedSplits, Splits, before_factor

ACTIONS = ("split_ratio", "dividend", "adjustment_factor")
PRICES = ("open", "high", "low", "close", "vwap")
COUNTS = ("volume", "shares")
MADE = ("shares", "amount")
"""Fields that are made of raw prices where the table does not have them."""
RAW = {name: f"raw_{name}" for name in (*PRICES, *COUNTS)}


@dataclass(frozen=True)
class Adjustment:
    """The factors of each name after the last day, float64 [n_assets]; what the next day goes on from.

    Attributes
    ----------
    price, shares : factors of prices, and of numbers of shares
    owed : dividends of days without a close, which the next close is adjusted by
    close, raw_close : the last close, adjusted and raw; NaN before the first
    """

    price: Array = field(default_factory=lambda: np.empty(0))
    shares: Array = field(default_factory=lambda: np.empty(0))
    owed: Array = field(default_factory=lambda: np.empty(0))
    close: Array = field(default_factory=lambda: np.empty(0))
    raw_close: Array = field(default_factory=lambda: np.empty(0))

    def of(self, n_assets: int) -> Adjustment:
        """Give the same with room for new names at the end."""
        new = n_assets - len(self.price)
        if not new:
            return self
        fill = {"price": 1.0, "shares": 1.0, "owed": 0.0, "close": np.nan, "raw_close": np.nan}
        return Adjustment(**{n: np.concatenate([getattr(self, n), np.full(new, fill[n])]) for n in fill})

    @cached_property
    def is_none(self) -> bool:
        """Whether no price and no number of shares was adjusted so far."""
        return bool((self.price == 1.0).all() and (self.shares == 1.0).all())

    def state(self) -> dict[str, NDArray[Any]]:
        """Give everything as arrays."""
        return {name: getattr(self, name) for name in ("price", "shares", "owed", "close", "raw_close")}

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> Adjustment:
        """Take up what `state` gave."""
        return cls(**{name: np.array(values) for name, values in state.items()})


def adjusted(panel: Panel, before: Adjustment, how: str) -> tuple[Panel, Adjustment]:
    """Adjust the next days of a panel.

    Parameters
    ----------
    panel : Panel
        Raw prices (open, high, low, close, vwap), volume and shares, and `split_ratio`, `dividend` or
        `adjustment_factor` where there are any. Names that are new stand at the end of the asset axis.
    before : Adjustment
        After the day before.
    how : "actions", "splits", "from_returns" or "none"
        With "from_returns" the close follows the total returns, from the first close on; where a return is missing, the
        close as it is.

    Returns
    -------
    panel : Panel
        With raw fields beside the adjusted ones (`raw_close`, ...) where something was asked for that adjusts; `amount`
        and `shares`, where missing, of the raw prices.
    after : Adjustment

    Raises
    ------
    FactorError
        A split ratio or factor that is not positive, or a negative dividend; names the rows.
    """
    given = [name for name in ACTIONS if name in panel.fields]
    if how == "none" or "close" not in panel.fields or not (given or how == "from_returns"):
        return panel, before.of(panel.n_assets)
    refuse_impossible(panel)
    before = before.of(panel.n_assets)
    # A panel that was adjusted before is taken as it was then.
    fields = {name: panel.fields.get(RAW.get(name, ""), values) for name, values in panel.fields.items()}
    close = fields["close"]
    split = _or(fields.get("split_ratio"), 1.0, close.shape)
    shares = _grown(before.shares, split)
    if how == "from_returns":
        price, after = _from_returns(close, fields["returns"], before)
    elif "adjustment_factor" in fields:
        price, after = _carried(fields["adjustment_factor"], before.price), before
        shares = shares if "split_ratio" in fields else price
    else:
        dividend = _or(fields.get("dividend") if how == "actions" else None, 0.0, close.shape)
        owed = _paid_later(dividend, close, before.owed)
        price = _grown(
            before.price, split * (1.0 + np.divide(dividend, close, out=np.zeros_like(close), where=close > 0))
        )
        after = replace(before, owed=owed)
    wanted = [name for name in MADE if name not in fields and (name != "shares" or how != "from_returns")]
    fields |= made_of(fields, wanted)
    for names, factor, up in ((PRICES, price, True), (COUNTS, shares, False)):
        for name in names:
            if name in fields:
                fields[RAW[name]] = fields[name]
                fields[name] = fields[name] * factor if up else fields[name] / factor
    after = replace(after, price=price[-1].copy(), shares=shares[-1].copy())
    return replace(panel, fields=fields), after


def over_splits(panel: Panel, before: Adjustment, splits: Splits) -> tuple[Panel, Adjustment]:
    """Carry shares over splits that no column tells of, and prices and volumes where they jumped with the shares.

    Parameters
    ----------
    panel : Panel
    before : Adjustment
        After the day before.
    splits : Splits
        Those found in these days.
    """
    before = before.of(panel.n_assets)
    if not len(splits.columns) and before.is_none:
        return panel, before
    touched = (before.shares != 1.0) | (before.price != 1.0)
    touched[splits.columns] = True
    columns = np.flatnonzero(touched)
    if not len(columns):
        return panel, before
    place = {column: number for number, column in enumerate(columns.tolist())}
    growths = np.ones((2, panel.n_dates, len(columns)))
    for row, column, ratio, raw in zip(splits.rows, splits.columns, splits.ratios, splits.raw_prices, strict=True):
        growths[0, row, place[int(column)]] = ratio
        growths[1, row, place[int(column)]] = ratio if raw else 1.0
    shares, price = (_grown(b[columns], g) for b, g in zip((before.shares, before.price), growths, strict=True))
    fields = dict(panel.fields)
    changes = [("shares", 1.0 / shares), ("volume", 1.0 / price), *((name, price) for name in PRICES)]
    for name, factor in changes:
        if name in fields:
            values = fields[name].copy()
            values[:, columns] *= factor
            fields[name] = values
    after = replace(before, price=before.price.copy(), shares=before.shares.copy())
    after.price[columns], after.shares[columns] = price[-1], shares[-1]
    return replace(panel, fields=fields), after


def not_over_splits(panel: Panel, splits: CarriedSplits) -> Panel:
    """Give a panel as it came before `over_splits`; what goes over the same splits again is the same to the bit."""
    fields = dict(panel.fields)
    for column, (shares, price) in splits.factors(panel.dates).items():
        changes = [("shares", 1.0 / shares), ("volume", 1.0 / price), *((name, price) for name in PRICES)]
        for name, factor in changes:
            if name in fields and (factor != 1.0).any():
                values = fields[name].copy()
                values[:, column] = before_factor(values[:, column], factor)
                fields[name] = values
    return replace(panel, fields=fields)


def _grown(before: Array, growth: Array) -> Array:
    """Multiply day after day, in their order, from what was before, so that a batch and single days agree."""
    growth = growth.copy()
    growth[0] *= before
    return np.asarray(np.cumprod(growth, axis=0), dtype=np.float64)


def _or(values: Array | None, missing: float, shape: tuple[int, ...]) -> Array:
    return np.full(shape, missing) if values is None else np.where(np.isnan(values), missing, values)


def _carried(factor: Array, before: Array) -> Array:
    """Carry a factor over the days that lack it."""
    out = factor.copy()
    out[0] = np.where(np.isnan(out[0]), before, out[0])
    for t in range(1, len(out)):
        out[t] = np.where(np.isnan(out[t]), out[t - 1], out[t])
    return out


def _paid_later(dividend: Array, close: Array, owed: Array) -> Array:
    """Move dividends of days without a close to the next one with a close, in place; give what is owed at the end."""
    dividend[0] += owed
    if not ((dividend > 0.0) & ~(close > 0.0)).any():
        return np.zeros(dividend.shape[1])
    for t in range(len(dividend) - 1):
        late = (dividend[t] > 0.0) & ~(close[t] > 0.0)
        dividend[t + 1, late] += dividend[t, late]
        dividend[t, late] = 0.0
    last = (dividend[-1] > 0.0) & ~(close[-1] > 0.0)
    left = np.where(last, dividend[-1], 0.0)
    dividend[-1, last] = 0.0
    return left


def _from_returns(close: Array, returns: Array, before: Adjustment) -> tuple[Array, Adjustment]:
    """Give the price factors under which the close follows the returns, and the last closes."""
    price = np.empty(close.shape)
    level, raw, factor = before.close.copy(), before.raw_close.copy(), before.price.copy()
    for t in range(len(close)):
        growth = np.where(np.isnan(returns[t]), close[t] / raw, 1.0 + returns[t])
        there = close[t] > 0.0
        # Returns of days without a close are kept in the level, which the next close is put at.
        level = np.where(
            np.isnan(level), np.where(there, close[t], np.nan), np.where(np.isnan(growth), level, level * growth)
        )
        factor = np.where(there & (level > 0.0), level / close[t], factor)
        raw = np.where(there, close[t], raw)
        price[t] = factor
    return price, replace(before, close=level, raw_close=raw)


def made_of(fields: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
    """Give, of the fields `MADE`, those that are asked for and can be made of raw prices.

    `amount` is the money that changed hands at raw prices, which no adjustment changes.
    """
    found: dict[str, Array] = {}
    if "shares" in names and {"market_cap", "close"} <= fields.keys():
        close = fields["close"]
        found["shares"] = np.divide(fields["market_cap"], close, out=np.full_like(close, np.nan), where=close > 0.0)
    if "amount" in names and {"vwap", "volume"} <= fields.keys():
        found["amount"] = fields["vwap"] * fields["volume"]
    elif "amount" in names and {"high", "low", "close", "volume"} <= fields.keys():
        found["amount"] = (fields["high"] + fields["low"] + fields["close"]) / 3.0 * fields["volume"]
    return found


def refuse_impossible(panel: Panel) -> None:
    """Raise for split ratios and factors that are not positive, and for negative dividends.

    Raises
    ------
    FactorError
        By column, with the first rows.
    """
    none = "positive; where there is none it is 1 or missing"  # some vendors write 0
    for name, words in (("split_ratio", none), ("adjustment_factor", "positive"), ("dividend", "0 or more")):
        if name in panel.fields:
            values = panel.fields[name]
            bad = np.argwhere(values < 0.0 if name == "dividend" else values <= 0.0)
            if len(bad):
                rows = [(panel.dates[row], panel.symbols[column]) for row, column in bad[:10]]
                raise FactorError(f"'{name}' must be {words}", field=name, rows=rows, n_rows=len(bad))
