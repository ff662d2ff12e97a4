"""How a table is read: one object of settings, the same for every way in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from factors.errors import SettingsError
from factors.setting import Name, read_settings, settings_class

OWN_SETTING = {
    "symbol": "symbol_col",
    "date": "date_col",
    "market_cap": "mkt_cap_col",
    "returns": "returns_col",
    "asset_returns": "returns_col",
    "available_at": "available_at_col",
}
Policy = Literal["strict", "warn", "off"]


def let_in(policy: Policy) -> Policy:
    """Give how days are looked at that were let in before: what is wrong with them is told again, and not refused."""
    return "warn" if policy == "strict" else policy


@settings_class
class Intake:
    """What a table's columns are called, how its texts are read, and what is done about what looks wrong.

    Attributes
    ----------
    symbol_col, date_col, mkt_cap_col, returns_col, available_at_col : str
        What the table calls these columns.
    columns : mapping of column to field
        Other columns that have another name in the table, for instance ``{"adj_close": "close"}``.
    sector_encodings : tuple of str or None
        One-hot sectors: columns of 0 and 1 (or truth values), or of memberships that sum to 1.
    date_format : str or None
        How dates are written where they are no ISO 8601, for instance "%d/%m/%Y" or "%m/%d/%Y".
    na_values : tuple of str
        Texts that stand for a missing number, for instance ("NA", "-"). Of columns of text none is missing.
    intraday : "refuse" or "combine"
        What becomes of several rows of a symbol on one day: an error, or one row (returns compounded, volume and amount
        summed, the first open, the highest high, the lowest low, the last of all else).
    policy : "strict", "warn" or "off"
        What the quality report does: errors stop, all is told, or nothing is looked for.
    adjust : "actions", "splits", "from_returns" or "none"
        What prices are adjusted by: splits and dividends where the table has them; splits alone; the total returns; or
        nothing.
    fundamentals_max_age_days : int or None
        A statement counts for so many days after the period that it is about (18 months); None for ever.
    after_close : str or None
        A release at this time of day or later ("16:00") counts from the next day; one with no time of day counts on
        its day.
    """

    symbol_col: Name = "symbol"
    date_col: Name = "date"
    mkt_cap_col: Name = "market_cap"
    returns_col: Name = "asset_returns"
    available_at_col: Name = "available_at"
    columns: Annotated[Mapping[Name, Name], Field(max_length=10_000)] = field(default_factory=dict)
    sector_encodings: Annotated[tuple[Name, ...], Field(max_length=10_000)] | None = None
    date_format: Name | None = None
    na_values: Annotated[tuple[Annotated[str, Field(strict=True, max_length=128)], ...], Field(max_length=1000)] = ()
    intraday: Literal["refuse", "combine"] = "refuse"
    policy: Policy = "warn"
    adjust: Literal["actions", "splits", "from_returns", "none"] = "actions"
    fundamentals_max_age_days: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = 548
    after_close: Name | None = "16:00"

    def __post_init__(self) -> None:
        if self.date_format is not None and "%" not in self.date_format:
            raise SettingsError("date_format must be a pattern such as %d/%m/%Y", field="date_format")
        if self.after_close is not None:
            hour, _, minute = self.after_close.partition(":")
            if not (hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60):
                raise SettingsError("after_close must be a time such as 16:00", field="after_close")
        for name in self.columns.values():
            if name in OWN_SETTING:
                raise SettingsError(f"columns: the column of {name!r} is named by {OWN_SETTING[name]}", field="columns")
        if len(set(self.columns.values())) < len(self.columns):
            raise SettingsError("columns gives one field two columns", field="columns")

    def called(self, **columns: str | None) -> Intake:
        """Give the same with other names of columns; None keeps a name."""
        given = {name: column for name, column in columns.items() if column is not None}
        return replace(self, **given) if given else self  # type: ignore[arg-type]

    def changed(self, given: Mapping[str, Any]) -> Intake:
        """Give the same with the settings that a mapping has, as JSON and TOML give them.

        Raises
        ------
        SettingsError
            Names the first setting that is wrong or unknown, and what it must be.
        """
        return read_settings(Intake, {**asdict(self), **given}) if given else self

    @property
    def names(self) -> dict[str, str]:
        """Canonical names by the table's own."""
        return {
            **self.columns,
            self.symbol_col: "symbol",
            self.date_col: "date",
            self.mkt_cap_col: "market_cap",
            self.returns_col: "returns",
        }


DEFAULT = Intake()
