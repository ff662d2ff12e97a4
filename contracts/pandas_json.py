"""The shapes in which pandas writes a frame as JSON, as the forms that a request may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.errors import InvalidInput

MAX_INDEX = 10**9
"""A larger whole number in an index is a time, not a row's number."""
MAX_DIGITS = 32


def of_pandas(value: Any, field: str) -> Any:
    """Translate what `to_json` writes with the orients split, columns, index and table; give all else as it is.

    An index of row numbers is left out.

    Raises
    ------
    InvalidInput
        The index holds labels (they would be lost), or the orient is "values" (there are no names of columns).
    """
    if isinstance(value, list) and value and all(isinstance(row, list) for row in value):
        raise InvalidInput(
            f"{field} holds rows without names of columns; pandas writes them with to_json(orient='split')", field=field
        )
    if not isinstance(value, Mapping):
        return value
    if {"columns", "index", "data"} <= set(value) <= {"columns", "index", "data", "name"}:
        _refuse_labels(value["index"], field)
        return {"columns": value["columns"], "data": value["data"]}
    if set(value) == {"schema", "data"} and isinstance(value["schema"], Mapping) and isinstance(value["data"], list):
        return _of_table(value["schema"], value["data"])
    if value and all(isinstance(inner, Mapping) for inner in value.values()):
        return _of_nested(value, field)
    return value


def _of_table(schema: Mapping[str, Any], rows: list[Any]) -> list[Any]:
    if schema.get("primaryKey") != ["index"]:
        return rows
    return [{k: v for k, v in row.items() if k != "index"} if isinstance(row, Mapping) else row for row in rows]


def _of_nested(value: Mapping[str, Mapping[str, Any]], field: str) -> Any:
    """Read {column: {row: value}} or {row: {column: value}}; row numbers tell which of the two it is."""
    first = next(iter(value.values()))
    if all(_is_number(key) for key in first):
        ragged = [name for name, column in value.items() if list(column) != list(first)]
        if ragged:
            raise InvalidInput(
                f"{field}.{ragged[0]} does not have the rows of the others", field=f"{field}.{ragged[0]}"
            )
        return {name: list(column.values()) for name, column in value.items()}
    if all(_is_number(key) for key in value):
        return list(value.values())
    raise _labels(next(iter(first)), field)


def _refuse_labels(index: Any, field: str) -> None:
    if not isinstance(index, list):
        raise InvalidInput(f"{field}.index must be a list", field=f"{field}.index")
    wrong = [label for label in index if not _is_number(label)]
    if wrong:
        raise _labels(wrong[0], field)


def _is_number(label: Any) -> bool:
    if isinstance(label, str):
        return len(label) <= MAX_DIGITS and label.isdecimal() and int(label) < MAX_INDEX
    return isinstance(label, int) and not isinstance(label, bool) and 0 <= label < MAX_INDEX


def _labels(label: Any, field: str) -> InvalidInput:
    return InvalidInput(
        f"{field} has an index of labels such as {label!r}, which has no name here: call reset_index() before to_json",
        field=f"{field}.index",
    )
