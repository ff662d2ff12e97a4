"""Tables in bulk from callers: measured by their own metadata, then decoded, then plain.

Only the reader process (`bus/read_process.py`), which has a limit on its memory, calls this: some kilobytes of Parquet
or compressed Arrow may stand for gigabytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.arrow_stream import stream_size
from contracts.errors import EngineError, InvalidInput, MalformedBody, TableTooLarge
from contracts.frames import ARROW_STREAM, CSV, MAX_COLUMNS, bulk_type, from_bulk

if TYPE_CHECKING:
    import polars as pl

_BLOCK_BYTES = 2**20
_VALUE_BYTES, _WIDE_BYTES = 8, 16
_TEXT_BYTES = 16
"""A text in a column of Polars: a view; where texts repeat, the text itself is kept once."""
SPARE_MB, MOST_TIMES = 256, 1000
"""A table may take so much, and beyond that so many times its body. Rows differ from each other, in a market by some
bytes each: 30 columns of zeros and ones beside rounded returns are 200 times the body. Only what says the same over
and over is more, and then eight kilobytes would have all the memory that there is for reading, for seconds.
"""


def read_bulk(path: Path, content_type: str, limit_mb: int) -> pl.DataFrame:
    """Read a table that came in bulk.

    Raises
    ------
    TableTooLarge
        It takes more than `allowed_mb` decoded. Where its own metadata say so, nothing was decoded.
    InvalidInput
        A column holds lists or structures, there are too many columns, or no rows.
    MalformedBody, UnsupportedMedia
        As `contracts.frames.from_bulk`.
    """
    kind = bulk_type(content_type)
    body_bytes = path.stat().st_size
    if kind == ARROW_STREAM:
        check_decoded(*stream_size(path), limit_mb, body_bytes)
    elif kind == CSV:
        check_decoded(*_csv_size(path), limit_mb, body_bytes)
    else:
        check_decoded(*_parquet_size(path), limit_mb, body_bytes)
    frame = from_bulk(path, kind)
    _check_columns(dict(frame.schema))
    # Texts may be longer than any metadata tell.
    check_decoded(frame.height, int(frame.estimated_size()), limit_mb, body_bytes)
    return frame


def allowed_mb(body_bytes: int, limit_mb: int) -> int:
    """Give what a table may take decoded: of a small body less than the limit."""
    return min(limit_mb, SPARE_MB + MOST_TIMES * body_bytes // 10**6)


def check_decoded(n_rows: int, n_bytes: int, limit_mb: int, body_bytes: int) -> None:
    """Refuse a table that takes more memory than it may."""
    allowed = allowed_mb(body_bytes, limit_mb)
    if n_bytes <= allowed * 1e6:
        return
    why = (
        f"over the limit of {limit_mb:,} MB (FACTOR_ENGINE_TABLE_LIMIT_MB)"
        if allowed == limit_mb
        else f"over the {allowed:,} MB that a body of {body_bytes:,} bytes may stand for"
    )
    raise TableTooLarge(f"the table has {n_rows:,} rows and takes {n_bytes / 1e6:,.0f} MB decoded, {why}", field="body")


def _parquet_size(path: Path) -> tuple[int, int]:
    """Read rows and columns from the footer; texts are only known when they are read, under the process's limit."""
    import polars as pl

    try:
        lazy = pl.scan_parquet(path)
        schema: dict[str, Any] = dict(lazy.collect_schema())
        _check_columns(schema)
        n_rows = int(lazy.select(pl.len()).collect().item())
    except BaseException as error:  # polars panics (a BaseException) on some broken footers
        if isinstance(error, EngineError | KeyboardInterrupt | SystemExit | MemoryError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise MalformedBody(f"the body is not readable Parquet: {reason}", field="body") from None
    return n_rows, n_rows * sum(map(_width, schema.values()))


def _csv_size(path: Path) -> tuple[int, int]:
    """Count the lines, and the columns in the first: each value becomes a text, and then a number."""
    n_lines = 0
    with path.open("rb") as file:
        columns = file.readline(_BLOCK_BYTES).count(b",") + 1
        while block := file.read(_BLOCK_BYTES):
            n_lines += block.count(b"\n")
    return n_lines, n_lines * columns * _TEXT_BYTES


def _check_columns(schema: dict[str, Any]) -> None:
    if len(schema) > MAX_COLUMNS:
        raise InvalidInput(f"the table has {len(schema):,} columns; at most {MAX_COLUMNS:,} are read", field="body")
    nested = [name for name, kind in schema.items() if kind.is_nested() or kind.is_object()]
    if nested:
        # Of a type some thousand levels deep only the outermost can be told.
        kind = schema[nested[0]].base_type()
        raise InvalidInput(f"column {nested[0]!r} is of {kind}; tables hold plain values", field=nested[0])


def _width(kind: Any) -> int:
    import polars as pl

    if kind in (pl.String, pl.Binary, pl.Categorical) or isinstance(kind, pl.Enum):
        return _TEXT_BYTES
    # No value takes less than 8 bytes in the panel, whatever it takes in the file.
    return _WIDE_BYTES if kind.is_decimal() or kind in (pl.Int128, pl.UInt128) else _VALUE_BYTES
