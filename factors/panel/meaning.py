"""What a column of a known name means: its unit, and how it counts in time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Timing = Literal["day", "statement", "event"]


@dataclass(frozen=True)
class Meaning:
    """The declared type and unit of a numeric field.

    Attributes
    ----------
    unit : str
        In words; values are always read as float64.
    timing : "day", "statement" or "event"
        A value of the day itself, one that counts until the next one of its name is known, or one of that day alone.
    """

    unit: str
    timing: Timing = "day"


RELEASE = "available_day"
"""What `available_at` becomes in a panel."""
PRICE, MONEY, SHARES, RATIO = "money a share", "money", "shares", "ratio to the price or cap"
MEANINGS: dict[str, Meaning] = {
    "returns": Meaning("fraction a day, total and simple: 0.01 is one percent"),
    "market_cap": Meaning(MONEY),
    **dict.fromkeys(("open", "high", "low", "close", "vwap"), Meaning(PRICE)),
    **dict.fromkeys(("raw_open", "raw_high", "raw_low", "raw_close", "raw_vwap"), Meaning(PRICE)),
    **dict.fromkeys(("volume", "shares", "raw_volume", "raw_shares"), Meaning(SHARES)),
    "amount": Meaning(MONEY),
    "rf": Meaning("fraction a day"),
    **dict.fromkeys(("benchmark_open", "benchmark_close"), Meaning("level of an index")),
    "benchmark_return": Meaning("fraction a day"),
    **dict.fromkeys(("book_price", "sales_price", "cf_price"), Meaning(RATIO, "statement")),
    **dict.fromkeys(
        ("book", "sales", "sales_q", "earnings", "earnings_q", "forward_earnings", "cash_flow", "cash_flow_q",
         "dividends", "assets", "debt", "cash", "long_term_debt", "gross_profit", "ebit", "ebitda", "interest",
         "capex", "rnd"),
        Meaning(MONEY, "statement"),
    ),
    **dict.fromkeys(("growth_forecast_long", "growth_forecast_short"), Meaning("fraction a year", "statement")),
    **dict.fromkeys(("estimation_universe", "investment_universe"), Meaning("1 for a member, else 0")),
    "split_ratio": Meaning("new shares for one old share, from this day on; 1 or missing for none", "event"),
    "dividend": Meaning("cash for each share held before this day", "event"),
    "adjustment_factor": Meaning("what the day's raw prices are multiplied by"),
    RELEASE: Meaning("day since 1970 from which the row's statements count, where it is later than the row's"),
}  # fmt: skip
CLASSIFICATIONS = ("sector", "industry", "subindustry")
"""Categories of which a missing label is one of its own."""
ID = "asset_id"
ISSUER = "issuer"
MOST_OF_AN_ISSUER = 64
"""Names of one issuer that are linked; a label of more is taken for none, since it may stand for unknown."""
IDENTITIES = (ID, ISSUER, "exchange", "country")
"""Categories of which a missing label is missing."""

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "symbol": ("ticker", "ric", "sedol", "isin", "cusip", "permno", "instrument", "secid", "sid", "code", "name"),
    "date": ("datetime", "timestamp", "time", "day", "trade_date", "tradedate", "as_of", "asof_date"),
    "asset_returns": ("ret", "return", "returns", "total_return", "daily_return", "pct_change", "r", "ret1d"),
    "market_cap": ("mktcap", "mkt_cap", "marketcap", "market_value", "mcap", "cap", "me", "market_capitalization"),
    "close": ("adj_close", "adjusted_close", "close_price", "price", "px_last", "prc", "last"),
    "open": ("adj_open", "open_price", "px_open"),
    "high": ("adj_high", "high_price", "px_high"),
    "low": ("adj_low", "low_price", "px_low"),
    "volume": ("adj_volume", "vol", "px_volume", "turnover_shares", "shares_traded"),
    "shares": ("shares_outstanding", "shrout", "shares_out", "sharesoutstanding"),
    "sector": ("gics_sector", "gicssector", "gics", "sector_name"),
    "industry": ("gics_industry", "industry_name", "sic", "naics"),
    "book_price": ("bp", "book_to_price", "b_p"),
    "sales_price": ("sp", "sales_to_price", "s_p"),
    "cf_price": ("cfp", "cashflow_to_price", "cf_to_price"),
    "book": ("book_value", "book_equity", "total_equity", "ceq"),
    "earnings": ("net_income", "ni"),
    "sales": ("revenue", "revenues", "total_revenue"),
    "debt": ("total_debt",),
    "assets": ("total_assets",),
    "dividends": ("dividends_paid",),
    "split_ratio": ("split", "splits", "stock_splits", "split_factor"),
    "dividend": ("div", "cash_dividend", "dividend_per_share"),
    "adjustment_factor": ("adj_factor", "cfacpr", "factor"),
    "issuer": ("issuer_id", "company", "company_id", "gvkey", "permco", "entity_id"),
    "asset_id": ("figi", "security_id", "asset"),
    "available_at": ("release_date", "report_date", "rdq", "filing_date", "announcement_date", "known_at"),
}
"""Names under which other people's tables have a column; suggested, never taken."""


def is_numeric(name: str) -> bool:
    """Say whether a column of this name has to hold numbers."""
    return name in MEANINGS or name.startswith("benchmark_")


def counts_until_next(name: str) -> bool:
    """Say whether a column is of statements: with `available_at`, its values count from the day they were known."""
    meaning = MEANINGS.get(name)
    return meaning.timing == "statement" if meaning else not name.startswith("benchmark_")


def plain(name: str) -> str:
    """Give a name as it is compared: lower case, words joined by underscores."""
    return "_".join(name.lower().replace("-", " ").replace(".", " ").replace("_", " ").split())


def suggestion_for(wanted: str, columns: Iterable[str]) -> str | None:
    """Give the column that may be what is wanted, by case, by a common other name, or by spelling."""
    by_plain = {plain(column): column for column in columns}
    wanted = "asset_returns" if wanted == "returns" else wanted
    for name in (wanted, *OTHER_NAMES.get(wanted, ())):
        if plain(name) in by_plain:
            return by_plain[plain(name)]
    close = get_close_matches(plain(wanted), by_plain, 1, 0.8)
    return by_plain[close[0]] if close else None


def unread(columns: Iterable[str]) -> dict[str, str]:
    """Give the columns that look like a known field under another name: {column: field}."""
    columns = list(columns)
    known = {*MEANINGS, *CLASSIFICATIONS, *IDENTITIES, "symbol", "date", "asset_returns", "available_at"}
    found: dict[str, str] = {}
    for field, others in OTHER_NAMES.items():
        if field in columns or (field == "asset_returns" and "returns" in columns):
            continue
        for column in columns:
            if column not in known and plain(column) in (plain(field), *map(plain, others)):
                found.setdefault(column, field)
    return found
