"""How long to wait before something that failed is tried again."""

from __future__ import annotations

from collections.abc import Sequence


def backoff_s(steps_s: Sequence[float], failures: int) -> float:
    """Give the pause after so many failures (0 for the first): step by step, then the last one again and again."""
    return steps_s[min(max(failures, 0), len(steps_s) - 1)]
