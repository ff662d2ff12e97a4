"""A market torn around the dates on which closed forms are compared: late listings, leavings, pauses and lost items.

A pause or a listing years before a date says nothing of a window of 21 rows; so around each date some names have their
trouble close by, one kind a name.
"""

import numpy as np

COMPARED = (330, 900, 1300, 1599)
DATES = {
    "barra": (330, 1300, 1599),
    "jkp": (330, 1300, 1599),
    "jkp_fundamental": (900, 1599),
    "jkp_fundamental_assets": (900, 1599),
    "openap": (330, 1300, 1599),
    "reserve": (330, 900, 1599),
    "reserve_b": (330, 900, 1599),
}
"""Dates on which the closed forms of a file of the catalogue are compared."""
LISTED = (5, 18, 100)
"""Rows before a compared date on which a name of its own is listed."""
# Rows before a compared date, from and to, on which a name has no row at all; below 0 it is not yet back on the date.
AWAY = (
    ((1, 1),),  # yesterday
    ((7, 7), (40, 40)),
    ((12, 10),),
    ((30, 21),),
    ((100, 55),),
    ((200, 120),),
    ((640, 260),),
    ((21, 21), (63, 63), (252, 252), (504, 504), (756, 756), (1008, 1008), (1260, 1260)),  # where items are looked up
    ((3, -40),),
    ((60, -30),),
)
# Fields that a name lacks on the date, or between rows before it, while it has the others.
LOST = (
    (("open", "high", "low", "close", "volume", "vwap", "returns"), 0, 0),
    (("market_cap", "shares"), 0, 0),
    (("volume", "high"), 9, 2),
    (
        ("book", "book_price", "sales", "earnings", "earnings_q", "sales_q", "assets", "debt", "cash_flow", "capex"),
        0,
        0,
    ),
    (("book", "earnings_q", "sales", "shares"), 255, 60),
)


def tear(panel, compared=COMPARED):
    """Take rows and fields from a panel around some of its dates; it has names enough for one trouble each."""
    own = {name: values for name, values in panel.fields.items() if not name.startswith("benchmark")}
    n_dates, n_names = panel.fields["close"].shape
    late = np.arange(n_names)[::-1][: len(compared) * len(LISTED)].reshape(len(compared), -1)
    throughout = np.isfinite(panel.fields["market_cap"][[0, *compared]]).all(axis=0)
    others = np.setdiff1d(np.flatnonzero(throughout), late)
    away = np.zeros((n_dates, n_names), dtype=bool)
    for k, date in enumerate(compared):
        for name, before in zip(late[k], LISTED, strict=True):
            away[: date - before, name] = True
        troubled = iter(np.roll(others, -len(AWAY) * k))
        for stretches in AWAY:
            name = next(troubled)
            for begin, end in stretches:
                away[max(date - begin, 0) : max(date - end + 1, 0), name] = True
        for names, begin, end in LOST:
            name = next(troubled)
            for field in names:
                own[field][date - begin : date - end + 1, name] = np.nan
    for values in own.values():
        values[away] = np.nan
