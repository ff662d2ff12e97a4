"""The kinds of things that look wrong in a panel: how bad, what they do to which numbers, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes
    ----------
    severity : "error" (the numbers are wrong), "warning" (they may be) or "info" (what was assumed)
    title, effect, remedy : str
        What it is, what it does to which numbers, and what to do.
    """

    severity: Literal["error", "warning", "info"]
    title: str
    effect: str
    remedy: str


KINDS: dict[str, Kind] = {
    "returns_in_percent": Kind(
        "error",
        "returns look like percent",
        "every volatility, factor return and risk is a hundred times too large",
        "divide the column by 100: 0.01 is one percent",
    ),
    "not_daily": Kind(
        "warning",
        "the dates are not daily",
        "windows and half-lives count rows, and a year is not 252 of them",
        "give daily rows, or read windows as numbers of rows; figures a year use the frequency found",
    ),
    "price_without_return": Kind(
        "warning",
        "the close moved and the return did not follow",
        "a special dividend, a spin-off or a wrong price: formulas of prices see a move that nobody earned; risk and "
        "styles of returns are right",
        "give split_ratio and dividend, adjusted prices, or adjust = from_returns",
    ),
    "missing_cap": Kind(
        "warning",
        "caps are missing of names that had one and go on trading",
        "the names are outside coverage on these days: no exposures and no risk of them, and market and regression are "
        "of the others",
        "give the cap of the day, or shares times close",
    ),
    "cap_without_return": Kind(
        "warning",
        "the market cap moved and the return did not follow",
        "size, value and the weights of the regression follow the cap",
        "check shares and cap of the day: a split counted on one side only, an issue, or another unit",
    ),
    "split_unadjusted": Kind(
        "error",
        "the close moved as in a split, and the return did not",
        "formulas of prices and volumes see the split as a fall or a rise",
        "give split_ratio, adjusted prices, or adjust = from_returns",
    ),
    "unit_change": Kind(
        "error",
        "values changed by a power of ten",
        "pence for pounds or thousands for units: size, value and weights are wrong from that day on",
        "bring the column to one unit",
    ),
    "cap_is_not_close_times_shares": Kind(
        "warning",
        "the market cap is not close times shares",
        "turnover and per-share growth disagree with size",
        "check the unit of shares, and whether close is adjusted and shares are not",
    ),
    "split_inferred": Kind(
        "info",
        "shares outstanding jumped and the cap did not: taken as a split",
        "per-share items and turnover are carried over the split",
        "give split_ratio if it was none",
    ),
    "another_company": Kind(
        "warning",
        "a name came back after a long absence at another price or cap",
        "a symbol that was used again joins two companies in one series: beta, momentum and specific risk mix them",
        "give the two series two symbols, or an asset_id",
    ),
    "symbol_changed": Kind(
        "info",
        "symbols changed, and the asset_id stayed",
        "one series has both; it is called by the newest symbol",
        "nothing, if the asset_id is right",
    ),
    "symbol_used_again": Kind(
        "info",
        "symbols that several asset_ids have had",
        "each asset_id has a series of its own; a former one is called symbol~asset_id",
        "nothing, if the asset_id is right",
    ),
    "stale_price": Kind(
        "warning",
        "the close did not change for ten rows",
        "volatility, beta and correlations are too low",
        "leave the rows out",
    ),
    "moved_without_volume": Kind(
        "warning",
        "the close moved on a day of no volume",
        "turnover and liquidity are too low, or the price is not of a trade",
        "complete the volume, or leave it missing",
    ),
    "missing_return": Kind(
        "info",
        "returns are missing inside a history",
        "the day is left out of the regression; a formula of returns that looks back over it has no value until the "
        "window has passed",
        "fill the return, or ask formulas under the convention min_periods = one",
    ),
    "not_positive": Kind(
        "error",
        "a price is zero or negative",
        "logarithms and ratios of it are missing; formulas of prices see a fall of more than 100 %",
        "leave the value out",
    ),
    "negative_volume": Kind(
        "error",
        "a volume or a number of shares is negative",
        "liquidity and turnover are wrong",
        "leave the value out",
    ),
    "range_contradicts": Kind(
        "warning",
        "open, close or vwap lie outside low to high",
        "formulas of the day's range are wrong",
        "check the day's prices; often one of them is adjusted and the others are not",
    ),
    "weekend": Kind(
        "warning",
        "rows of a weekend",
        "a day that was not traded counts as one in every window",
        "leave the rows out",
    ),
    "symbol_variants": Kind(
        "warning",
        "symbols differ only by case or blanks",
        "one name is counted as two, each with a part of the history",
        "write each name one way",
    ),
    "label_variants": Kind(
        "warning",
        "labels differ only by case or blanks",
        "one sector is counted as two factors, one issuer as two that share no risk",
        "write each label one way",
    ),
    "issuer_of_many": Kind(
        "warning",
        "an issuer has more names than one has classes",
        "the label is taken for none (it may stand for unknown): specific risks of its names count as independent",
        "leave issuer empty where it is not known",
    ),
    "same_series": Kind(
        "warning",
        "names with the same returns",
        "their specific risk is counted as if it diversified",
        "leave one of them out, or give both one issuer",
    ),
    "half_missing": Kind(
        "warning",
        "half of the names are missing on a day",
        "the market's return and the regression of the day are of the other half",
        "complete the day, or leave it out",
    ),
    "history_ends": Kind(
        "info",
        "a history ends before the panel does",
        "the name has no risk afterwards; a return of a delisting that is missing flatters the past",
        "check that the last return holds what holders got",
    ),
    "sector_memberships": Kind(
        "info",
        "rows of several sectors",
        "exposures, factor returns, risk and proxies have the shares; where a name stands in one group (groups of "
        "formulas, attribution by sector) it is that of its largest share",
        "nothing, or give each row one sector",
    ),
    "not_read": Kind(
        "info",
        "a column looks like a known field under another name",
        "it is read as a field of its own, which no style and no formula of the library looks at",
        "name it in columns of the intake",
    ),
    "statements_unmatched": Kind(
        "warning",
        "statements of symbols that the panel does not have",
        "they are not used",
        "check how the two tables write symbols",
    ),
    "statements_restated": Kind(
        "info",
        "statements about a period that were given again with other values",
        "each counts from its own day on",
        "nothing, if they are restatements",
    ),
    "statements_too_old": Kind(
        "info",
        "statements that no newer one replaced within the age limit",
        "the items are missing from then on",
        "give newer statements, or another fundamentals_max_age_days",
    ),
    "missing_row": Kind(
        "info",
        "single rows are missing inside a history",
        "of 619 factors of the library 412 have no value for the name for more than a day, 169 for more than 20 days "
        "and 71 for 60 days or more (convention min_periods = strict)",
        "fill the row, or ask formulas under the convention min_periods = one",
    ),
}
