"""In which form an answer goes out: JSON, or, where it is a table and that is asked for, one Arrow IPC stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from bus.answer_text import Few, TooLong, as_json, written
from contracts.answer_table import ArrowValues, columns_of, stream_of
from contracts.errors import InternalError, NotAcceptable
from contracts.frames import ARROW_STREAM
from contracts.operations import Operation

JSON = "application/json"
ACCEPT = "Accept"
ANSWER_HEADER = "factor-answer"
"""What an answer says beside its table, as JSON."""
HEADER_BYTES = 4000
"""Of that header: proxies and servers take 8 KiB of all together."""
JSON_VALUES_MOST = 1_000_000
HOW = f"ask with `{ACCEPT}: {ARROW_STREAM}` for an Arrow table"
_VALUES = ("factor_values", "factor_exposures")


class Formed(NamedTuple):
    """A body, its type, and the headers that belong to it."""

    body: bytes
    media: str
    headers: dict[str, str]


def wants_arrow(accept: str | None, operation: Operation) -> bool:
    """Read what a caller accepts: whether the answer is to be an Arrow table.

    Raises
    ------
    NotAcceptable
        The caller takes nothing but an Arrow table, and the answer is none.
    """
    if not accept or ARROW_STREAM not in accept.lower():
        return False
    taken = {}
    for part in accept.lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        taken[kind] = _weight(parameters) > 0.0
    if not taken.get(ARROW_STREAM):
        return False
    if operation.table:
        return True
    if any(taken.get(kind) for kind in (JSON, "application/*", "*/*")):
        return False
    raise NotAcceptable(f"the answer of {operation.name} is no table; it is given as {JSON}", field=ACCEPT.lower())


def _weight(parameters: list[str]) -> float:
    for word in parameters:
        if word.startswith("q="):
            try:
                return float(word[2:])
            except ValueError:
                return 0.0
    return 1.0


def at_once(answer: Mapping[str, Any], arrow: bool) -> Formed | None:
    """Write an answer that is known to be small; None of another, which `formed` writes."""
    if arrow or type(answer.get("calculation_result")) is not Few:
        return None
    return Formed(as_json(answer), JSON, {})


async def formed(operation: Operation, answer: Mapping[str, Any], arrow: bool) -> Formed:
    """Write an answer.

    Raises
    ------
    NotAcceptable
        As JSON it would have millions of values; says how to ask for it.
    """
    small = at_once(answer, arrow)
    if small is not None:
        return small
    calculation = answer.get("calculation_result")
    values = calculation.get(operation.values) if isinstance(calculation, dict) else None
    if arrow and isinstance(calculation, dict):
        return await asyncio.to_thread(_as_table, operation, answer, calculation, values)
    if isinstance(values, ArrowValues):
        if values.n_values > JSON_VALUES_MOST:
            raise _too_large(operation)
        assert isinstance(calculation, dict)
        values = await asyncio.to_thread(values.columns)
        answer = {**answer, "calculation_result": {**calculation, operation.values: values}}
    try:
        return Formed(await written(answer, most_values=JSON_VALUES_MOST), JSON, {})
    except TooLong:
        raise _too_large(operation) from None


def _too_large(operation: Operation) -> NotAcceptable:
    how = HOW if operation.table else "ask for less"
    return NotAcceptable(f"the answer has more than {JSON_VALUES_MOST:,} values, too many for JSON: {how}")


def _as_table(operation: Operation, answer: Mapping[str, Any], calculation: dict[str, Any], values: Any) -> Formed:
    if isinstance(values, ArrowValues):
        stream = values.stream
    else:
        shape, key = operation.table or ("", "")
        try:
            stream = stream_of(columns_of(calculation, values, shape, key))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise InternalError(f"the answer of {operation.name} cannot be laid out as a table: {error!r}") from error
    rest = {name: value for name, value in calculation.items() if name not in (*_VALUES, "history")}
    if operation.table and operation.table[0] == "series":
        rest |= {name: value for name, value in values.items() if not isinstance(value, list)}
    told = {**answer, "calculation_result": rest}
    return Formed(stream, ARROW_STREAM, {ANSWER_HEADER: _header(told, rest)})


def _header(told: dict[str, Any], calculation: dict[str, Any]) -> str:
    """Write what stands beside a table as ASCII; the longest entries are left out, and named, until it is short."""
    left_out: list[str] = []
    while len(text := json.dumps(orjson.loads(as_json(told)))) > HEADER_BYTES and calculation:
        longest = max(calculation, key=lambda name: len(as_json(calculation[name])))
        del calculation[longest]
        left_out.append(longest)
        told["left_out"] = left_out
    return text
