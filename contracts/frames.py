"""Tables at the border: the accepted JSON forms and bulk formats, turned into one Arrow IPC stream."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from contracts.arrow_stream import stream_size
from contracts.csv_text import fault_of_csv
from contracts.errors import EngineError, InvalidInput, MalformedBody, Unavailable, UnsupportedMedia, first_line
from contracts.pandas_json import of_pandas
from contracts.settings import settings

if TYPE_CHECKING:
    import polars as pl

ARROW_STREAM = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv"
ARROW_FILE = "application/vnd.apache.arrow.file"
"""Only between our own processes: a table that was decoded, in a file that is mapped and not read."""
FILE_MARK = b"factor-engine file\n"
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""What Arrow writers close a stream with; without it, a stream cut off between two batches reads as a shorter table."""
MAX_COLUMNS = 2000
SPARSEST, SPARE_CELLS = 20, 100_000
"""A table of row objects may have so many values for each that is given, and beyond that so many: absent ones are null.
Rows with a name each of their own would make a table of their number squared."""


def from_json(value: Any, field: str = "frame") -> pl.DataFrame:
    """Read a table from JSON.

    Parameters
    ----------
    value
        ``{"columns": [...], "data": [[...], ...]}`` (rows), ``{"col": [...], ...}``, a list of row objects, or what
        pandas writes with ``to_json`` (every `orient` but "values").
    field
        The request field, named in errors.

    Raises
    ------
    InvalidInput
        Another form, ragged rows, a column of mixed types, or no rows; names the column and the rows.
    """
    value = of_pandas(value, field)
    if isinstance(value, Mapping) and set(value) == {"columns", "data"}:
        columns = _from_rows(value["columns"], value["data"], field)
    elif isinstance(value, Mapping):
        columns = _from_columns(value, field)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        columns = _from_objects(value, field)
    else:
        raise InvalidInput(
            f"{field} must be a table: {{columns, data}}, {{column: values}} or a list of row objects", field=field
        )
    return _frame(columns, field)


def _from_rows(names: Any, data: Any, field: str) -> dict[str, list[Any]]:
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise InvalidInput(f"{field}.columns must be a list of names", field=f"{field}.columns")
    if len(set(names)) != len(names):
        raise InvalidInput(f"{field}.columns has a name twice", field=f"{field}.columns")
    if not isinstance(data, list):
        raise InvalidInput(f"{field}.data must be a list of rows", field=f"{field}.data")
    bad = [i for i, row in enumerate(data) if not isinstance(row, list) or len(row) != len(names)]
    if bad:
        raise InvalidInput(
            f"{field}.data: {len(bad)} rows do not have {len(names)} values", field=f"{field}.data", rows=bad
        )
    return {name: [row[j] for row in data] for j, name in enumerate(names)}


def _from_columns(value: Mapping[str, Any], field: str) -> dict[str, list[Any]]:
    wrong = [name for name, values in value.items() if not isinstance(values, list)]
    if wrong:
        raise InvalidInput(f"{field}.{wrong[0]} must be a list of values", field=f"{field}.{wrong[0]}")
    lengths = {name: len(values) for name, values in value.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(f"{field}: columns differ in length: {lengths}", field=field)
    return {name: list(values) for name, values in value.items()}


def _from_objects(value: Sequence[Any], field: str) -> dict[str, list[Any]]:
    bad = [i for i, row in enumerate(value) if not isinstance(row, Mapping)]
    if bad:
        raise InvalidInput(f"{field}: {len(bad)} rows are not objects", field=field, rows=bad)
    names = list(dict.fromkeys(name for row in value for name in row))
    _check_columns(len(names), field)
    given, cells = sum(map(len, value)), len(names) * len(value)
    if cells > SPARE_CELLS and cells > SPARSEST * given:
        raise InvalidInput(
            f"{field}: {len(value):,} row objects with {len(names):,} names between them are {cells:,} values, and "
            f"{given:,} are given; rows of one table have the same names",
            field=field,
        )
    return {name: [row.get(name) for row in value] for name in names}


def _check_columns(count: int, field: str) -> None:
    if count > MAX_COLUMNS:
        raise InvalidInput(f"{field} has {count} columns; at most {MAX_COLUMNS} are read", field=field)


def _frame(columns: Mapping[str, list[Any]], field: str) -> pl.DataFrame:
    import polars as pl

    _check_columns(len(columns), field)
    if not columns or not len(next(iter(columns.values()))):
        raise InvalidInput(f"{field} has no rows", field=field)
    return pl.DataFrame([_series(name, values, field) for name, values in columns.items()])


def _series(name: str, values: list[Any], field: str) -> pl.Series:
    """Make a column of numbers, of text or of truth values; anything else that is mixed names its rows.

    Numbers with text between are text, as in a CSV: what reads the column knows which texts stand for a missing number,
    and names the others with their dates and symbols.
    """
    import polars as pl

    kinds = {type(v) for v in values if v is not None}
    where = f"{field}.{name}"
    if kinds <= {int, float}:
        # The JSON reader refuses numbers beyond float64 itself.
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    if kinds <= {str, int, float}:
        return pl.Series(name, [v if v is None else str(v) for v in values], dtype=pl.String)
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    common = max(kinds, key=lambda kind: sum(type(v) is kind for v in values))
    if common in (int, float) and kinds & {int, float}:
        bad = [i for i, v in enumerate(values) if v is not None and type(v) not in (int, float)]
        wanted = "numbers"
    elif common is str:
        bad = [i for i, v in enumerate(values) if v is not None and not isinstance(v, str)]
        wanted = "text"
    else:
        plain = {type(None)} if common in (list, dict) else {type(None), common}
        bad = [i for i, v in enumerate(values) if type(v) not in plain]
        wanted = "plain values of one type"
    raise InvalidInput(f"{where} must hold {wanted}; {len(bad)} rows do not", field=where, rows=bad)


def bulk_type(content_type: str) -> str:
    """Give the bulk content type in its one spelling.

    Raises
    ------
    UnsupportedMedia
        It is no Arrow IPC stream, Parquet or CSV.
    """
    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    if kind == ARROW_STREAM:
        return ARROW_STREAM
    if kind in (PARQUET, "application/x-parquet", "application/parquet"):
        return PARQUET
    if kind in (CSV, "application/csv", "text/x-csv"):
        return CSV
    raise UnsupportedMedia(
        f"content type must be {ARROW_STREAM}, {PARQUET} or {CSV}, was {kind!r}", field="content-type"
    )


def from_bulk(source: bytes | Path, content_type: str, field: str = "body") -> pl.DataFrame:
    """Read a table from an Arrow IPC stream, a Parquet file or a CSV with a head, held in memory or in a file.

    All columns of a CSV are text: what reads the table makes numbers of them, and can so name what is none.

    Raises
    ------
    UnsupportedMedia
        The content type is none of these.
    MalformedBody
        The bytes are not what the content type says (a truncated stream, for one).
    InvalidInput
        The table has no rows.
    """
    import polars as pl

    kind = bulk_type(content_type)
    if kind == ARROW_STREAM and _tail(source, len(END_OF_STREAM)) != END_OF_STREAM:
        raise MalformedBody(f"the body is not a whole {kind}: its end-of-stream marker is missing", field=field)
    if kind == ARROW_STREAM:
        # Of some headers that cannot be polars takes petabytes, which ends the process: no error comes back.
        try:
            stream_size(source)
        except EngineError as error:
            raise type(error)(error.detail, field=field) from None
    read = {ARROW_STREAM: pl.read_ipc_stream, PARQUET: pl.read_parquet, CSV: _read_csv}[kind]
    try:
        frame = read(io.BytesIO(source) if isinstance(source, bytes) else source)
    except BaseException as error:  # polars panics (a BaseException) on some truncated streams
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise MalformedBody(f"the body is not a readable {kind}: {first_line(error)[:200]}", field=field) from None
    if frame.height == 0:
        raise InvalidInput(f"{field} has no rows", field=field)
    return frame


def _read_csv(source: io.BytesIO | Path) -> pl.DataFrame:
    import polars as pl

    content = source.getvalue() if isinstance(source, io.BytesIO) else source.read_bytes()
    fault = fault_of_csv(content)
    if fault is not None:
        raise ValueError(fault)
    head, last = content[: content.find(b"\n") + 1], content.rstrip(b"\r\n").rpartition(b"\n")[2]
    # A line with fewer values than the head would be filled with nulls: at the end, it is one that was cut off.
    if b'"' not in head + last and last.count(b",") != head.count(b","):
        raise ValueError("its last line does not have the columns of its first")
    frame = pl.read_csv(io.BytesIO(content), infer_schema=False)
    if frame.columns[:1] == [""] and frame[""].str.contains(r"^\d+$").all():  # row numbers, as pandas writes them
        frame = frame.drop("")
    return frame.filter(~pl.all_horizontal(pl.all().is_null())) if frame.width else frame  # without blank lines


def _tail(source: bytes | Path, size: int) -> bytes:
    if isinstance(source, bytes):
        return source[-size:]
    with source.open("rb") as file:
        file.seek(max(source.stat().st_size - size, 0))
        return file.read()


def encode(frame: pl.DataFrame) -> bytes:
    """Give the frame as an Arrow IPC stream, uncompressed."""
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)
    return sink.getvalue()


def file_reference(path: Path, content_type: str) -> bytes:
    """Give what stands for a table that stays in a file under the run directory; `decode` reads it.

    Too large a table is not sent through Ray: the actor on the same node, or on one that shares the run directory,
    reads the file itself. JSON cannot spell such a value, so no caller can name a file.
    """
    kind = content_type if content_type == ARROW_FILE else bulk_type(content_type)
    return FILE_MARK + f"{kind}\n{path.resolve()}".encode()


def decode(payload: bytes) -> pl.DataFrame:
    """Read back what `encode` wrote, or the file that `file_reference` names.

    Raises
    ------
    MalformedBody, InvalidInput
        The file is not a readable table, or has no rows.
    Unavailable
        The file is not here: another node has it.
    """
    import polars as pl

    if not payload.startswith(FILE_MARK):
        return pl.read_ipc_stream(io.BytesIO(payload))
    kind, _, name = payload[len(FILE_MARK) :].decode().partition("\n")
    path = Path(name)
    if not path.is_relative_to(settings().run_dir.resolve()):
        raise InvalidInput("a bulk file must lie in the run directory", field="feature_data")
    if not path.exists():
        raise Unavailable(f"the bulk file {path.name} is not on this node; share the run directory between the nodes")
    return pl.scan_ipc(path).collect() if kind == ARROW_FILE else from_bulk(path, kind)


def _to_payload(value: Any) -> Any:
    """Validate at the border: pydantic calls this before the field; bytes are an encoded frame already."""
    if value is None or isinstance(value, bytes):
        return value
    try:
        return encode(from_json(value))
    except EngineError as error:
        # pydantic knows the field's own name; the face joins the two.
        raise FrameError(error) from None


class FrameError(ValueError):
    """Carries an `EngineError` through pydantic's validation."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(error.detail)
        self.error = error


FRAME_SCHEMA: dict[str, Any] = {
    "title": "Frame",
    "description": "A table: {columns, data} with rows, {column: values}, a list of row objects, or what pandas' "
    "to_json writes (every orient but values).",
    "anyOf": [
        {
            "type": "object",
            "required": ["columns", "data"],
            "properties": {
                "columns": {"type": "array", "items": {"type": "string"}},
                "data": {"type": "array", "items": {"type": "array"}},
            },
        },
        {"type": "object", "additionalProperties": {"type": ["array", "object"]}},
        {"type": "array", "items": {"type": "object"}},
    ],
}

Frame = Annotated[bytes, BeforeValidator(_to_payload), WithJsonSchema(FRAME_SCHEMA)]
"""A table field of a request: JSON forms come in, an Arrow IPC stream goes on."""
TableSettings = Annotated[
    dict[str, Any] | None,
    Field(
        description="How the request's tables are read: settings of docs/model.md, such as "
        '{"date_format": "%d/%m/%Y", "na_values": ["NA"]}. They go before those that a model keeps.'
    ),
]
