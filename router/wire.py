"""Items and results as bytes.

Ray passes bytes as they are, while it serialises other arguments and results with cloudpickle: one call with one item
takes about a fifth less time this way. Between our own processes pickle is as trusted as Ray itself, which uses it.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from contracts.work import WorkItem, WorkResult

PROTOCOL = 5


def pack_items(items: Sequence[WorkItem]) -> bytes:
    """Pack items; as plain tuples, which pickle writes without naming their class for each."""
    return pickle.dumps([tuple(item) for item in items], PROTOCOL)


def unpack_items(packed: bytes) -> list[WorkItem]:
    """Unpack what `pack_items` packed."""
    return [WorkItem._make(fields) for fields in pickle.loads(packed)]  # noqa: S301  (from our own process)


def pack_results(results: Sequence[WorkResult]) -> bytes:
    """Pack results."""
    return pickle.dumps([tuple(result) for result in results], PROTOCOL)


def unpack_results(packed: bytes) -> list[WorkResult]:
    """Unpack what `pack_results` packed."""
    return [WorkResult._make(fields) for fields in pickle.loads(packed)]  # noqa: S301  (from our own process)
