"""Which of the known names was meant by one that is none of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST = 3


def nearest(name: str, known: Iterable[str], least: float = 0.0) -> tuple[str, ...]:
    """Give the three known names that look most like the unknown one, the nearest first; case does not count.

    Parameters
    ----------
    least
        How alike two names must be, 0 to 1.
    """
    low = {one.casefold(): one for one in known}
    return tuple(low[found] for found in get_close_matches(name.casefold(), [*low], MOST, least))
