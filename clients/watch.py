"""``python -m clients.watch WATCH``: print a watch's values as they move, a line for each message."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from clients.nats import NatsEngine, Watched
from contracts.errors import EngineError
from contracts.frames import decode

SHOWN = 4
"""Numbers of each kind in a line."""


def line(value: Watched) -> str:
    """Write a message as a line: when, how much of the market, and the first of its numbers."""
    replay = " replay" if value.replay else ""
    provisional = " provisional" if value.provisional else ""
    head = f"{value.market_time or value.date}  seen {value.seen:6.1%}{provisional}{replay}"
    if not isinstance(value.data, dict):
        return f"{head}  {len(value.data or b'')} bytes of Arrow"
    shown = ["factor returns withheld"] if value.withheld else _numbers(value.data.get("factor_returns") or {})
    for name, book in (value.data.get("portfolios") or {}).items():
        made = None if book is None else book["return"]
        shown.append(f"{name} {'missing' if made is None else f'{made:+.4%}'}")
    symbols = value.data.get("symbols") or []
    for name, values in list((value.data.get("values") or {}).items())[:SHOWN]:
        first = next(((s, v) for s, v in zip(symbols, values, strict=False) if v is not None), None)
        if first is not None:
            shown.append(f"{name}[{first[0]}] {first[1]:+.6g}")
    return f"{head}  {'  '.join(shown)}"


def _numbers(values: dict[str, Any]) -> list[str]:
    return [f"{name} {value:+.4%}" for name, value in list(values.items())[:SHOWN] if value is not None]


def as_json(value: Watched) -> str:
    """Write a message as a line of JSON; a table of Arrow as its columns."""
    data = decode(value.data).to_dict(as_series=False) if isinstance(value.data, bytes) else value.data
    return orjson.dumps({**value._asdict(), "data": data}, default=str).decode()


async def follow(run_dir: Path, watch_id: str, written: Callable[[Watched], str] = line) -> None:
    """Print until interrupted."""
    async with NatsEngine.of_run(run_dir) as engine:
        async for value in engine.watch(watch_id):
            print(written(value), flush=True)  # noqa: T201


def main(arguments: list[str] | None = None) -> int:
    """Print; the exit code is 1 when the engine cannot be reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("watch")
    run = Path(os.environ.get("FACTOR_ENGINE_RUN_DIR") or ".run")
    parser.add_argument("--run", type=Path, default=run, help=f"the run directory of the engine; default: {run}")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each message")
    options = parser.parse_args(arguments)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(follow(options.run, options.watch, as_json if options.json else line))
    except EngineError as error:
        print(error.detail, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
