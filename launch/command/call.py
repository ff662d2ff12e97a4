"""One request of the command: asked over HTTP, shown, and its end as an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from clients.http import HttpEngine
from clients.surface import How
from contracts.errors import EngineError, Forbidden, InvalidInput, Unauthenticated, Unavailable
from contracts.frames import decode
from contracts.operations import Operation
from launch.console import make_console

FAILED, USAGE, UNREACHABLE, REFUSED = 1, 2, 3, 4
"""Exit codes: the engine said no; the command line is wrong; nobody answers; the token does not allow it."""


class Where(NamedTuple):
    """Whom the command asks, and how its answer is shown.

    Parameters
    ----------
    url
        Of the engine.
    timeout_s
        Deadline; None: the operation's own.
    as_json
        Print the answer as JSON.
    arrow
        A file that gets the answer's largest table as Arrow.
    """

    url: str
    timeout_s: float | None = None
    as_json: bool = False
    arrow: Path | None = None


def ask(row: Operation, body: Mapping[str, Any], where: Where) -> dict[str, Any]:
    """Do an operation and give the answer as it came; raises the `EngineError` that the engine answered with.

    The engine checks the request: it knows the default model and other versions of the table.
    """

    async def once() -> dict[str, Any]:
        async with HttpEngine(where.url) as engine:
            how = How(timeout_s=where.timeout_s)
            if row.bulk:
                fields = {name: value for name, value in body.items() if name not in ("model_id", "feature_data")}
                answer = await engine.put_data(body["model_id"], body["feature_data"], how=how, **fields)
                return answer.model_dump(mode="json")
            return await engine.send(row, {name: plain(value) for name, value in body.items()}, how)

    return asyncio.run(once())


def plain(value: Any) -> Any:
    """Give a table as an object of columns, and everything else as it is."""
    return decode(value).to_dict(as_series=False) if isinstance(value, bytes) else value


def get(path: str, where: Where) -> Any:
    """Give a page that answers with JSON."""

    async def once() -> Any:
        async with HttpEngine(where.url) as engine:
            return await engine.get(path)

    return asyncio.run(once())


def tell(answer: Mapping[str, Any], where: Where, row: Operation | None = None) -> None:
    """Show an answer as it was asked for; `row`: the operation's, which may lay its values out as a table.

    Raises
    ------
    InvalidInput
        There is no table for `--arrow`, or its file cannot be written.
    """
    from clients.tables import table_of, to_frame
    from launch.command.shown import laid_out, show

    if where.arrow is not None:
        found = table_of(laid_out(answer, row))
        if found is None:
            raise InvalidInput("this answer has no table; --json prints it", field="arrow")
        _, columns, rows = found
        try:
            to_frame(columns, rows).write_ipc(where.arrow)
        except OSError as error:
            raise InvalidInput(f"{where.arrow} cannot be written: {error.strerror or error}", field="arrow") from None
        print(f"{len(rows)} rows of {', '.join(columns)} in {where.arrow}", file=sys.stderr)  # noqa: T201
    if where.as_json:
        sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2) + b"\n")
        sys.stdout.buffer.flush()  # here an output that takes nothing is told of
    elif where.arrow is None:
        show(make_console(), laid_out(answer, row))


def fail(error: EngineError) -> int:
    """Print what went wrong to stderr, with the field and the rows, and give the exit code."""
    lines = [error.detail]
    if error.field and error.field not in error.detail:
        lines.append(f"field: {error.field}")
    if error.rows:
        lines.append(f"rows: {', '.join(map(str, error.rows))}")
    print("\n".join(lines), file=sys.stderr)  # noqa: T201
    if isinstance(error, Unavailable):
        return UNREACHABLE
    return REFUSED if isinstance(error, Unauthenticated | Forbidden) else FAILED
