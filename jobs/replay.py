"""``python -m jobs.replay MODEL``: play a day of ticks to a running engine, made or recorded, faster or slower.

What is played says so: every tick's `source` is ``replay``, and what the engine makes of it says `replay` too. Without
a recording the trades are drawn on the names and last closes of the model, for the day after its last; with
``--data day.parquet`` (`symbol`, `time`, and a column for each field) they are those of the file, in its order.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nats
import numpy as np
import orjson
from nats.aio.client import Client
from nats.errors import Error as NatsError

from contracts.access import nats_access
from contracts.errors import EngineError, InvalidInput, Unavailable, first_line
from contracts.events import token
from contracts.settings import Settings, settings
from factors.sample.ticks import trades
from store import ModelStore
from store.place import store_place

SOURCE = "replay"
OPENS, SESSION_S = dt.time(14, 30), 6.5 * 3600
BURST_S = 0.01
"""Ticks that are due within this leave together."""


class Tick(NamedTuple):
    """A tick and when it is due, seconds of the day's own clock after the first."""

    due_s: float
    subject: str
    body: bytes


def made_day(store: ModelStore, model_id: str, n: int, market: str, seed: int) -> Iterator[Tick]:
    """Draw a session of trades on a model's names, for the weekday after its last day.

    Raises
    ------
    InvalidInput
        The model has no closes to trade from.
    """
    version = store.head(model_id)
    last = version.manifest.n_dates - 1
    if "close" not in version.manifest.meta["fields"]:
        raise InvalidInput(
            f"the model {model_id!r} has no field close to trade from: give a recorded day", field="data"
        )
    close = np.asarray(version.day_asset("fields/close", slice(last, last + 1))[0], dtype=np.float64)
    day = dt.date.fromisoformat(str(np.busday_offset(version.date(last), 1, roll="backward")))
    opens = dt.datetime.combine(day, OPENS, dt.UTC)
    for number, trade in enumerate(trades(version.symbols, close, n, seed), 1):
        due = trade.passed * SESSION_S
        moment = opens + dt.timedelta(seconds=due)
        row = {"symbol": trade.symbol, "price": trade.price, "size": trade.size}
        yield _tick(due, trade.symbol, {**row, "time": moment.isoformat(), "sequence": number}, market)


def recorded_day(path: Path, market: str) -> Iterator[Tick]:
    """Read a recorded day: `symbol`, `time`, and a column for each field.

    Raises
    ------
    InvalidInput
        The file lacks one of the two columns.
    """
    import polars as pl

    frame = pl.read_parquet(path)
    missing = [name for name in ("symbol", "time") if name not in frame.columns]
    if missing:
        raise InvalidInput(f"{path.name} has no column {missing[0]!r}", field="data")
    frame = frame.sort("time", maintain_order=True)
    if frame["time"].dtype == pl.String:
        frame = frame.with_columns(pl.col("time").str.to_datetime(time_zone="UTC"))
    stamps = frame["time"].dt.epoch("us").to_list()
    for number, (row, stamp) in enumerate(zip(frame.drop("time").iter_rows(named=True), stamps, strict=True), 1):
        told = {name: value for name, value in row.items() if value is not None}
        yield _tick((stamp - stamps[0]) / 1e6, row["symbol"], {**told, "time": stamp, "sequence": number}, market)


def _tick(due_s: float, symbol: str, row: dict[str, Any], market: str) -> Tick:
    body = orjson.dumps({**row, "source": SOURCE, "market": market})
    return Tick(due_s, f"market_data.tick.{token(symbol)}", body)


def default_model(current: Settings) -> str:
    """Name the run's default model.

    Raises
    ------
    InvalidInput
        None was loaded.
    """
    try:
        found = orjson.loads((current.run_dir / "router.json").read_bytes()).get("default_model")
    except (OSError, ValueError):
        found = None
    if not isinstance(found, str):
        raise InvalidInput("no default model is loaded: name a model", field="model")
    return found


async def play(nc: Client, day: Iterator[Tick], speed: float, seconds: float | None = None) -> int:
    """Publish a day's ticks when they are due; gives how many.

    Parameters
    ----------
    speed : float
        Times as fast as the day was.
    seconds : float, optional
        Stop after so long.
    """
    began = time.monotonic()
    sent = 0
    for tick in day:
        at = began + tick.due_s / speed
        if seconds is not None and at - began > seconds:
            break
        ahead = at - time.monotonic()
        if ahead > BURST_S:
            await nc.flush()
            await asyncio.sleep(ahead)
        await nc.publish(tick.subject, tick.body)
        sent += 1
        if sent % 256 == 0:
            await asyncio.sleep(0)
    await nc.flush()
    return sent


async def run(options: argparse.Namespace, current: Settings) -> None:
    """Connect, make the day, and play it, again and again where that is asked for."""
    access = nats_access(current)
    if access is None:
        raise Unavailable("no NATS server was started for this run directory")
    nc = await nats.connect(**access.options(), name="factor-engine replay", max_reconnect_attempts=-1)
    try:
        while True:
            if options.data is not None:
                day = recorded_day(options.data, options.market)
            else:
                n = int(options.rate * SESSION_S / options.speed)
                model_id = options.model or default_model(current)
                day = made_day(ModelStore(store_place(current)), model_id, n, options.market, options.seed)
            sent = await play(nc, day, options.speed, options.seconds)
            print(f"replay: {sent} ticks at {options.speed:g} times the day's speed", flush=True)
            if not options.again:
                return
            options.seed += 1
    finally:
        await nc.close()


def main(arguments: list[str] | None = None) -> int:
    """Play; the exit code is 1 when nothing could be played."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model", nargs="?", help="whose names trade, and whose last closes they trade from; default: the default model"
    )
    parser.add_argument("--data", type=Path, help="a recorded day: Parquet with symbol, time and fields")
    parser.add_argument("--speed", type=float, default=1.0, help="times as fast as the day was")
    parser.add_argument("--rate", type=float, default=20.0, help="trades a second to be made, of the clock on the wall")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.add_argument("--market", default="main", help="what the ticks name as their market")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="play another session when one is over")
    options = parser.parse_args(arguments)
    if options.speed <= 0 or options.rate <= 0:
        parser.error("--speed and --rate must be above 0")
    try:
        asyncio.run(run(options, settings()))
    except (EngineError, NatsError, OSError) as error:
        print(f"replay: {first_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
