"""What a person at the terminal sees of a start: progress per stage, and the table of what stands where."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from contracts.tokens import Token

FAILED, DONE, RUNNING = "failed", "ready", "..."


PIPED_WIDTH = 160
"""Columns where the output is no terminal: wide enough that no table wraps in a log."""


def make_console() -> Console:
    """Give the console: as wide as the terminal, and fixed where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


class Stage:
    """One stage of a start."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = RUNNING
        self.detail = ""
        self.began = time.monotonic()
        self.took_s: float | None = None

    def end(self, state: str) -> None:
        """Stop the stage's clock."""
        self.state = state
        self.took_s = time.monotonic() - self.began

    def line(self) -> str:
        """Give the stage as one line of text."""
        seconds = self.took_s if self.took_s is not None else time.monotonic() - self.began
        return f"{self.name:<28} {self.state:<7} {seconds:5.1f} s  {self.detail}".rstrip()


class Progress:
    """The stages of a start: a live list on a terminal, one line per finished stage elsewhere. For any thread."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._stages: list[Stage] = []
        self._lock = threading.Lock()
        self._live = Live(self, console=console, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __rich__(self) -> Group:
        with self._lock:
            stages = list(self._stages)
        rows: list[Any] = []
        for stage in stages:
            if stage.state == RUNNING:
                rows.append(Spinner("line", text=Text(stage.line())))
            else:
                rows.append(Text(f"  {stage.line()}", style="red" if stage.state == FAILED else ""))
        return Group(*rows)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Show a stage while the block runs; whatever it raises marks it as failed and goes on."""
        stage = Stage(name)
        with self._lock:
            self._stages.append(stage)
        try:
            yield stage
        except BaseException:
            self._finish(stage, FAILED)
            raise
        self._finish(stage, DONE)

    def failed(self) -> list[str]:
        """Name the stages that failed."""
        with self._lock:
            return [stage.name for stage in self._stages if stage.state == FAILED]

    def _finish(self, stage: Stage, state: str) -> None:
        stage.end(state)
        if self._live is None:
            self.console.print(stage.line(), highlight=False, markup=False, soft_wrap=True)


def _grid(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=any(columns), header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _section(title: str, content: Any) -> Group:
    return Group(Text(title, style="bold"), Padding(content, (0, 0, 1, 2)))


def places(rows: Sequence[tuple[str, str]]) -> Group:
    """Show where each thing listens or lies."""
    table = _grid("", "")
    for name, where in rows:
        table.add_row(name, Text(where))
    return _section("Where", table)


def actors(rows: Sequence[Mapping[str, Any]]) -> Group:
    """Show each actor with its wanted and its actual device."""
    table = _grid("actor", "wants", "runs on", "state", "")
    for row in rows:
        cells = (row["name"], row["wanted"], row["actual"], row["state"], row.get("reason") or "")
        table.add_row(*(Text(str(cell)) for cell in cells))
    return _section("Actors", table)


def models(rows: Sequence[Mapping[str, Any]]) -> Group:
    """Show each model with its dates, assets and factors."""
    table = _grid("model", "version", "dates", "", "assets", "factors")
    for row in rows:
        cells = (
            row["model_id"],
            row["model_version"],
            row["n_dates"],
            f"{row['first_date']} to {row['last_date']}",
            row["n_assets"],
            len(row["factors"]),
        )
        table.add_row(*(Text(str(cell)) for cell in cells))
    return _section("Models", table)


def commands(console: Console, title: str, lines: Sequence[str]) -> None:
    """Print commands to copy: each on one line, however long, so that what is copied works."""
    console.print(Text(title, style="bold"))
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False)
    console.print()


def tokens(rows: Sequence[Token]) -> Group:
    """Show the tokens by name; what they are is kept nowhere."""
    table = _grid("name", "scope", "per second")
    for row in rows:
        table.add_row(Text(row.name), row.scope.name.lower(), f"{row.per_second:g}")
    return _section("Tokens", table)
