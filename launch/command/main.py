"""``factor-engine``, also ``python -m launch.command``: a noun, a verb, and what the operation table says of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from launch.command.common import shown, url
from launch.command.nouns import BUS, NOUNS

EXITS = (
    "Exit codes: 0 done; 1 the engine refused, or something is not well; 2 the command line is wrong; "
    "3 nobody answers; 4 the token does not allow it; 130 Ctrl-C."
)
INTERRUPTED = 130
COMPLETE = "_FACTOR_ENGINE_COMPLETE"
"""Set by the shell when it asks for completions."""
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Engine(click.Group):
    """The command itself: nouns are read when they are asked for, so that its help comes at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order in which they are shown."""
        return [*super().list_commands(ctx), *NOUNS, *BUS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Give a command, or make the group of a noun."""
        if cmd_name in BUS:
            from launch.command.bus import group

            return group(f"{BUS[cmd_name]}.".capitalize())
        own = super().get_command(ctx, cmd_name)
        return Noun(cmd_name, help=f"{NOUNS[cmd_name]}.".capitalize()) if own is None and cmd_name in NOUNS else own

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without making the nouns."""
        del ctx
        rows = [(name, self.commands[name].get_short_help_str(90)) for name in self.commands]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        with formatter.section("Nouns, each with verbs of its own (factor-engine NOUN --help)"):
            formatter.write_dl([*NOUNS.items(), *BUS.items()])


class Noun(click.Group):
    """One noun with its verbs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the verbs in the order of the table."""
        from launch.command.verbs import verbs

        own = super().list_commands(ctx)
        return [*verbs(str(self.name)), *own, *(["follow"] if self.name == "watch" else [])]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Make the command of a verb."""
        from launch.command.build import command
        from launch.command.verbs import verbs

        del ctx
        if (self.name, cmd_name) == ("watch", "follow"):
            return follow
        verb = verbs(str(self.name)).get(cmd_name)
        return None if verb is None else command(str(self.name), cmd_name, verb)


@click.group(cls=Engine, context_settings=SETTINGS, epilog=EXITS)
def cli() -> None:
    """A Barra-style equity factor model in real time.

    Answers come from a running engine (--url, or FACTOR_ENGINE_URL; its token from FACTOR_ENGINE_TOKEN) as tables for
    people, with --json as they came, with --arrow FILE as a file.
    """


def _passed(name: str, help_: str, main: Callable[[Sequence[str]], int], example: str) -> None:
    """Add a command whose words another parser reads."""
    settings = {"ignore_unknown_options": True, "help_option_names": [], "allow_interspersed_args": False}

    def run(words: tuple[str, ...]) -> int:
        if words in (("-h",), ("--help",)):
            click.echo(f"{help_}\n\nExample: {example}\n")
        return main(words)

    argument = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
    made = click.Command(name, callback=run, params=[argument], help=help_, context_settings=settings)
    made.epilog = f"Example: {example}"
    cli.add_command(made)


def _run(words: Sequence[str]) -> int:
    from launch.supervisor import main as start

    return start(words)


def _token(words: Sequence[str]) -> int:
    from launch.tokens import main as token

    return token(words)


def _stop(words: Sequence[str]) -> int:
    if words:
        click.echo("stop takes no words: it ends the engine of FACTOR_ENGINE_RUN_DIR", err=True)
        return 0 if words[0] in ("-h", "--help") else 2
    from engine.__main__ import main as stop

    return stop(["stop"])


_passed(
    "run",
    "Start an engine here; Ctrl-C ends it (the options of make run).",
    _run,
    "factor-engine run --data market.parquet",
)
_passed("stop", "End the engine of the run directory.", _stop, "factor-engine stop")
_passed(
    "token", "Tokens of the HTTP face: add, list, remove.", _token, "factor-engine token add risk --scope read"
)  # fmt: skip


@cli.command(params=[url(), *shown()], epilog="Example: factor-engine status --json")
def status(url: str, as_json: bool, arrow: Path | None) -> int:
    """Say how an engine is; the exit code is 1 unless it is healthy."""
    from contracts.errors import EngineError
    from launch.command.call import FAILED, Where, fail, get, tell
    from launch.command.health import summary

    where = Where(url, as_json=as_json, arrow=arrow)
    try:
        page = get("/health", where)
        tell(page if as_json else summary(page), where)
    except EngineError as error:
        return fail(error)
    return 0 if page.get("status") == "healthy" else FAILED


@cli.command(params=shown(), epilog="Example: factor-engine doctor")
def doctor(as_json: bool, arrow: Path | None) -> int:
    """Say what this machine lacks to run an engine, and how to mend it; the exit code is 1 where it cannot run."""
    from launch.command.doctor import examine

    return examine(as_json, arrow)


@cli.command(params=[url(), *shown()], epilog="Example: factor-engine page /messagebus/status")
@click.argument("path")
def page(path: str, url: str, as_json: bool, arrow: Path | None) -> int:
    """Print a page of the engine that answers with JSON, such as /performance-metrics or /messagebus/status."""
    from contracts.errors import EngineError
    from launch.command.call import Where, fail, get, tell

    where = Where(url, as_json=as_json or arrow is None, arrow=arrow)
    try:
        tell(get(path, where), where)
    except EngineError as error:
        return fail(error)
    return 0


@cli.command(params=shown(), epilog="Example: factor-engine risk book.csv --market prices.parquet")
@click.argument("book", type=click.Path(path_type=Path))
@click.option("--market", required=True, type=click.Path(path_type=Path), help="Prices: Parquet, CSV or Arrow.")
@click.option("--settings", type=click.Path(path_type=Path), help="Model settings in TOML.")
def risk(book: Path, market: Path, settings: Path | None, as_json: bool, arrow: Path | None) -> int:
    """Say what the risk of BOOK (a file of symbol and weight) is made of, without an engine."""
    from launch.command.local import risk_of

    return risk_of(book, market, settings, as_json, arrow)


@click.command(epilog="Example: factor-engine watch follow demo --json")
@click.argument("watch_id")
@click.option(
    "--run",
    "run_dir",
    envvar="FACTOR_ENGINE_RUN_DIR",
    default=".run",
    show_default=True,
    show_envvar=True,
    help="The run directory of the engine.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each message as a line of JSON.")
def follow(watch_id: str, run_dir: str, as_json: bool) -> int:
    """Print a watch's values as they move, over NATS; Ctrl-C ends it."""
    from clients.watch import main as watch

    return watch([watch_id, "--run", run_dir, *(["--json"] if as_json else [])])


@cli.command(epilog='Example: eval "$(factor-engine completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion of a shell."""
    from click.shell_completion import BashComplete, ZshComplete

    from launch.command.common import Fish

    kind = {"bash": BashComplete, "zsh": ZshComplete, "fish": Fish}[shell]
    click.echo(kind(cli, {}, "factor-engine", COMPLETE).source())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and give the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code: Any = cli.main(words, prog_name="factor-engine", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except OSError as error:  # of the output: what is read is looked at where it is named
        click.echo(f"the answer cannot be written: {error.strerror or error}", err=True)
        return 1
    except Exception as error:
        from contracts.errors import EngineError
        from launch.command.call import fail

        if not isinstance(error, EngineError):
            raise
        return fail(error)
    return int(code or 0)


def entry() -> None:
    """Run as the installed script; with a variable of click's it completes words for a shell instead."""
    if COMPLETE in os.environ:
        cli.main(prog_name="factor-engine", complete_var=COMPLETE)
    raise SystemExit(main())
