"""Items, results and the route table as bytes.

Ray passes bytes as they are, while it serialises other arguments and results with cloudpickle: one call with one item
takes about a fifth less time this way. A request arrives as its model, an answer as its dataclass. Between our own
processes pickle is as trusted as Ray itself, which uses it.
"""

from __future__ import annotations

import logging
import pickle
import platform
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ray import cloudpickle

from contracts.answers import Calculation
from contracts.operations import OPERATIONS
from contracts.requests import Request
from contracts.unexpected import unexpected
from contracts.work import WorkItem, WorkResult
from router.table import RouteTable

PROTOCOL = 5
FEW_BYTES = 48 * 1024
"""Results of one call that are all of them small: a value has a byte at least, and mostly nine."""

_log = logging.getLogger(__name__)


def pack_items(items: Sequence[WorkItem]) -> bytes:
    """Pack items; as plain tuples and fields, which pickle writes without asking each how it wants to be written.

    A request of the row's own model is known by its operation, another kind names itself.
    """
    flat = [
        (
            request_id,
            operation,
            _own_kind(operation, type(request)),
            request.__dict__,
            priority,
            deadline,
            sent_at,
            trace,
        )
        for request_id, operation, request, priority, deadline, sent_at, trace in items
    ]
    return pickle.dumps((own_clock(), time.time(), flat), PROTOCOL)


def unpack_items(packed: bytes) -> list[WorkItem]:
    """Unpack what `pack_items` packed, with deadlines by this machine's clock.

    What comes from another machine has as much time left as it had when it left: its clock may be seconds apart.
    """
    clock, left_at, flat = pickle.loads(packed)  # noqa: S301  (ours)
    apart = 0.0 if clock == own_clock() else time.time() - left_at
    return [
        WorkItem(
            request_id,
            operation,
            (kind or OPERATIONS[operation].request).arrived(fields),
            priority,
            deadline + apart,
            sent_at,
            trace,
        )
        for request_id, operation, kind, fields, priority, deadline, sent_at, trace in flat
    ]


@lru_cache(maxsize=1)
def own_clock() -> str:
    """Name the clock that this process reads: the kernel's, which the containers of a machine share."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


@lru_cache(maxsize=1024)
def _own_kind(operation: str, kind: type[Request]) -> type[Request] | None:
    """Give the kind of a request, None where its operation says it."""
    row = OPERATIONS.get(operation)
    return None if row is not None and row.request is kind else kind


def pack_results(results: Sequence[WorkResult]) -> bytes:
    """Pack results, a calculation as its fields; one that cannot be packed becomes the problem that it is."""
    flat = [_flat(result) for result in results]
    try:
        return pickle.dumps(flat, PROTOCOL)
    except Exception:  # noqa: BLE001  one value that does not pickle is no reason to lose the answers beside it
        return pickle.dumps([_packable(result) for result in results], PROTOCOL)


def _flat(result: WorkResult) -> tuple[Any, ...]:
    request_id, value, problem, device, timings = result
    return request_id, value.fields() if type(value) is Calculation else value, problem, device, timings


def _packable(result: WorkResult) -> tuple[Any, ...]:
    try:
        pickle.dumps(_flat(result), PROTOCOL)
    except Exception as error:  # noqa: BLE001
        problem = unexpected(error, _log).to_problem(result.request_id)
        result = WorkResult(result.request_id, None, problem, result.device, result.timings_ms)
    return _flat(result)


def unpack_results(packed: bytes) -> list[WorkResult]:
    """Unpack what `pack_results` packed."""
    few = len(packed) <= FEW_BYTES
    out = []
    for request_id, value, problem, device, timings in pickle.loads(packed):  # noqa: S301  (from our own process)
        if type(value) is tuple:
            made = Calculation.made_of(*value)
            made.few = few and not made.tables
            out.append(WorkResult(request_id, made, problem, device, timings))
        else:
            out.append(WorkResult(request_id, value, problem, device, timings))
    return out


def pack_foreseen(made: Sequence[Calculation | None]) -> bytes:
    """Pack what an actor says of writes that are on their way."""
    return pickle.dumps([None if one is None else one.fields() for one in made], PROTOCOL)


def unpack_foreseen(packed: bytes) -> list[Calculation | None]:
    """Unpack what `pack_foreseen` packed."""
    flat = pickle.loads(packed)  # noqa: S301  (from our own process)
    return [None if fields is None else Calculation.made_of(*fields) for fields in flat]


def pack_table(table: RouteTable) -> bytes:
    """Pack a route table, the actors' handles with it."""
    packed: bytes = cloudpickle.dumps(table, PROTOCOL)  # type: ignore[no-untyped-call]
    return packed


def unpack_table(packed: bytes) -> RouteTable:
    """Unpack what `pack_table` packed.

    Here, and not while Ray receives the answer: handles cannot be read when Ray has been shut down meanwhile.
    """
    table: RouteTable = pickle.loads(packed)  # noqa: S301  (from our own process)
    return table
