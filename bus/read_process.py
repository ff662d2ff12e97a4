"""The process that reads what callers send: ``python -m bus.read_process PARENT_PID HEAVY``.

It is told what to read on its standard input and answers on its standard output, one after the other; see `bus.reader`.
The kernel holds it to a limit on its memory, which each task brings, so that a body that stands for gigabytes ends this
process and no other.
It ends with its parent.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pickle
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from actors.reading.grid import check_features
from actors.runtime.niceness import step_behind_light
from bus.read_request import bar_payload, read_payload, request_of
from contracts.bulk import read_bulk
from contracts.errors import EngineError, InternalError, InvalidInput, TableTooLarge
from contracts.frames import ARROW_STREAM, encode, file_reference
from contracts.json_text import read_json_text
from contracts.operations import OPERATIONS
from contracts.requests import Request
from factors.panel.intake import DEFAULT

TASK_HEAD = struct.Struct("<QQ")
"""A task: the length of its pickle and of the body, then both. What callers sent is in the body, or in a file."""
HEAD = struct.Struct("<Q")
"""An answer: its length, then its pickle. Both ends are ours."""
PARENT_S = 0.5
LARGE_BYTES = 2**20
"""Behind a body of more than this, memory is given back to the system."""

_log = logging.getLogger(__name__)


def request(
    body: bytes,
    operation: str,
    below: dict[str, Any],
    above: dict[str, Any],
    default_model: str | None,
    inline_bytes: int,
    beside: str | None,
) -> Request:
    """Read a JSON body as the operation's request; its larger tables go to files `beside`, when that is given."""
    row = OPERATIONS[operation]
    asked = request_of(row, read_payload(body, below, above), default_model)
    if beside is None:
        return asked
    tables = {name: getattr(asked, name) for name in row.frames}
    large = {name: table for name, table in tables.items() if isinstance(table, bytes) and len(table) > inline_bytes}
    # On a full disk they travel in the request.
    with contextlib.suppress(OSError):
        asked = asked.model_copy(update={name: _to_file(large[name], table_path(beside, name)) for name in large})
    return asked


def table_path(beside: str, name: str) -> Path:
    """Give the file of a request's table."""
    return Path(f"{beside}.{name}.arrow")


def _to_file(table: bytes, path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(table)
    return file_reference(path, ARROW_STREAM)


def bar(body: bytes, default_model: str | None) -> Request:
    """Read a bar as the request that appends it."""
    return request_of(OPERATIONS["append_day"], bar_payload(body, default_model), default_model)


def named(body: bytes, field: str) -> Any:
    """Read one field of a body; None when it has none."""
    value = read_json_text(body)
    return value.get(field) if isinstance(value, dict) else None


def table(
    _body: bytes, path: str, kind: str, names: dict[str, str], limit_mb: int, inline_bytes: int, plain: str
) -> bytes | None:
    """Read a bulk table; gives it as an Arrow stream when it is small, else writes it to the file `plain`."""
    frame = read_bulk(Path(path), kind, limit_mb)
    date, symbol = names["date_col"], names["symbol_col"]
    check_features(frame, DEFAULT.called(date_col=date, symbol_col=symbol))
    if date in frame.columns and symbol in frame.columns:
        # More rows than dates times names repeat some, and are not worth sending on.
        n_dates, n_names = frame[date].n_unique(), frame[symbol].n_unique()
        if n_dates * n_names < frame.height:
            raise InvalidInput(
                f"{frame.height:,} rows for {n_dates:,} dates and {n_names:,} names: the same date and symbol occur "
                "more than once",
                field=f"feature_data.{symbol}",
            )
    if frame.estimated_size() <= inline_bytes:
        return encode(frame)
    frame.write_ipc(plain, compression="uncompressed")
    return None


TASKS: dict[str, Callable[..., Any]] = {"request": request, "bar": bar, "named": named, "table": table}


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Do one task after another until the parent closes the pipe."""
    while True:
        head = source.read(TASK_HEAD.size)
        if len(head) < TASK_HEAD.size:
            return
        packed_bytes, body_bytes = TASK_HEAD.unpack(head)
        packed, body = source.read(packed_bytes), source.read(body_bytes)
        answer = pickle.dumps(_done(packed, body), protocol=pickle.HIGHEST_PROTOCOL)
        sink.write(HEAD.pack(len(answer)))
        sink.write(answer)
        sink.flush()
        if body_bytes > LARGE_BYTES or len(answer) > LARGE_BYTES:
            del answer, body
            _give_back()


def _done(packed: bytes, body: bytes) -> tuple[bool, Any]:
    (name, arguments), memory_mb = pickle.loads(packed)  # noqa: S301  our parent wrote it
    _limit(memory_mb)
    try:
        return True, TASKS[name](body, *arguments)
    except EngineError as error:
        return False, error
    except MemoryError:
        return False, too_large(memory_mb)
    except Exception as error:  # noqa: BLE001  a defect of ours must not end the process
        _log.exception("reading a body failed")
        return False, InternalError(f"reading the body failed: {type(error).__name__}")


def too_large(memory_mb: int) -> TableTooLarge:
    """Say that a body's reading was ended for the memory that it took."""
    detail = f"reading the body takes more than the {memory_mb:,} MB that reading it may take"
    return TableTooLarge(detail, field="body")


def _give_back() -> None:
    gc.collect()
    if sys.platform == "linux":
        import ctypes

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _limit(memory_mb: int) -> None:
    """Hold this process to so much private memory; where the kernel does not (macOS), the parent watches it."""
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * 2**20, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Read until the parent is gone; large bodies behind what answers at once."""
    parent, heavy = map(int, arguments)
    if heavy:
        step_behind_light()
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up in an answer
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="watch the parent").start()
    import polars  # noqa: F401, ICN001  loaded before the limit, and before somebody waits

    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main(sys.argv[1:])
