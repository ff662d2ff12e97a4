"""A watch's message as a line: what is missing is said to be so."""

from clients.nats import Watched
from clients.watch import line

FIELDS = {"sequence": 1, "market_time": "2024-03-05T15:00:00Z", "seen": 0.5, "provisional": True, "replay": False}


def test_books_that_are_gone_or_were_not_seen_are_missing_in_the_line():
    books = {"gone": None, "unseen": {"return": None}, "held": {"return": 0.01}}
    given = {name: FIELDS.get(name) for name in Watched._fields}
    written = line(Watched(**{**given, "data": {"portfolios": books, "factor_returns": {"market": None}}}))
    assert written.endswith("gone missing  unseen missing  held +1.0000%")
    assert "market" not in written
