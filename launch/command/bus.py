"""The noun `bus`: routes about the message bus, which are no operations of the table."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from clients.http import HttpEngine
from contracts.errors import EngineError
from launch.command.call import Where, fail, tell
from launch.command.common import shown, url

Words = Callable[..., int]


def _asks(call: Callable[..., Awaitable[Any]]) -> Words:
    """Make what a verb runs of a call of the client."""

    def run(url: str, as_json: bool, arrow: Path | None, **words: Any) -> int:
        where = Where(url, as_json=as_json, arrow=arrow)

        async def once() -> Any:
            async with HttpEngine(url) as engine:
                return await call(engine, **words)

        try:
            tell(asyncio.run(once()), where)
        except EngineError as error:
            return fail(error)
        return 0

    return run


def _verb(words: str, help_: str, call: Callable[..., Awaitable[Any]], *params: click.Parameter) -> click.Command:
    """Make a verb; `words` are its example."""
    return click.Command(
        words.split(maxsplit=1)[0], callback=_asks(call), params=[*params, url(), *shown()], help=help_,
        epilog=f"Example: factor-engine bus {words}",
    )  # fmt: skip


def _number() -> click.Argument:
    return click.Argument(["letter_id"], type=click.INT)


def _page() -> list[click.Parameter]:
    return [
        click.Option(["--after"], type=click.INT, default=0, help="`last` of the page before."),
        click.Option(["--limit"], type=click.INT, default=50, show_default=True, help="Rows at most."),
    ]


def group(help_: str) -> click.Group:
    """Make the noun with its verbs."""
    subject = click.Option(["--subject"], default="factor.>", show_default=True, help="With NATS's wildcards.")
    mode = click.Argument(["mode"], type=click.Choice(["off", "publish", "full"]))
    verbs = [
        _verb("status", "The bridge's connection, streams and counters.", _status),
        _verb("mode publish", "Change what the bus does while the engine runs.", HttpEngine.set_bus_mode, mode),
        _verb("letters", "What came durably and could not be computed.", HttpEngine.dead_letters, *_page()),
        _verb("letter 7", "One dead letter whole.", HttpEngine.dead_letter, _number()),
        _verb("resend 7", "Send a dead letter again where it came from.", HttpEngine.resend_dead_letter, _number()),
        _verb(
            "events --subject factor.library.* --limit 20",
            "Stored events from a place on.",
            HttpEngine.stored_events,
            subject,
            *_page(),
        ),
    ]
    return click.Group("bus", {verb.name or "": verb for verb in verbs}, help=help_)


def _status(engine: HttpEngine) -> Awaitable[Any]:
    return engine.get("/messagebus/status")
