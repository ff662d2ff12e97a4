"""Series derived from a panel's fields, each row from the same row: what descriptors look back on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from factors.factor_model.settings import StyleSettings
from factors.panel.panel import Array
from factors.style.descriptors import log_positive, ratio

Fields = Mapping[str, Array]


@dataclass(frozen=True)
class Series:
    """A derived series.

    Attributes
    ----------
    needs : tuple of tuples of field names
        Alternatives: it can be made when all the fields of one of them are there.
    make : callable of the fields to float64 [n_new, n_assets]
    """

    needs: tuple[tuple[str, ...], ...]
    make: Callable[[Fields], Array]

    def available(self, names: set[str]) -> bool:
        """Say whether the fields suffice."""
        return any(set(needed) <= names for needed in self.needs)


def _log_return(fields: Fields) -> Array:
    growth = 1.0 + fields["returns"]
    # A total loss has no logarithm; the name is gone the day after.
    return np.log(growth, out=np.full_like(growth, np.nan), where=growth > 0.0)


# The cap as given, beside the smoothed one of `market_cap`.
CAP_OF_THE_DAY = "market_cap_of_the_day"


def _shares(fields: Fields) -> Array:
    """Shares outstanding of the day: USE4's turnover is volume over shares, so that no mean over days enters it."""
    if "shares" in fields:
        return fields["shares"]
    return ratio(fields.get(CAP_OF_THE_DAY, fields["market_cap"]), fields["close"])


def _turnover(fields: Fields) -> Array:
    return ratio(fields["volume"], _shares(fields))


def _to_cap(item: str) -> Series:
    return Series(((item, "market_cap"),), lambda fields: ratio(fields[item], fields["market_cap"]))


def _per_share(item: str) -> Series:
    return Series(
        ((item, "shares"), (item, "market_cap", "close")), lambda fields: ratio(fields[item], _shares(fields))
    )


def _as_given(item: str) -> Series:
    return Series(((item,),), lambda fields: fields[item])


def _cash_earnings(fields: Fields) -> Array:
    if "cash_flow" in fields:
        return ratio(fields["cash_flow"], fields["market_cap"])
    return fields["cf_price"]


def _debt(fields: Fields) -> Array:
    return fields["long_term_debt"] if "long_term_debt" in fields else fields["debt"]


def _market_leverage(fields: Fields) -> Array:
    return ratio(fields["market_cap"] + _debt(fields), fields["market_cap"])


def _book_leverage(fields: Fields) -> Array:
    return ratio(fields["book"] + _debt(fields), fields["book"])


def derived(settings: StyleSettings) -> dict[str, Series]:
    """Give every series that descriptors may read, for the columns that the settings name."""
    bp, sp, cf = settings.val.bp_col, settings.val.sp_col, settings.val.cf_col
    debts = ("long_term_debt", "debt")
    return {
        "returns": Series((("returns",),), lambda fields: fields["returns"]),
        "log_return": Series((("returns",),), _log_return),
        "size": Series((("market_cap",),), lambda fields: -log_positive(fields["market_cap"])),
        "turnover": Series((("volume", "shares"), ("volume", "market_cap", "close")), _turnover),
        "log_book_price": Series(((bp,),), lambda fields: log_positive(fields[bp])),
        "log_sales_price": Series(((sp,),), lambda fields: log_positive(fields[sp])),
        "cash_flow_price": Series(((cf,),), lambda fields: fields[cf]),
        "forward_earnings_price": _to_cap("forward_earnings"),
        "earnings_price": _to_cap("earnings"),
        "cash_earnings_price": Series((("cash_flow", "market_cap"), ("cf_price",)), _cash_earnings),
        "growth_forecast_long": _as_given("growth_forecast_long"),
        "growth_forecast_short": _as_given("growth_forecast_short"),
        "earnings_per_share": _per_share("earnings"),
        "sales_per_share": _per_share("sales"),
        "market_leverage": Series(tuple((debt, "market_cap") for debt in debts), _market_leverage),
        "debt_to_assets": Series((("debt", "assets"),), lambda fields: ratio(fields["debt"], fields["assets"])),
        "book_leverage": Series(tuple((debt, "book") for debt in debts), _book_leverage),
        "dividend_price": _to_cap("dividends"),
    }
