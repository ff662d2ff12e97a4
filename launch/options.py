"""What a start is asked for, and what the process that keeps a run tells the one that starts the engine in it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``make run``."""
    parser = argparse.ArgumentParser(prog="make run", description="Start the engine, and end it with Ctrl-C.")
    parser.add_argument("--data", type=Path, help="Parquet, CSV or Arrow file to load instead of the sample market")
    parser.add_argument(
        "--settings", type=Path, help="model settings in TOML; the table [intake] says how DATA is read"
    )
    parser.add_argument("--model", help="name of the model that the market becomes (default: main, or sample)")
    parser.add_argument(
        "--live", help="play a market of ticks: 1 for one made on the model's names, or a recorded day's file"
    )
    parser.add_argument("--speed", type=float, default=60.0, help="with --live: times as fast as the day was")
    return parser.parse_args(arguments)


class Place(NamedTuple):
    """Where the parts of a run are that are there before the engine starts in it.

    Parameters
    ----------
    temp
        Ray's temporary folder; None when the run joins a cluster (``RAY_ADDRESS``).
    dashboard
        The URL of its dashboard and job server; None likewise.
    ports
        Ports that the HTTP proxy opens beside the HTTP face, by what they are.
    began
        When the run began, seconds since the epoch.
    """

    temp: str | None
    dashboard: str | None
    ports: dict[str, int]
    began: float

    def packed(self) -> str:
        """Give it as one argument of a command line."""
        return json.dumps(self)

    @staticmethod
    def unpacked(text: str) -> Place:
        """Read what `packed` gave."""
        return Place(*json.loads(text))
